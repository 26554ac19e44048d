package sim

import (
	"slices"
	"time"
)

// Between is the requests that came in a span of time.
func Between(requests []*Request, from, to time.Duration) (some []*Request) {
	for _, r := range requests {
		if r.At >= from && r.At < to {
			some = append(some, r)
		}
	}
	return some
}

// Success is the share that got an answer in time, 0..1; 0 is no limit.
func Success(requests []*Request, within time.Duration) float64 {
	if len(requests) == 0 {
		return 0
	}
	good := 0
	for _, r := range requests {
		if r.Err == nil && (within <= 0 || r.Took <= within) {
			good++
		}
	}
	return float64(good) / float64(len(requests))
}

// Quantile is that of the latencies of requests that got an answer.
func Quantile(requests []*Request, q float64) time.Duration {
	var took []time.Duration
	for _, r := range requests {
		if r.Err == nil {
			took = append(took, r.Took)
		}
	}
	return quantile(took, q)
}

// Waited is the quantile of how long clients waited, those who left without an answer included.
func Waited(requests []*Request, q float64) time.Duration {
	took := make([]time.Duration, len(requests))
	for i, r := range requests {
		took[i] = r.Took
	}
	return quantile(took, q)
}

func quantile(took []time.Duration, q float64) time.Duration {
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[min(int(q*float64(len(took))), len(took)-1)]
}

// Goodput is good answers a second over time, by when they were given.
func Goodput(requests []*Request, bucket, length time.Duration) []float64 {
	var at []time.Duration
	for _, r := range requests {
		if r.Err == nil {
			at = append(at, r.At+r.Took)
		}
	}
	return PerSecond(at, bucket, length)
}

// PerSecond is how often something happened over time.
func PerSecond(at []time.Duration, bucket, length time.Duration) []float64 {
	counts := make([]float64, int(length/bucket))
	for _, t := range at {
		if i := int(t / bucket); i < len(counts) {
			counts[i] += 1 / bucket.Seconds()
		}
	}
	return counts
}

// Over computes something of the requests that came in each span of time.
func Over(requests []*Request, bucket, length time.Duration, f func([]*Request) float64) []float64 {
	values := make([]float64, int(length/bucket))
	for i := range values {
		values[i] = f(Between(requests, time.Duration(i)*bucket, time.Duration(i+1)*bucket))
	}
	return values
}

// Recovery is how long after a moment it takes until, from then on, in every second the given share of requests gets an answer;
// false: it never came to that.
func Recovery(requests []*Request, share float64, after, length time.Duration) (time.Duration, bool) {
	const second, step = time.Second, 100 * time.Millisecond
	for from := length - second; ; from -= step {
		if from < after {
			return 0, true
		}
		if Success(Between(requests, from, from+second), 0) < share {
			back := from + step - after
			return back, from+second < length
		}
	}
}

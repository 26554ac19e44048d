package resilience

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestLatencyBuckets(t *testing.T) {
	last := -1
	for d := time.Duration(0); d < 2*time.Hour; d += d/50 + 500 {
		b := latencyBucket(d)
		if b < last || b > last+1 {
			t.Fatalf("%v is in bucket %d after %d", d, b, last)
		}
		last = b
		if b == 239 {
			break
		}
		if bound := latencyBound(b); bound <= d || (d > 10*time.Microsecond && bound > d+d/7) {
			t.Fatalf("%v is in a bucket that ends at %v", d, bound)
		}
	}
	if last != 239 || latencyBucket(math.MaxInt64) != 239 || latencyBucket(-1) != 0 {
		t.Errorf("the last bucket is %d", last)
	}
}

func TestLatenciesQuantile(t *testing.T) {
	for _, q := range []float64{0.5, 0.9, 0.99} {
		synctest.Test(t, func(t *testing.T) {
			l := newLatencies(q, 100, 10*time.Second)
			random := rand.New(rand.NewPCG(3, 4))
			var all []time.Duration
			for range 10000 {
				d := time.Duration(random.ExpFloat64() * float64(20*time.Millisecond))
				l.add(d)
				all = append(all, d)
				if len(all) == 99 {
					time.Sleep(time.Second)
					if _, ok := l.value(); ok {
						t.Error("tells a quantile of 99")
					}
				}
			}
			time.Sleep(time.Second)
			slices.Sort(all)
			want := all[int(q*10000)]
			if got, ok := l.value(); !ok || got < want || float64(got) > 1.15*float64(want) {
				t.Errorf("quantile %v is %v, want %v", q, got, want)
			}
			time.Sleep(10 * time.Second)
			if got, ok := l.value(); ok {
				t.Errorf("still tells %v when all is too old", got)
			}
		})
	}
}

func BenchmarkLatencies(b *testing.B) {
	l := newLatencies(0.9, 20, 10*time.Second)
	b.Run("add", func(b *testing.B) { parallel(b, func() { l.add(time.Millisecond) }) })
	b.Run("value", func(b *testing.B) { parallel(b, func() { l.value() }) })
}

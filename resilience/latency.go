package resilience

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// latencies tells one quantile of the durations of the last window, to within an eighth. It is a histogram of eight buckets
// for each doubling, from a microsecond to half an hour, in two halves of the window that take turns, so that what is old
// fades without a sweeper.
type latencies struct {
	clock    clock
	quantile atomic.Uint64 // the bits of a float
	volume   int           // durations it must have seen to tell
	half     ticker
	halves   [2]struct {
		tick   atomic.Uint32
		counts [240]atomic.Uint32
	}
	known   atomic.Int64 // the quantile as last counted; counting takes half a microsecond
	recount atomic.Int64 // when to count again
}

func newLatencies(quantile float64, volume int, window time.Duration) *latencies {
	l := &latencies{clock: newClock(), volume: volume, half: ticker{max(window/2, 1)}}
	l.ask(quantile)
	return l
}

// ask says which quantile is to be told from now on.
func (l *latencies) ask(quantile float64) {
	l.quantile.Store(math.Float64bits(quantile))
	l.recount.Store(0)
}

// latencyBucket is the bucket of a duration.
func latencyBucket(d time.Duration) int {
	v := uint64(max(d, 0)) >> 10
	if v < 8 {
		return int(v)
	}
	doubling := bits.Len64(v) - 1
	return min((doubling-2)*8+int(v>>(doubling-3)&7), 239)
}

// latencyBound is the upper end of a bucket.
func latencyBound(bucket int) time.Duration {
	if bucket < 8 {
		return time.Duration(bucket+1) << 10
	}
	return time.Duration(8+bucket%8+1) << (bucket/8 - 1 + 10)
}

func (l *latencies) add(d time.Duration) {
	t := uint32(l.half.at(l.clock.now()))
	h := &l.halves[t%2]
	if old := h.tick.Load(); old != t && h.tick.CompareAndSwap(old, t) {
		for i := range h.counts { // what others add meanwhile may get lost: an estimate can bear it
			h.counts[i].Store(0)
		}
	}
	h.counts[latencyBucket(d)].Add(1)
}

// value is the quantile; false before enough durations are known.
func (l *latencies) value() (time.Duration, bool) {
	now := l.clock.now()
	if due := l.recount.Load(); int64(now) >= due && l.recount.CompareAndSwap(due, int64(now+l.half.width/50)) {
		l.known.Store(int64(l.count(uint32(l.half.at(now)))))
	}
	d := time.Duration(l.known.Load())
	return d, d > 0
}

func (l *latencies) count(now uint32) time.Duration {
	var counts [240]int
	total := 0
	for i := range l.halves {
		if now-l.halves[i].tick.Load() > 1 {
			continue
		}
		for b := range counts {
			n := int(l.halves[i].counts[b].Load())
			counts[b] += n
			total += n
		}
	}
	if total < max(l.volume, 1) {
		return 0
	}
	rank := int(math.Float64frombits(l.quantile.Load()) * float64(total))
	for b, n := range counts {
		if rank -= n; rank < 0 {
			return latencyBound(b)
		}
	}
	return latencyBound(len(counts) - 1)
}

package pool

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// fading is the time constant with which a peak is forgotten. Finagle takes 10 s; with 3 s a member that was a thousand times too
	// slow for a moment is tried again after 20 s instead of 70 s, and one that still is costs one slow answer.
	fading = float64(3 * time.Second)
	fresh  = int64(10 * time.Millisecond) // not faded yet
	// settled is how old the estimate must be for an answer below it to be worth a write: it would count for less than 0.04 %, and
	// the cache line stays with all cores.
	settled = int64(time.Millisecond)

	failureAtLeast = int64(time.Millisecond)
	failureAtMost  = int64(time.Second)

	unmeasured = 1e18 // cost of a member that has a first request at work and has answered none
)

// load is what the balancer compares members by. It fills one cache line, which every try writes and every pick reads.
type load struct {
	work    atomic.Int64 // tries at work, and in the upper half those of them that nothing has come back for
	since   atomic.Int64 // when the first of those that wait began; 0: none since the member began anew
	latency atomic.Int64 // peak EWMA in nanoseconds; 0: not measured yet
	stamp   atomic.Int64 // when latency was written
	reborn  atomic.Int64 // when the member last began anew: what was begun before says nothing about it
}

const (
	oneTry  = 1
	oneWait = 1 << 32
)

// inFlight is how many tries are at work.
func (l *load) inFlight() int64 { return l.work.Load() & (oneWait - 1) }

// begin counts a try, and says how many there are now. now is 0 where the policy does not look at silences.
func (l *load) begin(now int64) int64 {
	w := l.work.Add(oneTry + oneWait)
	if now != 0 && (w>>32 == 1 || l.since.Load() == 0) {
		l.since.Store(now)
	}
	return w & (oneWait - 1)
}

// end takes a try off again.
func (l *load) end(answered bool) {
	if answered {
		l.work.Add(-oneTry)
		return
	}
	l.work.Add(-oneTry - oneWait)
}

// untold says whether the member has been given a try that it has not answered yet, since it began anew.
func (l *load) untold() bool { return l.work.Load()>>32 > 0 && l.since.Load() != 0 }

// expected is how long an answer is expected to take, in nanoseconds; 0 where nothing is known.
//
// It is Finagle's peak EWMA (twitter/finagle, PeakEwma in c.t.f.loadbalancer): it jumps to a latency above it at once and sinks towards
// those below it slowly, and while idle it sinks towards 0, so that a member that was slow is tried again. A member from which
// nothing has come back is expected to take at least as long as the silence lasts: one that hangs loses its traffic in the time
// of a few answers, long before a timeout says so.
func (l *load) expected(now int64) float64 {
	e := l.latency.Load()
	if e == 0 {
		return 0
	}
	f, stamp := float64(e), l.stamp.Load()
	if idle := now - stamp; idle > fresh {
		f *= fade(idle)
	}
	if l.untold() {
		f = max(f, float64(now-max(l.since.Load(), stamp)))
	}
	return f
}

// fade is how much of a peak is left after a time.
func fade(idle int64) float64 {
	x := float64(max(idle, 0)) / fading
	if x < 0.01 {
		return 1 - x
	}
	return math.Exp(-x)
}

// answered takes the latency of a good answer.
func (l *load) answered(now, took int64) {
	took = max(took, 1)
	for {
		old := l.latency.Load()
		next := took
		if took <= old {
			age := now - l.stamp.Load()
			if age < settled {
				return
			}
			keep := fade(age)
			next = max(1, int64(float64(old)*keep+float64(took)*(1-keep)))
		}
		if l.latency.CompareAndSwap(old, next) {
			break
		}
	}
	l.stamp.Store(now)
}

// waited takes the time that a try was given up after: an answer would have taken at least that long.
func (l *load) waited(now, took int64) {
	for old := l.latency.Load(); took > old && old != 0; old = l.latency.Load() {
		if l.latency.CompareAndSwap(old, took) {
			l.stamp.Store(now)
			return
		}
	}
}

// failed makes the member look slower with every failure: one that fails fast would otherwise look like the fastest and draw
// all traffic to itself.
func (l *load) failed(now, took int64) {
	for {
		old := l.latency.Load()
		next := max(took, min(max(2*old, failureAtLeast), failureAtMost))
		if l.latency.CompareAndSwap(old, next) {
			break
		}
	}
	l.stamp.Store(now)
}

// forget makes the member one that was never measured.
func (l *load) forget(now int64) {
	l.reborn.Store(now)
	l.latency.Store(0)
	l.since.Store(0)
}

// stale says whether a try that ended now after took was begun before the member began anew.
func (l *load) stale(now int64, took time.Duration) bool { return now-int64(took) < l.reborn.Load() }

// logLatency is log2 of a latency in 1/256 steps. The mantissa's logarithm is taken as linear: at most 0.09 too small.
func logLatency(took int64) int64 {
	n := uint64(max(took, 1))
	whole := bits.Len64(n) - 1
	return int64(whole)<<8 | int64(n<<(63-whole)>>55&0xff)
}

// logTimes is log2 of a factor; 0 for a factor that is off.
func logTimes(f float64) float64 {
	if f <= 1 {
		return 0
	}
	return math.Log2(f)
}

// unlog turns a mean of logLatency into a latency: the geometric mean, which a few slow answers do not move.
func unlog(mean float64) time.Duration { return time.Duration(math.Exp2(mean / 256)) }

package resilience

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// AdaptiveOptions bounds what an adaptive limit may find.
type AdaptiveOptions struct {
	Initial, Min, Max int           // calls at work at once; 20, 2 and 1000 where not given
	Queue             int           // calls that wait for a place; 0 refuses at once
	Wait              time.Duration // how long one waits; 0 is no bound but the context's
	Window            time.Duration // calls are judged in groups of at least this time; 100ms where not given
	// Overloaded says which errors mean that the other side has too much to do; a missed deadline and ErrRefused where not given.
	Overloaded func(error) bool
}

// Adaptive is a concurrency limit that finds the number of calls at which the other side is busy but does not queue.
//
// After each window it compares, as TCP Vegas does, the calls at work with those that would be if none of them queued at the other
// side: n × (1 − base/latency) is the length of that queue. Under a tenth of the limit, the limit grows; over a fifth it shrinks.
//
// The base is the latency without a queue. Vegas takes the lowest one seen, and has to drain the connection now and then to
// see it again; here it is followed down, and up only as far as throughput follows concurrency: if fewer calls at work meant
// fewer calls served, they were not queueing, the other side has become slower; if as many were served, they were. So there
// are no periodic dips, and a slower dependency is not taken for an overloaded one.
//
// Sources: Brakmo, Peterson, "TCP Vegas" (IEEE JSAC 13(8), 1995); Netflix, concurrency-limits (Vegas, Gradient2); Uber, "Cinnamon
// Auto-Tuner" (covariance of throughput and concurrency); Little's law, which gives the mean number at work as the sum of latencies
// over time.
type Adaptive struct {
	options AdaptiveOptions
	clock   clock
	places  *Limit

	served   atomic.Int64 // in this window
	latency  atomic.Int64 // their sum
	overload atomic.Bool
	ends     atomic.Int64 // when the window ends at the earliest

	mu      sync.Mutex // over what follows; never waited for
	began   time.Duration
	limit   float64
	base    float64 // seconds
	steady  bool    // it has shrunk once: from then on it grows slowly
	history history
}

// leastServed is how many calls a window must have served: a mean of fewer says too little.
const leastServed = 10

// NewAdaptive makes a limit that begins at Initial.
func NewAdaptive(o AdaptiveOptions) *Adaptive {
	o.Min, o.Max = orDefault(o.Min, 2), orDefault(o.Max, 1000)
	o.Initial = min(max(orDefault(o.Initial, 20), o.Min), o.Max)
	o.Window = orDefault(o.Window, 100*time.Millisecond)
	if o.Overloaded == nil {
		o.Overloaded = func(err error) bool { return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrRefused) }
	}
	a := &Adaptive{options: o, clock: newClock(), limit: float64(o.Initial)}
	a.places = NewLimit(a.bounds())
	a.ends.Store(int64(o.Window))
	return a
}

func (a *Adaptive) bounds() LimitOptions {
	return LimitOptions{Concurrency: int(a.limit), Queue: a.options.Queue, Wait: a.options.Wait}
}

// Acquire takes a place as Limit does. Whoever uses it instead of Enter gives the place back with Release, and the limit
// learns nothing.
func (a *Adaptive) Acquire(ctx context.Context) error { return a.places.Acquire(ctx) }

// Release gives a place back.
func (a *Adaptive) Release() { a.places.Release() }

// Snapshot is the limit now, for display.
func (a *Adaptive) Snapshot() LimitSnapshot { return a.places.Snapshot() }

// Enter takes a place as Limit does.
func (a *Adaptive) Enter(ctx context.Context) (Pass, error) {
	if err := a.places.Acquire(ctx); err != nil {
		return Pass{}, err
	}
	return Pass{Gate: a, Begun: a.clock.now()}, nil
}

// Leave gives the place back and learns from the call: its latency from a success, that there is too much to do from an error
// that says so.
func (a *Adaptive) Leave(p Pass, err error) {
	a.places.Release()
	now := a.clock.now()
	switch {
	case err == nil:
		a.latency.Add(int64(now - p.Begun))
		a.served.Add(1)
	case a.options.Overloaded(err):
		a.overload.Store(true)
	}
	if int64(now) >= a.ends.Load() && a.mu.TryLock() {
		a.judge(now)
		a.mu.Unlock()
	}
}

// judge ends a window. The caller holds the mutex.
func (a *Adaptive) judge(now time.Duration) {
	overload := a.overload.Load()
	if int64(now) < a.ends.Load() || (a.served.Load() < leastServed && !overload) {
		return
	}
	served, latency := float64(a.served.Swap(0)), time.Duration(a.latency.Swap(0)).Seconds()
	a.overload.Store(false)
	elapsed := (now - a.began).Seconds()
	a.began = now
	// A call that a new limit admits is served a latency later: a window of only a few would still show the old one.
	enough := time.Duration(4 * a.base * float64(time.Second))
	a.ends.Store(int64(now + min(max(enough, a.options.Window), 4*a.options.Window)))
	before := int(a.limit)
	if overload {
		a.limit *= 0.9
	} else {
		a.learn(latency/elapsed, served/elapsed, latency/served)
	}
	a.limit = min(max(a.limit, float64(a.options.Min)), float64(a.options.Max))
	if int(a.limit) != before {
		a.places.Update(a.bounds())
	}
}

// learn moves the limit by what a window showed: the mean number of calls at work, how many were served per second, and their
// mean latency in seconds.
func (a *Adaptive) learn(atWork, throughput, latency float64) {
	a.history.add(math.Log(atWork), math.Log(throughput))
	slope, known := a.history.slope()
	switch {
	case a.history.n == 1: // the first window has seen short calls only: it tells how long the next must be
		a.base = latency
		return
	case a.history.n == 2:
		a.base = latency
	case latency < a.base:
		a.base += 0.3 * (latency - a.base)
	case known && slope > 0.5:
		a.base += 0.3 * min(2*slope-1, 1) * (latency - a.base)
	}
	if atWork < a.limit/2 {
		return // the limit does not matter at the moment: nothing is known of it
	}
	few, many := max(2, a.limit/10), max(4, a.limit/5)
	switch queued := atWork * (1 - a.base/latency); {
	case queued > many:
		a.limit, a.steady = max(0.7*a.limit, atWork-queued+few), true
	case known && slope < 0.2: // the base itself is the latency of a queue
		a.limit, a.steady = 0.9*a.limit, true
	case queued < few/2 && !a.steady:
		a.limit *= 1.4
	case queued < few/2:
		a.limit += max(1, a.limit/10)
	case queued < few:
		a.limit++
	}
}

// history is the concurrency and throughput of the last windows, as logarithms.
type history struct {
	x, y [16]float64
	n    int
}

func (h *history) add(x, y float64) {
	h.x[h.n%len(h.x)], h.y[h.n%len(h.y)] = x, y
	h.n++
}

// slope says how far y followed x: that of the regression line, 1 for in proportion, 0 for not at all. It is not known while x
// hardly varies.
func (h *history) slope() (slope float64, known bool) {
	n := min(h.n, len(h.x))
	var mx, my, xx, xy float64
	for i := range n {
		mx += h.x[i] / float64(n)
		my += h.y[i] / float64(n)
	}
	for i := range n {
		xx += (h.x[i] - mx) * (h.x[i] - mx)
		xy += (h.x[i] - mx) * (h.y[i] - my)
	}
	const least = 0.08 * 0.08 // of the variance: below eight per cent of spread, chance alone makes a slope
	if n < 4 || xx < least*float64(n) {
		return 0, false
	}
	return xy / xx, true
}

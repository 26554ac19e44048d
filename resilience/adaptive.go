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
	Window            time.Duration // calls are judged in groups of at least this time, four times that where they vary; 100ms where not given
	// Overloaded says which errors mean that the other side has too much to do; a missed deadline and ErrRefused where not given.
	Overloaded func(error) bool
}

// Adaptive is a concurrency limit that finds the number of calls at which the other side is busy but does not queue.
//
// After each window it compares, as TCP Vegas does, the calls at work with those that would be if none of them queued at the other
// side: n × (1 − base/latency) is the length of that queue. The limit moves, as in FAST TCP, to where that is a tenth of it: enough
// to keep the other side busy, and so little that who matters hardly waits there, where nobody can overtake.
//
// The base is the latency without a queue. Vegas takes the lowest one seen, and has to drain the connection now and then to
// see it again; here it follows latency while the limit is not used, and under load by what throughput says: where fewer calls at
// work meant fewer calls served, they were not queueing, the other side has become slower; where as many were served, they were.
// So there are no periodic dips, and a slower dependency is not taken for an overloaded one. Only what the limit itself has done to the
// calls at work counts for that, as otherwise it is latency that moves them.
//
// Service times vary, and with few calls in a window so does their mean. What is within its standard error moves the limit a little
// and in proportion, what is outside moves it at once.
//
// Sources: Brakmo, Peterson, "TCP Vegas" (IEEE JSAC 13(8), 1995); Wei, Jin, Low, Hegde, "FAST TCP" (IEEE/ACM ToN 14(6), 2006);
// Netflix, concurrency-limits (Vegas, Gradient2); Uber, "Cinnamon Auto-Tuner" (covariance of throughput and concurrency).
type Adaptive struct {
	options AdaptiveOptions
	clock   clock
	places  *Limit
	window  window
	ends    atomic.Int64 // when the window ends at the earliest

	mu    sync.Mutex // over what follows; never waited for
	began time.Duration
	law   law
}

// window is what has been seen since the last judgement.
type window struct {
	served   atomic.Int64
	latency  atomic.Int64 // the sum of their latencies
	off      atomic.Int64 // the sum of how far each of them was from the usual
	usual    atomic.Int64 // the mean latency of the window before
	others   atomic.Int64 // the sum of how many others were at work when each ended
	overload atomic.Bool
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
	a := &Adaptive{options: o, clock: newClock(), law: law{limit: float64(o.Initial)}}
	a.places = NewLimit(a.bounds())
	a.ends.Store(int64(o.Window))
	return a
}

func (a *Adaptive) bounds() LimitOptions {
	return LimitOptions{Concurrency: int(a.law.limit), Queue: a.options.Queue, Wait: a.options.Wait}
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
	others := a.places.release(1)
	now := a.clock.now()
	w := &a.window
	switch {
	case err == nil:
		took, usual := int64(now-p.Begun), w.usual.Load()
		w.latency.Add(took)
		w.off.Add(max(took-usual, usual-took))
		w.others.Add(int64(others))
		w.served.Add(1)
	case a.options.Overloaded(err):
		w.overload.Store(true)
	}
	if int64(now) >= a.ends.Load() && a.mu.TryLock() {
		a.judge(now)
		a.mu.Unlock()
	}
}

// judge ends a window. The caller holds the mutex.
func (a *Adaptive) judge(now time.Duration) {
	w, law := &a.window, &a.law
	overload := w.overload.Load()
	if int64(now) < a.ends.Load() || (w.served.Load() < leastServed && !overload) {
		return
	}
	seen := w.read(now-a.began, law.spread)
	if !overload && now-a.began < 4*a.options.Window && law.wantsMore(seen) {
		return
	}
	w.clear(seen)
	a.began = now
	// A call that a new limit admits is served a latency later: a window of only a few would still show the old one.
	enough := time.Duration(4 * law.base * float64(time.Second))
	a.ends.Store(int64(now + min(max(enough, a.options.Window), 4*a.options.Window)))
	before := int(law.limit)
	if overload {
		law.limit *= 0.9
	} else {
		law.learn(seen)
	}
	law.limit = min(max(law.limit, float64(a.options.Min)), float64(a.options.Max))
	if int(law.limit) != before {
		a.places.Update(a.bounds())
	}
}

// read is what the window has shown. spread is that of single calls so far, relative to their mean.
func (w *window) read(elapsed time.Duration, spread float64) (s seen) {
	served := float64(w.served.Load())
	s.latency = time.Duration(w.latency.Load()).Seconds() / served
	s.spread = time.Duration(w.off.Load()).Seconds() / served / s.latency
	// A window with few calls may have missed the long ones: it does not know how much they spread.
	const deviation = 1.3 // the standard one is about so many times the mean one
	s.doubt = deviation * max(spread, s.spread/2) * s.latency / math.Sqrt(served)
	s.throughput = served / elapsed.Seconds()
	s.atWork = float64(w.others.Load())/served + 1
	return s
}

func (w *window) clear(s seen) {
	w.served.Store(0)
	w.latency.Store(0)
	w.off.Store(0)
	w.others.Store(0)
	w.overload.Store(false)
	if s.latency > 0 {
		w.usual.Store(int64(s.latency * float64(time.Second)))
	}
}

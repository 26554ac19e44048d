package resilience

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// LimitOptions bounds calls at work and calls that wait.
type LimitOptions struct {
	Concurrency int           // calls at work at once; 0 is no bound
	Queue       int           // calls that wait for a place; 0 refuses at once
	Wait        time.Duration // how long one waits; 0 is no bound but the context's
	Weighted    bool          // a call takes as many places as CostOf its context says, all of them where it costs more than there are
}

// LimitSnapshot is a limit at one moment, for display.
type LimitSnapshot struct {
	Concurrency, Queue int
	InUse, Waiting     int
	Refused, TimedOut  uint64 // since it was made: at the full queue; after waiting
}

// Limit bounds how many calls are at work at once; more wait, first in, first out.
//
// While nobody waits, a place is taken and given back by one atomic instruction each. Once somebody does, all go through the
// mutex: a place given back then passes straight to who waits longest, so that nobody can overtake the queue.
type Limit struct {
	word    atomic.Uint64 // waiting (upper half), in use (lower half); the upper half is changed under the mutex only
	bound   atomic.Uint32 // Concurrency
	weighs  atomic.Bool   // Weighted
	refused atomic.Uint64
	expired atomic.Uint64

	mu      sync.Mutex
	options LimitOptions
	queue   queue
}

const oneWaiting = 1 << 32

func waiting(word uint64) int  { return int(word >> 32) }
func inUse(word uint64) uint32 { return uint32(word) }
func unbounded(n int) bool     { return n <= 0 || n >= 1<<31 } // no bound, or one that cannot be reached

// NewLimit makes a limit with every place free.
func NewLimit(o LimitOptions) *Limit {
	l := &Limit{}
	l.Update(o)
	return l
}

// Acquire takes a place, waiting for it where it must; where nil, Release must follow. Errors: ErrQueueFull, ErrQueueTimeout
// (both are ErrLimited), or the context's cause.
func (l *Limit) Acquire(ctx context.Context) error {
	if l.TryAcquire() {
		return nil
	}
	_, err := l.acquire(ctx, 1)
	return err
}

// AcquireN is Acquire for a call that costs n ordinary ones, and says how many places it has taken, which ReleaseN must give
// back: n, or all there are where it costs more. Who waits for many places keeps those behind waiting, too: else nobody would
// ever leave it enough of them.
func (l *Limit) AcquireN(ctx context.Context, n int) (taken int, err error) {
	n = min(max(n, 1), mostCost)
	if taken, ok := l.tryAcquire(n); ok {
		return taken, nil
	}
	return l.acquire(ctx, n)
}

// acquire takes n places the slow way.
func (l *Limit) acquire(ctx context.Context, n int) (int, error) {
	l.mu.Lock()
	w, taken, wait, err := l.join(n)
	l.mu.Unlock()
	if w == nil {
		return taken, err
	}
	return l.wait(ctx, w, wait)
}

// tryAcquire takes n places, or all where there are less, if nobody waits and they are free.
func (l *Limit) tryAcquire(n int) (int, bool) {
	for {
		word := l.word.Load()
		taken, ok := l.fit(word, n)
		if !ok || waiting(word) > 0 {
			return 0, false
		}
		if l.word.CompareAndSwap(word, word+uint64(taken)) {
			return taken, true
		}
	}
}

// fit says how many places a call that costs n takes, and whether they are free.
func (l *Limit) fit(word uint64, n int) (int, bool) {
	bound := l.bound.Load()
	n = int(min(uint32(n), bound))
	return n, uint64(inUse(word))+uint64(n) <= uint64(bound)
}

// TryAcquire takes a place if one is free and nobody waits for it; where true, Release must follow.
func (l *Limit) TryAcquire() bool {
	for {
		word := l.word.Load()
		if waiting(word) > 0 || inUse(word) >= l.bound.Load() {
			return false
		}
		if l.word.CompareAndSwap(word, word+1) {
			return true
		}
	}
}

// join enters the queue, or takes places that have become free since; then there is no waiter. The caller holds the mutex.
func (l *Limit) join(n int) (w *waiter, taken int, wait time.Duration, err error) {
	for {
		word := l.word.Load()
		places, free := l.fit(word, n)
		switch {
		case waiting(word) == 0 && free:
			if l.word.CompareAndSwap(word, word+uint64(places)) {
				return nil, places, 0, nil
			}
		case waiting(word) >= l.options.Queue:
			l.refused.Add(1)
			return nil, 0, 0, ErrQueueFull
		case l.word.CompareAndSwap(word, word+oneWaiting):
			w := l.queue.push()
			w.places = n
			return w, 0, l.options.Wait, nil
		}
	}
}

// wait stands in the queue, and says how many places it has got.
func (l *Limit) wait(ctx context.Context, w *waiter, wait time.Duration) (int, error) {
	expired := w.after(wait)
	var err error
	late := false
	select {
	case <-w.granted:
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-expired:
		err, late = ErrQueueTimeout, true
	}
	w.stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.queue.recycle(w)
	switch {
	case err == nil:
		return w.places, nil
	case l.queue.remove(w):
		l.leave()
		l.grant() // who comes next may need fewer places
		if late {
			l.expired.Add(1)
		}
		return 0, err
	}
	<-w.granted // at the same moment a place came
	if late {
		return w.places, nil
	}
	l.word.Add(-uint64(w.places))
	l.grant()
	return 0, err
}

// leave takes one waiter off the count. The caller holds the mutex.
func (l *Limit) leave() { l.word.Add(^uint64(oneWaiting - 1)) }

// Release gives a place back, to who waits longest where anyone does.
func (l *Limit) Release() { l.ReleaseN(1) }

// ReleaseN gives back what AcquireN has taken.
func (l *Limit) ReleaseN(taken int) { l.release(taken) }

// release gives places back, and says how many others are in use.
func (l *Limit) release(taken int) (others uint32) {
	word := l.word.Add(-uint64(taken))
	if inUse(word) > ^uint32(taken) {
		panic("resilience: Release of a Limit that is not held")
	}
	if waiting(word) > 0 { // nobody can take the free place meanwhile: who comes now sees a queue
		l.mu.Lock()
		l.grant()
		l.mu.Unlock()
	}
	return inUse(word)
}

// grant passes free places on to those who wait. The caller holds the mutex.
func (l *Limit) grant() {
	for {
		word := l.word.Load()
		if waiting(word) == 0 {
			return
		}
		places, free := l.fit(word, l.queue.first.places)
		if !free {
			return
		}
		if l.word.CompareAndSwap(word, word-oneWaiting+uint64(places)) {
			w := l.queue.pop()
			w.places = places
			w.granted <- struct{}{}
		}
	}
}

// Update puts new bounds in force; places in use and those who wait stay.
func (l *Limit) Update(o LimitOptions) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.options = o
	bound := uint32(1<<32 - 1)
	if !unbounded(o.Concurrency) {
		bound = uint32(o.Concurrency)
	}
	l.bound.Store(bound)
	l.weighs.Store(o.Weighted)
	l.grant()
}

// Snapshot is the limit now, for display.
func (l *Limit) Snapshot() LimitSnapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	word := l.word.Load()
	return LimitSnapshot{
		Concurrency: l.options.Concurrency, Queue: l.options.Queue,
		InUse: int(inUse(word)), Waiting: waiting(word),
		Refused: l.refused.Load(), TimedOut: l.expired.Load(),
	}
}

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
	l.mu.Lock()
	w, wait, err := l.join()
	l.mu.Unlock()
	if w == nil {
		return err
	}
	return l.wait(ctx, w, wait)
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

// join enters the queue, or takes a place that has become free since; then there is no waiter. The caller holds the mutex.
func (l *Limit) join() (*waiter, time.Duration, error) {
	for {
		word := l.word.Load()
		switch {
		case waiting(word) == 0 && inUse(word) < l.bound.Load():
			if l.word.CompareAndSwap(word, word+1) {
				return nil, 0, nil
			}
		case waiting(word) >= l.options.Queue:
			l.refused.Add(1)
			return nil, 0, ErrQueueFull
		case l.word.CompareAndSwap(word, word+oneWaiting):
			return l.queue.push(), l.options.Wait, nil
		}
	}
}

// wait stands in the queue.
func (l *Limit) wait(ctx context.Context, w *waiter, wait time.Duration) error {
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
		return nil
	case l.queue.remove(w):
		l.leave()
		if late {
			l.expired.Add(1)
		}
		return err
	}
	<-w.granted // at the same moment a place came
	if late {
		return nil
	}
	l.word.Add(^uint64(0))
	l.grant()
	return err
}

// leave takes one waiter off the count. The caller holds the mutex.
func (l *Limit) leave() { l.word.Add(^uint64(oneWaiting - 1)) }

// Release gives a place back, to who waits longest where anyone does.
func (l *Limit) Release() {
	word := l.word.Add(^uint64(0))
	if inUse(word) == 1<<32-1 {
		panic("resilience: Release of a Limit that is not held")
	}
	if waiting(word) > 0 { // nobody can take the free place meanwhile: who comes now sees a queue
		l.mu.Lock()
		l.grant()
		l.mu.Unlock()
	}
}

// grant passes free places on to those who wait. The caller holds the mutex.
func (l *Limit) grant() {
	for {
		word := l.word.Load()
		if waiting(word) == 0 || inUse(word) >= l.bound.Load() {
			return
		}
		if l.word.CompareAndSwap(word, word-oneWaiting+1) {
			l.queue.pop().granted <- struct{}{}
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

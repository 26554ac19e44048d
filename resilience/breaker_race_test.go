package resilience

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestBreakerTellsChangesInOrderAndUnlocked(t *testing.T) {
	var b *Breaker
	var mu sync.Mutex
	last, calls := Closed, 0
	b = NewBreaker(BreakerOptions{Consecutive: 1, Reset: time.Nanosecond, OnChange: func(c BreakerChange) {
		mu.Lock()
		defer mu.Unlock()
		if c.From != last {
			t.Errorf("change from %v after one to %v", c.From, last)
		}
		last = c.To
		if calls++; calls%7 == 0 {
			b.Isolate() // re-enters
			b.Reset()
		}
		_ = b.Snapshot()
	}})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				if p, err := b.Allow(); err == nil {
					p.Done(Outcome((i+g)%2), 0)
				}
			}
		})
	}
	wg.Wait()
	if calls < 10 {
		t.Errorf("only %d changes", calls)
	}
}

func TestBreakerNeverAdmitsMoreThanItsProbes(t *testing.T) {
	const probes = 3
	b := NewBreaker(BreakerOptions{Consecutive: 1, Reset: time.Nanosecond, MaxReset: time.Nanosecond, Probes: probes})
	p, _ := b.Allow()
	p.Done(Failure, 0)
	var atWork, most atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				p, err := b.Allow()
				if err != nil {
					if !errors.Is(err, ErrOpen) || !errors.Is(err, ErrRefused) {
						t.Errorf("refused with %v", err)
					}
					continue
				}
				n := atWork.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				atWork.Add(-1)
				p.Done(Ignored, 0)
			}
		})
	}
	wg.Wait()
	if most.Load() > probes || most.Load() == 0 {
		t.Errorf("%d probes at once", most.Load())
	}
	if s := b.Snapshot(); s.State != HalfOpen || s.Probes != 0 {
		t.Errorf("left as %+v", s)
	}
}

package resilience

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// server works on so many calls at once, the rest queues; each takes service on average, exponentially distributed. What is in extra is slept
// without a worker: a dependency that has become slower.
type server struct {
	workers *Limit
	service time.Duration
	extra   atomic.Int64
	random  *rand.Rand
	mu      sync.Mutex
}

func newServer(workers int, service time.Duration) *server {
	return &server{workers: NewLimit(LimitOptions{Concurrency: workers, Queue: 1e6}), service: service, random: rand.New(rand.NewPCG(1, 2))}
}

func (s *server) call(ctx context.Context) (struct{}, error) {
	if err := s.workers.Acquire(ctx); err != nil {
		return struct{}{}, err
	}
	s.mu.Lock()
	d := time.Duration(s.random.ExpFloat64() * float64(s.service))
	s.mu.Unlock()
	time.Sleep(d)
	s.workers.Release()
	time.Sleep(time.Duration(s.extra.Load()))
	return struct{}{}, nil
}

// load sends so many calls a second, whatever comes back, for so long, and tells what was served per second and how long that took on average.
func load(perSecond int, d time.Duration, call func(context.Context) error) (served float64, mean time.Duration) {
	var good, latency atomic.Int64
	var wg sync.WaitGroup
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second / time.Duration(perSecond)) {
		wg.Go(func() {
			start := time.Now()
			if call(background) == nil {
				good.Add(1)
				latency.Add(int64(time.Since(start)))
			}
		})
	}
	wg.Wait()
	return float64(good.Load()) / d.Seconds(), time.Duration(latency.Load() / max(good.Load(), 1))
}

func TestAdaptiveFindsTheLimit(t *testing.T) {
	tests := []struct {
		workers   int
		service   time.Duration
		initial   int
		perSecond int
		overload  string
	}{
		{20, 10 * time.Millisecond, 20, 6000, "3×"},
		{20, 10 * time.Millisecond, 500, 6000, "3× from far too high"},
		{20, 10 * time.Millisecond, 2, 6000, "3× from far too low"},
		{4, 5 * time.Millisecond, 20, 8000, "10× of a small one"},
		{100, 50 * time.Millisecond, 20, 4000, "2× of a large one"},
	}
	for _, tt := range tests {
		inBubble(t, tt.overload, func(t *testing.T) {
			s := newServer(tt.workers, tt.service)
			a := NewAdaptive(AdaptiveOptions{Initial: tt.initial})
			call := func(ctx context.Context) error { _, err := Guard(ctx, s.call, a); return err }
			load(tt.perSecond, 5*time.Second, call)
			capacity := float64(tt.workers) / tt.service.Seconds()
			served, mean := load(tt.perSecond, 3*time.Second, call)
			t.Logf("limit %d; %.0f of %.0f per second; mean %v", a.Snapshot().Concurrency, served, capacity, mean)
			if served < 0.9*capacity {
				t.Errorf("served %.0f per second of %.0f", served, capacity)
			}
			if mean > 5*tt.service/2 {
				t.Errorf("took %v on average, %v without a queue", mean, tt.service)
			}
		})
	}
}

// TestAdaptiveFollowsASlowerDependency: when calls take longer but do not queue, throughput must not be strangled.
func TestAdaptiveFollowsASlowerDependency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1000, 10*time.Millisecond)
		a := NewAdaptive(AdaptiveOptions{})
		call := func(ctx context.Context) error { _, err := Guard(ctx, s.call, a); return err }
		load(2000, 2*time.Second, call)
		s.extra.Store(int64(30 * time.Millisecond))
		load(2000, 5*time.Second, call)
		served, mean := load(2000, 2*time.Second, call)
		t.Logf("limit %d; %.0f of 2000 per second; mean %v", a.Snapshot().Concurrency, served, mean)
		if served < 1800 {
			t.Errorf("served %.0f of 2000 per second", served)
		}
	})
}

// TestAdaptiveHasNoPeriodicDips watches the limit under steady overload.
func TestAdaptiveHasNoPeriodicDips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(20, 10*time.Millisecond)
		a := NewAdaptive(AdaptiveOptions{})
		call := func(ctx context.Context) error { _, err := Guard(ctx, s.call, a); return err }
		load(4000, 3*time.Second, call)
		low, high := 1000, 0
		for range 20 {
			load(4000, 500*time.Millisecond, call)
			limit := a.Snapshot().Concurrency
			low, high = min(low, limit), max(high, limit)
		}
		t.Logf("limit between %d and %d", low, high)
		if low < 15 || high > 60 {
			t.Errorf("the limit went from %d to %d for 20 workers", low, high)
		}
	})
}

func TestAdaptiveShrinksOnOverload(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{{context.DeadlineExceeded, true}, {fmt.Errorf("downstream: %w", ErrShed), true}, {context.Canceled, false}, {fmt.Errorf("404"), false}} {
		inBubble(t, tt.err.Error(), func(t *testing.T) {
			a := NewAdaptive(AdaptiveOptions{Initial: 100, Min: 5})
			for range 100 {
				p, err := a.Enter(background)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Millisecond)
				p.Leave(tt.err)
			}
			if n := a.Snapshot().Concurrency; (n < 50) != tt.want || n < 5 {
				t.Errorf("limit %d after errors", n)
			}
		})
	}
}

func BenchmarkAdaptive(b *testing.B) {
	a := NewAdaptive(AdaptiveOptions{})
	parallel(b, func() {
		if p, err := a.Enter(background); err == nil {
			p.Leave(nil)
		}
	})
}

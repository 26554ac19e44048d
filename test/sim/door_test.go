package sim

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/resilience"
)

// atDoor is what the proxy does with each request of a service: it is let in by its priority or refused, and the limit learns from it.
func atDoor(s *pool.Service, priority resilience.Priority, call caller) caller {
	return func(ctx context.Context, r *Request) error {
		ticket := pool.Ticket{Priority: priority.For(fmt.Sprint("client ", r.Number%200)), Ranked: true}
		if err := s.EnterAs(ctx, &ticket); err != nil {
			return err
		}
		begun := time.Now()
		err := call(ctx, r)
		leaving := pool.Leaving{}
		if err == nil {
			leaving = pool.Leaving{Load: pool.LoadFine, Took: time.Since(begun)}
		}
		s.LeaveAs(&ticket, leaving)
		return err
	}
}

// TestAdaptiveDoor: with `limit: adaptive`, which is told nothing of what the application can do, critical requests are answered in
// time under three times the load, and the application is put to use. The first is the application of make bench-overload.
func TestAdaptiveDoor(t *testing.T) {
	const calm, spike, after = 4 * time.Second, 10 * time.Second, 3 * time.Second
	tests := []struct {
		name             string
		workers          int
		service          Distribution
		mean, network    time.Duration
		inTime, capacity float64
	}{
		{"ten workers of 25 ms", 10, Constant(25 * ms), 25 * ms, ms / 4, 0.985, 0.95},
		{"far away", 10, Constant(25 * ms), 25 * ms, 2 * ms, 0.985, 0.95},
		{"that varies", 20, Exponential(20 * ms), 20 * ms, ms / 2, 0.985, 0.85},
		{"four workers", 4, Exponential(5 * ms), 5 * ms, ms / 4, 0.98, 0.85},
		{"a hundred slow workers", 100, Exponential(50 * ms), 50 * ms, ms / 4, 0.985, 0.93},
		{"one in ten takes ten times as long", 10, Bimodal(Constant(10*ms), Constant(110*ms), 0.1), 20 * ms, ms / 4, 0.8, 0.6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func() {
				s := pool.NewService("app", pool.Options{})
				s.Set(config.Service{Limit: &config.Limit{Adaptive: true, Min: 2, Queue: 100, Wait: config.Duration(time.Second)}}, nil)
				defer s.Close()
				capacity := float64(tt.workers) / tt.mean.Seconds()
				server := NewServer(ServerOptions{Workers: tt.workers, Service: tt.service, Network: Exponential(tt.network)})
				clients := func(name string, share float64, p resilience.Priority) Class {
					return Class{
						Name: name, Rate: Spike(share*capacity/2, share*capacity*3, calm, calm+spike), Timeout: time.Second,
						Call: atDoor(s, p, server.Serve),
					}
				}
				classes := []Class{clients("critical", 0.2, resilience.Critical), clients("normal", 0.8, resilience.Normal)}
				found := 0
				got := Run(seed, calm+spike+after, classes, Event{calm + spike, func() { found = s.Status().Limit.Concurrency }})
				unloaded := Quantile(Between(flatten(got), time.Second, calm), 0.99)
				critical, all := Between(got["critical"], calm, calm+spike), Between(flatten(got), calm, calm+spike)
				inTime, goodput := Success(critical, 2*unloaded), Success(all, 0)*float64(len(all))/spike.Seconds()/capacity
				t.Logf("limit %d for %d workers; %.1f %% of critical requests within %v; goodput %.0f %% of capacity", found, tt.workers, 100*inTime, 2*unloaded, 100*goodput)
				if inTime < tt.inTime {
					t.Errorf("%.4f of critical requests in time, want %v", inTime, tt.inTime)
				}
				if goodput < tt.capacity {
					t.Errorf("%.3f of capacity put to use, want %v", goodput, tt.capacity)
				}
				if at := Success(Between(flatten(got), calm+spike+2*time.Second, calm+spike+after), 0); at < 0.99 {
					t.Errorf("two seconds after the spike %.4f are answered", at)
				}
			})
		})
	}
}

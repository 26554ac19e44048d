package pool

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/resilience"
)

// TestPoliciesAreAdjustedLive changes each policy of a service by a reload while it has something to lose: the new setting is in force at
// once, and what it had learnt, or has at work, is as it was.
func TestPoliciesAreAdjustedLive(t *testing.T) {
	second := config.Duration(time.Second)
	tests := []struct {
		name   string
		before func(*config.Service)
		state  func(*testing.T, *kit) // brings about what could be lost
		after  func(*config.Service)
		want   func(*kit) bool
	}{
		{
			name:   "limit: places that are taken stay taken, and who waits gets one that is new",
			before: func(c *config.Service) { c.Limit = &config.Limit{Concurrency: 1, Queue: 5, Wait: 10 * second} },
			state: func(t *testing.T, k *kit) {
				for range 2 {
					go func() {
						ticket := Ticket{}
						if k.EnterAs(t.Context(), &ticket) == nil {
							time.Sleep(5 * time.Second)
							k.LeaveAs(&ticket, Leaving{})
						}
					}()
				}
				synctest.Wait()
			},
			after: func(c *config.Service) { c.Limit = &config.Limit{Concurrency: 2, Queue: 5, Wait: 10 * second} },
			want: func(k *kit) bool {
				st := k.Status()
				return st.Limit.InUse == 2 && st.Limit.Concurrency == 2 && st.Queued == 0
			},
		},
		{
			name:   "limit: adaptive keeps the number that it has found",
			before: func(c *config.Service) { c.Limit = &config.Limit{Adaptive: true, Min: 2} },
			state: func(t *testing.T, k *kit) {
				for range 50 {
					ticket := Ticket{}
					if k.EnterAs(t.Context(), &ticket) == nil {
						time.Sleep(20 * time.Millisecond)
						k.LeaveAs(&ticket, Leaving{Load: LoadTooMuch})
					}
				}
			},
			after: func(c *config.Service) { c.Limit = &config.Limit{Adaptive: true, Min: 3} },
			want:  func(k *kit) bool { n := k.Status().Limit.Concurrency; return n >= 3 && n < 19 },
		},
		{
			name:   "shed: the admission level stays",
			before: func(c *config.Service) { c.Limit, c.Shed = &config.Limit{Concurrency: 1, Queue: 5}, &config.Shed{} },
			state: func(_ *testing.T, k *kit) {
				for range 100 {
					if shed := k.protect.shed.Load(); shed.Admit(resilience.Normal) == nil {
						shed.Observe(time.Second)
					}
					time.Sleep(20 * time.Millisecond)
				}
			},
			after: func(c *config.Service) { c.Shed = &config.Shed{Target: config.Duration(20 * time.Millisecond)} },
			want:  func(k *kit) bool { return k.ShedLevel() > 0.5 },
		},
		{
			name:   "retry: what the budget has counted stays",
			before: func(c *config.Service) { c.Retry.Budget = 20 },
			state: func(_ *testing.T, k *kit) {
				for range 100 {
					k.budget.Begin()
				}
				for k.budget.TryRetry() {
				}
			},
			after: func(c *config.Service) { c.Retry.Budget = 30 },
			want:  func(k *kit) bool { s := k.budget.Snapshot(); return s.Retries == 20 && s.Allowed == 30 },
		},
		{
			name:   "breaker: the service's own stays open",
			before: func(c *config.Service) { c.Breaker.Service, c.Breaker.Consecutive = true, 3 },
			state: func(_ *testing.T, k *kit) {
				for range 3 {
					if p, err := k.Admit(); err == nil {
						p.Done(resilience.Failure, time.Millisecond)
					}
				}
			},
			after: func(c *config.Service) { c.Breaker.Consecutive = 5 },
			want:  func(k *kit) bool { return k.Breaker().State() == resilience.Open },
		},
		{
			name:   "hedge: what it knows of requests stays",
			before: func(c *config.Service) { c.Hedge = &config.Hedge{Quantile: 99} },
			state: func(t *testing.T, k *kit) {
				for i := range 200 {
					took := time.Millisecond
					if i%10 == 0 {
						took = time.Second
					}
					ticket := Ticket{}
					if k.EnterAs(t.Context(), &ticket) == nil {
						k.LeaveAs(&ticket, Leaving{Load: LoadFine, Took: took})
					}
				}
				time.Sleep(time.Second)
				if d, known := k.HedgeDelay(); !known || d < time.Second {
					t.Errorf("before the reload another is asked after %v (%v)", d, known)
				}
			},
			after: func(c *config.Service) {
				c.Hedge = &config.Hedge{Quantile: 80, After: config.Duration(10 * time.Millisecond), Max: 2}
			},
			want: func(k *kit) bool { d, known := k.HedgeDelay(); return known && d == 10*time.Millisecond },
		},
		{
			name:   "hold: who is held stays so",
			before: func(c *config.Service) { c.Hold.For = 10 * second; checked(c) },
			state: func(t *testing.T, k *kit) {
				k.Set(k.cfg, nil)
				go func() { _ = k.Hold(t.Context(), 0) }()
				synctest.Wait()
			},
			after: func(c *config.Service) { c.Hold.Requests = 5 },
			want:  func(k *kit) bool { return k.Status().Held == 1 },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKit(t, "a b", tt.before)
				tt.state(t, k)
				members := k.eps
				if k.Status().Held > 0 {
					members = nil
				}
				tt.after(&k.cfg)
				k.Set(k.cfg, members)
				synctest.Wait()
				if !tt.want(k) {
					t.Errorf("after the reload: %+v, limit %+v, shed %+v, budget %+v", k.Status(), k.Status().Limit, k.Status().Shed, k.budget.Snapshot())
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

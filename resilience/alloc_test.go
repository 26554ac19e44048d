package resilience

import (
	"testing"
	"time"
)

// TestNothingIsAllocated: what lies on the path of a call allocates nothing once it has warmed up.
func TestNothingIsAllocated(t *testing.T) {
	call := answer(1, nil)
	budget := NewBudget(BudgetOptions{})
	hold := NewHold(HoldOptions{})
	retry, err := NewRetry(RetryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stale := NewStale[string, int](StaleOptions{Fresh: time.Hour})
	open := NewBreaker(BreakerOptions{})
	open.Isolate()
	limit := NewLimit(LimitOptions{Concurrency: 10, Queue: 1})
	ctx := WithPriority(background, Critical)
	ready := func() bool { return true }
	gates := map[string]Gate{
		"breaker": NewBreaker(BreakerOptions{SlowRate: 0.5, FailureRate: 0.5}), "open breaker": open,
		"limit": limit, "adaptive": NewAdaptive(AdaptiveOptions{}),
		"rate": NewRate(RateOptions{PerSecond: 100}), "deadline": NewDeadline(DeadlineOptions{}), "throttle": NewThrottle(ThrottleOptions{}),
		"shed": NewShed(ShedOptions{Queue: limit}), "report": &Report{Gate: open, Name: "open", Hook: func(Refusal) {}},
		"bulkhead": NewBulkhead(BulkheadOptions{LimitOptions: LimitOptions{Concurrency: 10}}),
		"shared":   NewShared(SharedOptions{RateOptions: RateOptions{PerSecond: 100, Weighted: true}, Nodes: 2}),
		"weighted": NewShed(ShedOptions{Queue: NewLimit(LimitOptions{Concurrency: 100, Weighted: true}), Weighted: true}),
	}
	ctx = WithCost(WithKey(ctx, "tenant"), 3)
	tests := map[string]func(){
		"budget": func() { budget.Begin(); budget.End() },
		"retry out of the budget": func() {
			if budget.TryRetry() {
				budget.EndRetry()
			}
		},
		"backoff": func() { Backoff{}.Delay(3) },
		"hold":    func() { _ = hold.Wait(background, 0, ready); hold.Wake() },
		"do":      func() { _, _ = Do(background, retry, call) },
		"stale":   func() { _, _, _ = stale.Get(background, "key", call) },
		"several gates": func() {
			_, _ = Guard(ctx, call, gates["throttle"], gates["deadline"], gates["breaker"], gates["adaptive"], gates["shed"])
		},
	}
	for name, gate := range gates {
		tests["gate: "+name] = func() { _, _ = Guard(ctx, call, gate) }
	}
	for name, op := range tests {
		if n := testing.AllocsPerRun(500, op); n != 0 {
			t.Errorf("%s allocates %v times a call", name, n)
		}
	}
}

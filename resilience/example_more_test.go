package resilience_test

import (
	"context"
	"fmt"
	"time"

	"github.com/backstay/backstay/resilience"
)

func ExampleGuard() {
	rate := resilience.NewRate(resilience.RateOptions{PerSecond: 1, Burst: 1})
	for range 2 {
		page, err := resilience.Guard(context.Background(), fetch, rate)
		fmt.Println(page, err)
	}
	// Output:
	// a page <nil>
	//  too many calls: slow down, try again later
}

func ExampleAdaptive() {
	adaptive := resilience.NewAdaptive(resilience.AdaptiveOptions{Initial: 20, Max: 200, Queue: 100, Wait: 50 * time.Millisecond})
	page, err := resilience.Guard(context.Background(), fetch, adaptive)
	fmt.Println(page, err, "of", adaptive.Snapshot().Concurrency)
	// Output: a page <nil> of 20
}

func ExampleThrottle() {
	throttle := resilience.NewThrottle(resilience.ThrottleOptions{})
	page, err := resilience.Guard(context.Background(), fetch, throttle)
	fmt.Println(page, err, throttle.Refusing())
	// Output: a page <nil> 0
}

func ExampleDeadline() {
	deadline := resilience.NewDeadline(resilience.DeadlineOptions{Least: 50 * time.Millisecond})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err := resilience.Guard(ctx, fetch, deadline)
	fmt.Println(err)
	// Output: too little time is left for the call to finish: allow it more time
}

func ExampleWithin() {
	_, err := resilience.Within(context.Background(), time.Millisecond, func(ctx context.Context) (string, error) {
		<-ctx.Done() // a call that hangs
		return "", ctx.Err()
	})
	fmt.Println(err)
	// Output: context deadline exceeded
}

func ExampleBulkhead() {
	tenants := resilience.NewBulkhead(resilience.BulkheadOptions{LimitOptions: resilience.LimitOptions{Concurrency: 1}})
	for _, tenant := range []string{"acme", "acme", "globex"} {
		ctx := resilience.WithKey(context.Background(), tenant)
		_, err := tenants.Enter(ctx) // and is still inside
		fmt.Println(tenant, err)
	}
	// Output:
	// acme <nil>
	// acme too many calls at work and the queue is full: try again later
	// globex <nil>
}

func ExampleWithCost() {
	limit := resilience.NewLimit(resilience.LimitOptions{Concurrency: 10, Weighted: true})
	report := resilience.WithCost(context.Background(), 8)
	leave, err := resilience.EnterAll(report, limit)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("taken:", limit.Snapshot().InUse)
	leave(nil)
	fmt.Println("taken:", limit.Snapshot().InUse)
	// Output:
	// taken: 8
	// taken: 0
}

func ExamplePriority_ForAt() {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, hour := range []int{0, 1, 2} {
		p := resilience.Normal.ForAt("client 17", noon.Add(time.Duration(hour)*time.Hour), time.Hour)
		fmt.Println(p, uint16(p-resilience.Normal))
	}
	// Output:
	// normal 117
	// normal 72
	// normal 56
}

func ExampleTokens() {
	tokens, err := resilience.NewTokens(resilience.TokenOptions{
		Keys: []resilience.TokenKey{{ID: "2026-05", Secret: []byte("thirty-two bytes from a strong source")}},
		TTL:  10 * time.Minute,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	token := tokens.Sign(resilience.Critical) // at the edge, for a user who has logged in
	fmt.Println(tokens.Verify(token))         // in a service that the user's browser calls
	fmt.Println(tokens.Verify("2026-05.3.0.9999999999.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))
	// Output:
	// critical <nil>
	// normal the priority token is no good: its signature is wrong
}

// store is a Shares in memory; a real one keeps the ledger in a store with compare-and-swap.
type store struct {
	ledger  resilience.Ledger
	options resilience.LedgerOptions
}

func (s *store) Lease(_ context.Context, want float64) (float64, time.Time, error) {
	granted, until := s.ledger.Lease(s.options, "this node", want, time.Now())
	return granted, until, nil
}

func ExampleShared() {
	shares := &store{options: resilience.LedgerOptions{Total: 1000, Nodes: 4}}
	rate := resilience.NewShared(resilience.SharedOptions{RateOptions: resilience.RateOptions{PerSecond: 1000}, Nodes: 4, Shares: shares})
	// go rate.Run(ctx) leases shares as they are needed.
	page, err := resilience.Guard(context.Background(), fetch, rate)
	fmt.Println(page, err, "of", rate.Snapshot().PerSecond, "a second")
	// Output: a page <nil> of 250 a second
}

func ExampleLedger() {
	var ledger resilience.Ledger
	options := resilience.LedgerOptions{Total: 100, Nodes: 2, TTL: 10 * time.Second}
	now := time.Now()
	for _, ask := range []struct {
		node string
		want float64
	}{{"a", 30}, {"b", 500}, {"a", 30}, {"b", 500}} {
		granted, _ := ledger.Lease(options, ask.node, ask.want, now)
		fmt.Printf("%s wants %v and gets %v\n", ask.node, ask.want, granted)
		now = now.Add(time.Second)
	}
	// Output:
	// a wants 30 and gets 62.5
	// b wants 500 and gets 37.5
	// a wants 30 and gets 30
	// b wants 500 and gets 70
}

func ExampleObserver() {
	observe := resilience.Observer(func(_ context.Context, e resilience.Event) {
		fmt.Println(e.Kind, e.Name, e.Reason(), e.Cause)
	})
	breaker := resilience.NewBreaker(resilience.BreakerOptions{Consecutive: 1, OnChange: observe.Breaker("catalogue")})
	for range 2 {
		_, _ = resilience.Guard(context.Background(), broken, observe.Gate("catalogue", breaker))
	}
	// Output:
	// breaker catalogue ok 1 failures in a row
	// refusal catalogue open
}

func ExampleReport() {
	rate := resilience.NewRate(resilience.RateOptions{PerSecond: 1, Burst: 1})
	report := &resilience.Report{Gate: rate, Name: "front", Hook: func(r resilience.Refusal) {
		fmt.Println(r.Gate, "refused a", r.Priority, "call")
	}}
	for range 2 {
		_, _ = resilience.Guard(context.Background(), fetch, report)
	}
	// Output: front refused a normal call
}

func ExampleIsDegraded() {
	ctx := resilience.WithDegraded(context.Background(), "images off")
	fmt.Println(resilience.IsDegraded(ctx, "images off"), resilience.IsDegraded(ctx, "search off"))
	// Output: true false
}

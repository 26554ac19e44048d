package main

import (
	"context"
	"testing"

	"github.com/backstay/backstay/resilience"
	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
)

// together is the usual stack: tries, each behind a breaker and a limit.
func together(b *testing.B) {
	retry, err := resilience.NewRetry(resilience.RetryOptions{})
	if err != nil {
		b.Fatal(err)
	}
	breaker := resilience.NewBreaker(resilience.BreakerOptions{FailureRate: 0.6, Window: window})
	limit := resilience.NewLimit(resilience.LimitOptions{Concurrency: 100})
	try := func(ctx context.Context) (int, error) { return resilience.Guard(ctx, work, breaker, limit) }
	parallel(b, func() { _, _ = resilience.Do(background, retry, try) })
}

func failsafeTogether(b *testing.B) {
	executor := failsafe.With[int](
		retrypolicy.NewWithDefaults[int](),
		circuitbreaker.NewBuilder[int]().WithFailureRateThreshold(0.6, 20, window).Build(),
		bulkhead.New[int](100),
	)
	parallel(b, func() { _, _ = executor.Get(plainWork) })
}

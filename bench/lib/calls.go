package main

import (
	"context"
	"testing"
	"time"

	"github.com/backstay/backstay/resilience"
	"github.com/eapache/go-resiliency/deadline"
	"github.com/eapache/go-resiliency/retrier"
	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/fallback"
	"github.com/failsafe-go/failsafe-go/hedgepolicy"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/failsafe-go/failsafe-go/timeout"
)

func callRows() []row {
	return []row{
		{"retry, first try succeeds", []library{
			{ours, retried},
			{failsafes, executed(retrypolicy.NewBuilder[int]().WithBackoff(25*time.Millisecond, time.Second).Build())},
			{eapache, eapacheRetried},
		}},
		{"timeout, not reached", []library{
			{ours, func(b *testing.B) { parallel(b, func() { _, _ = resilience.Within(background, time.Second, work) }) }},
			{failsafes, executed(timeout.New[int](time.Second))},
			{eapache, eapacheDeadline},
		}},
		{"timeout, the call watches its context", []library{
			{ours, func(b *testing.B) {
				parallel(b, func() { _, _ = resilience.Within(background, time.Second, watching) })
			}},
			{failsafes, failsafeWatching(timeout.New[int](time.Second))},
			{eapache, eapacheDeadline},
		}},
		{"hedge, armed and not needed", []library{
			{ours, hedged},
			{failsafes, executed(hedgepolicy.NewWithDelay[int](time.Second))},
		}},
		{"fallback, not needed", []library{
			{ours, fallenBack(work)},
			{failsafes, failsafeFallenBack(plainWork)},
		}},
		{"fallback, needed", []library{
			{ours, fallenBack(failing)},
			{failsafes, failsafeFallenBack(plainFailing)},
		}},
		{"retry, breaker and limit together", []library{
			{ours, together},
			{failsafes, failsafeTogether},
		}},
	}
}

// watching looks at its context as a call that waits for something does.
func watching(ctx context.Context) (int, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	default:
		return 1, nil
	}
}

func failsafeWatching(policy failsafe.Policy[int]) func(*testing.B) {
	executor := failsafe.With(policy)
	call := func(e failsafe.Execution[int]) (int, error) { return watching(e.Context()) }
	return func(b *testing.B) { parallel(b, func() { _, _ = executor.GetWithExecution(call) }) }
}

func retried(b *testing.B) {
	retry, err := resilience.NewRetry(resilience.RetryOptions{})
	if err != nil {
		b.Fatal(err)
	}
	parallel(b, func() { _, _ = resilience.Do(background, retry, work) })
}

func eapacheRetried(b *testing.B) {
	retry := retrier.New(retrier.ExponentialBackoff(2, 25*time.Millisecond), nil)
	parallel(b, func() { _ = retry.Run(errorWork) })
}

func eapacheDeadline(b *testing.B) {
	limit := deadline.New(time.Second)
	call := func(<-chan struct{}) error { return nil }
	parallel(b, func() { _ = limit.Run(call) })
}

// hedged has seen enough calls to be armed; Least keeps the hedge from being made.
func hedged(b *testing.B) {
	hedge := resilience.NewHedge(resilience.HedgeOptions{Least: time.Second, Volume: 1, Window: time.Second})
	for begun := time.Now(); time.Since(begun) < 50*time.Millisecond; { // it counts anew each fiftieth of half its window
		_, _ = resilience.Race(background, hedge, work, nil)
	}
	if _, armed := hedge.Delay(); !armed {
		b.Fatal("the hedge is not armed")
	}
	parallel(b, func() { _, _ = resilience.Race(background, hedge, work, nil) })
}

func fallenBack(call func(context.Context) (int, error)) func(*testing.B) {
	static := resilience.Static(2)
	return func(b *testing.B) { parallel(b, func() { _, _, _ = resilience.FirstOf(background, call, static) }) }
}

func failsafeFallenBack(call func() (int, error)) func(*testing.B) {
	executor := failsafe.With(fallback.NewWithResult(2))
	return func(b *testing.B) { parallel(b, func() { _, _ = executor.Get(call) }) }
}

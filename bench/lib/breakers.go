package main

import (
	"testing"
	"time"

	"github.com/backstay/backstay/resilience"
	eapachebreaker "github.com/eapache/go-resiliency/breaker"
	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/sony/gobreaker/v2"
)

const window = 10 * time.Second

func breakerRows() []row {
	rate := resilience.BreakerOptions{FailureRate: 0.6, Volume: 20, Window: window}
	streak := resilience.BreakerOptions{Consecutive: 10}
	sonyRate := gobreaker.Settings{Interval: window, BucketPeriod: window / 10, ReadyToTrip: func(c gobreaker.Counts) bool {
		return c.Requests >= 20 && float64(c.TotalFailures) >= 0.6*float64(c.Requests)
	}}
	sonyStreak := gobreaker.Settings{ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= 10 }}
	failsafeRate := func() circuitbreaker.CircuitBreaker[int] {
		return circuitbreaker.NewBuilder[int]().WithFailureRateThreshold(0.6, 20, window).Build()
	}
	failsafeStreak := func() circuitbreaker.CircuitBreaker[int] {
		return circuitbreaker.NewBuilder[int]().WithFailureThreshold(10).Build()
	}
	return []row{
		{"breaker, failure rate in a window: success", []library{
			{ours, guarded(resilience.NewBreaker(rate))},
			{failsafes, executed(failsafeRate())},
			{gobreakrs, sonyExecuted(sonyRate)},
		}},
		{"the same by permits", []library{
			{ours, permitted(rate, resilience.Success)},
			{failsafes, failsafePermitted(failsafeRate())},
			{gobreakrs, sonyPermitted(sonyRate)},
		}},
		{"breaker, failures in a row: success", []library{
			{ours, guarded(resilience.NewBreaker(streak))},
			{failsafes, executed(failsafeStreak())},
			{gobreakrs, sonyExecuted(sonyStreak)},
			{eapache, eapacheBroken(false)},
		}},
		{"the same by permits", []library{
			{ours, permitted(streak, resilience.Success)},
			{failsafes, failsafePermitted(failsafeStreak())},
			{gobreakrs, sonyPermitted(sonyStreak)},
		}},
		{"breaker, open: refusal", openBreakers(failsafeStreak)},
	}
}

func openBreakers(failsafeStreak func() circuitbreaker.CircuitBreaker[int]) []library {
	open := resilience.NewBreaker(resilience.BreakerOptions{Consecutive: 1, Reset: time.Hour, MaxReset: time.Hour})
	_, _ = resilience.Guard(background, failing, open)
	theirs := failsafeStreak()
	theirs.Open()
	sony := gobreaker.NewCircuitBreaker[int](gobreaker.Settings{Timeout: time.Hour, ReadyToTrip: func(gobreaker.Counts) bool { return true }})
	_, _ = sony.Execute(plainFailing)
	return []library{
		{ours, guarded(open)},
		{failsafes, executed(theirs)},
		{gobreakrs, func(b *testing.B) { parallel(b, func() { _, _ = sony.Execute(plainWork) }) }},
		{eapache, eapacheBroken(true)},
	}
}

// guarded is a call behind a gate.
func guarded(gate resilience.Gate) func(*testing.B) {
	return func(b *testing.B) { parallel(b, func() { _, _ = resilience.Guard(background, work, gate) }) }
}

// executed is a call behind a policy of failsafe-go.
func executed(policy failsafe.Policy[int]) func(*testing.B) {
	executor := failsafe.With(policy)
	return func(b *testing.B) { parallel(b, func() { _, _ = executor.Get(plainWork) }) }
}

func sonyExecuted(s gobreaker.Settings) func(*testing.B) {
	breaker := gobreaker.NewCircuitBreaker[int](s)
	return func(b *testing.B) { parallel(b, func() { _, _ = breaker.Execute(plainWork) }) }
}

func eapacheBroken(open bool) func(*testing.B) {
	breaker := eapachebreaker.New(10, 1, time.Hour)
	for range 10 {
		if open {
			_ = breaker.Run(func() error { return errFailed })
		}
	}
	return func(b *testing.B) { parallel(b, func() { _ = breaker.Run(errorWork) }) }
}

func permitted(o resilience.BreakerOptions, outcome resilience.Outcome) func(*testing.B) {
	breaker := resilience.NewBreaker(o)
	return func(b *testing.B) {
		parallel(b, func() {
			if permit, err := breaker.Allow(); err == nil {
				permit.Done(outcome, 0)
			}
		})
	}
}

func failsafePermitted(breaker circuitbreaker.CircuitBreaker[int]) func(*testing.B) {
	return func(b *testing.B) {
		parallel(b, func() {
			if breaker.TryAcquirePermit() {
				breaker.RecordSuccess()
			}
		})
	}
}

func sonyPermitted(s gobreaker.Settings) func(*testing.B) {
	breaker := gobreaker.NewTwoStepCircuitBreaker[int](s)
	return func(b *testing.B) {
		parallel(b, func() {
			if done, err := breaker.Allow(); err == nil {
				done(nil)
			}
		})
	}
}

package main

import (
	"math"
	"testing"
	"time"

	"github.com/backstay/backstay/resilience"
	"github.com/eapache/go-resiliency/semaphore"
	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/ratelimiter"
	"golang.org/x/time/rate"
)

func limitRows() []row {
	return []row{
		{"concurrency limit", []library{
			{ours, guarded(resilience.NewLimit(resilience.LimitOptions{Concurrency: 100}))},
			{failsafes, executed(bulkhead.New[int](100))},
			{eapache, eapacheSemaphore},
		}},
		{"the same by permits", []library{
			{ours, func(b *testing.B) {
				limit := resilience.NewLimit(resilience.LimitOptions{Concurrency: 100})
				parallel(b, func() {
					if limit.TryAcquire() {
						limit.Release()
					}
				})
			}},
			{failsafes, func(b *testing.B) {
				limit := bulkhead.New[int](100)
				parallel(b, func() {
					if limit.TryAcquirePermit() {
						limit.ReleasePermit()
					}
				})
			}},
			{eapache, eapacheSemaphore},
		}},
		{"concurrency limit, full: refusal", fullLimits()},
		{"adaptive concurrency limit", []library{
			{ours, guarded(resilience.NewAdaptive(resilience.AdaptiveOptions{}))},
			{failsafes, executed(adaptivelimiter.NewWithDefaults[int]())},
		}},
		// A billion a second is never reached: a token is there each time.
		{"rate limit, token there", rates(1e9, math.MaxInt32)},
		{"rate limit, no token there: refusal", rates(0.001, 1)},
	}
}

func eapacheSemaphore(b *testing.B) {
	limit := semaphore.New(100, time.Second)
	parallel(b, func() {
		if limit.Acquire() == nil {
			limit.Release()
		}
	})
}

func fullLimits() []library {
	full := resilience.NewLimit(resilience.LimitOptions{Concurrency: 1})
	full.TryAcquire()
	theirs := bulkhead.New[int](1)
	theirs.TryAcquirePermit()
	return []library{{ours, guarded(full)}, {failsafes, executed(theirs)}}
}

func rates(perSecond float64, burst int) []library {
	limit := resilience.NewRate(resilience.RateOptions{PerSecond: perSecond, Burst: burst})
	limit.TryTake(burst / 2)
	smooth := ratelimiter.NewSmoothWithMaxRate[int](time.Duration(float64(time.Second) / perSecond))
	std := rate.NewLimiter(rate.Limit(perSecond), burst)
	return []library{
		{ours, func(b *testing.B) { parallel(b, func() { limit.TryTake(1) }) }},
		{failsafes, func(b *testing.B) { parallel(b, func() { smooth.TryAcquirePermit() }) }},
		{xtime, func(b *testing.B) { parallel(b, func() { std.Allow() }) }},
	}
}

package pool

import (
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/resilience"
)

type policy uint8

const (
	leastLatency  policy = iota // p2c
	roundRobin                  // round_robin
	leastRequests               // least_requests
	consistent                  // hash
)

var policies = map[string]policy{"p2c": leastLatency, "round_robin": roundRobin, "least_requests": leastRequests, "hash": consistent}

// settings is what a configuration means to the pool, worked out once. Times are in nanoseconds, as the clock's are.
type settings struct {
	policy     policy
	name       string // of the policy
	bound      float64
	sticky     bool
	preferZone bool
	panic      float64
	slowStart  int64
	checked    bool // there is a check
	limit      int64
	cut        bool // sessions on members that go down
	drain      int64
	outlier    outlierSettings
	breaker    *resilience.BreakerOptions // of each member; nil: off
}

type outlierSettings struct {
	on                bool
	consecutive       int64
	rate              float64
	slower            float64 // log2 of how many times; 0: latency is not judged
	width             int64   // of a window's bucket
	window            int64
	volume            int64
	ejection, longest int64
	pause             int64 // between two judgements
}

func newSettings(c config.Service) *settings {
	s := &settings{
		policy: policies[c.Balance.Policy], name: c.Balance.Policy, bound: 1.25,
		sticky: c.Balance.Sticky != nil, preferZone: c.Balance.PreferZone, panic: c.Balance.Panic.Of(),
		slowStart: int64(c.Balance.SlowStart), checked: c.Check != nil,
		cut: c.OnMemberDown != "drain", drain: int64(c.DrainTimeout), outlier: newOutlierSettings(c.Outlier),
	}
	if s.name == "" {
		s.name = "p2c"
	}
	if h := c.Balance.Hash; h != nil && h.Bound > 1 {
		s.bound = h.Bound
	}
	if c.Limit != nil {
		s.limit = int64(c.Limit.Member)
	}
	if !c.Breaker.Off {
		o := breakerOptions(c.Breaker)
		s.breaker = &o
	}
	return s
}

func newOutlierSettings(c config.Outlier) outlierSettings {
	window := time.Duration(c.Window)
	if window <= 0 {
		window = 10 * time.Second
	}
	o := outlierSettings{
		on: !c.Off, consecutive: int64(c.Consecutive), rate: c.FailureRate.Of(), slower: logTimes(c.Latency),
		width: int64(window) / buckets, window: int64(window), volume: max(1, int64(c.Volume)),
		ejection: int64(c.Ejection), longest: max(int64(c.Ejection), int64(c.MaxEjection)),
		pause: int64(min(max(window/20, 20*time.Millisecond), time.Second)),
	}
	if o.ejection <= 0 {
		o.ejection, o.longest = int64(10*time.Second), int64(5*time.Minute)
	}
	return o
}

func breakerOptions(c config.Breaker) resilience.BreakerOptions {
	return resilience.BreakerOptions{
		Consecutive: c.Consecutive, FailureRate: c.FailureRate.Of(), Volume: c.Volume, Window: time.Duration(c.Window),
		Reset: time.Duration(c.Reset), MaxReset: time.Duration(c.MaxReset), Probes: c.Probes,
	}
}

func limitOptions(c *config.Limit) resilience.LimitOptions {
	if c == nil {
		return resilience.LimitOptions{}
	}
	return resilience.LimitOptions{Concurrency: c.Concurrency, Queue: c.Queue, Wait: time.Duration(c.Wait)}
}

func holdOptions(c config.Hold) resilience.HoldOptions {
	return resilience.HoldOptions{For: time.Duration(c.For), Waiters: c.Requests, Bytes: int64(c.Bytes)}
}

func budgetOptions(c config.Retry) resilience.BudgetOptions {
	if c.Budget <= 0 {
		return resilience.BudgetOptions{Ratio: -1} // none but the few that are always allowed
	}
	return resilience.BudgetOptions{Ratio: c.Budget.Of()}
}

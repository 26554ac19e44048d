package prom

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/backstay/backstay/resilience"
)

func TestMetrics(t *testing.T) {
	m := New(Options{Namespace: "shop", Labels: prometheus.Labels{"zone": "a"}})
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m)
	observe := resilience.Observer(m.Observe)
	ctx := t.Context()

	breaker := resilience.NewBreaker(resilience.BreakerOptions{Consecutive: 1, OnChange: observe.Breaker("db")})
	limit := resilience.NewLimit(resilience.LimitOptions{Concurrency: 3})
	_ = limit.Acquire(ctx)
	mode := resilience.NewMode("less", resilience.ModeOptions{OnChange: observe.Mode()})
	mode.Force(true)
	for name, policy := range map[string]any{
		"db": breaker, "front": limit, "less": mode, "tenants": resilience.NewBulkhead(resilience.BulkheadOptions{}), "shedder": resilience.NewShed(resilience.ShedOptions{}),
		"retries": resilience.NewBudget(resilience.BudgetOptions{}), "client": resilience.NewThrottle(resilience.ThrottleOptions{}),
		"api": resilience.NewShared(resilience.SharedOptions{RateOptions: resilience.RateOptions{PerSecond: 100}, Nodes: 4}),
		"old": resilience.NewAdaptive(resilience.AdaptiveOptions{}),
	} {
		if err := m.Watch(name, policy); err != nil {
			t.Error(err)
		}
	}
	m.Forget("old", limit) // a limit as well as an adaptive one
	if err := m.Watch("odd", 1); err == nil {
		t.Error("watches a number")
	}
	_, _ = resilience.Watch(ctx, observe, "page", func(ctx context.Context) (int, error) {
		return resilience.Guard(ctx, func(context.Context) (int, error) { return 0, errors.New("down") }, observe.Gate("page", breaker))
	})
	_, _ = resilience.Guard(ctx, func(context.Context) (int, error) { return 0, nil }, observe.Gate("page", breaker))
	observe.Retry("page")(resilience.RetryEvent{Context: ctx, Err: resilience.ErrOpen})
	observe.Hedge("page")(resilience.HedgeEvent{Context: ctx, Delay: time.Second})
	observe.Fallback(ctx, "page", 2)

	want := `
# HELP shop_resilience_breaker_state 0 closed, 1 open, 2 half-open.
# TYPE shop_resilience_breaker_state gauge
shop_resilience_breaker_state{name="db",zone="a"} 1
# HELP shop_resilience_calls_total Calls that have ended.
# TYPE shop_resilience_calls_total counter
shop_resilience_calls_total{name="page",result="failed",zone="a"} 1
# HELP shop_resilience_refusals_total Calls that a gate did not let through.
# TYPE shop_resilience_refusals_total counter
shop_resilience_refusals_total{name="page",reason="open",zone="a"} 1
# HELP shop_resilience_retries_total Tries made again.
# TYPE shop_resilience_retries_total counter
shop_resilience_retries_total{name="page",reason="open",zone="a"} 1
# HELP shop_resilience_fallbacks_total Answers that came from the next best source.
# TYPE shop_resilience_fallbacks_total counter
shop_resilience_fallbacks_total{name="page",source="2",zone="a"} 1
# HELP shop_resilience_mode_changes_total Openings and closings of a degradation mode.
# TYPE shop_resilience_mode_changes_total counter
shop_resilience_mode_changes_total{name="less",to="open",zone="a"} 1
# HELP shop_resilience_limit_in_use Places of a limit that are taken.
# TYPE shop_resilience_limit_in_use gauge
shop_resilience_limit_in_use{name="front",zone="a"} 1
# HELP shop_resilience_mode_open 1 while the degradation mode is open.
# TYPE shop_resilience_mode_open gauge
shop_resilience_mode_open{name="less",zone="a"} 1
# HELP shop_resilience_rate_share This node's part of a shared rate, a second.
# TYPE shop_resilience_rate_share gauge
shop_resilience_rate_share{name="api",zone="a"} 25
`
	var names []string
	for line := range strings.Lines(want) {
		if _, rest, ok := strings.Cut(line, "# TYPE "); ok {
			names = append(names, strings.Fields(rest)[0])
		}
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	families, err := registry.Gather()
	if err != nil || len(families) != 8+len(gauges) {
		t.Errorf("%d metrics, want %d: %v", len(families), 8+len(gauges), err)
	}
}

func Example() {
	metrics := New(Options{})
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)
	observe := resilience.Observer(metrics.Observe)

	breaker := resilience.NewBreaker(resilience.BreakerOptions{Consecutive: 1, OnChange: observe.Breaker("catalogue")})
	if err := metrics.Watch("catalogue", breaker); err != nil {
		fmt.Println(err)
	}
	_, _ = resilience.Watch(context.Background(), observe, "catalogue", func(ctx context.Context) (string, error) {
		return resilience.Guard(ctx, func(context.Context) (string, error) { return "", errors.New("connection refused") }, breaker)
	})
	families, _ := registry.Gather()
	for _, f := range families {
		if f.GetType().String() != "HISTOGRAM" {
			fmt.Print(f.GetName())
			for _, l := range f.GetMetric()[0].GetLabel() {
				fmt.Printf(" %s=%s", l.GetName(), l.GetValue())
			}
			fmt.Println()
		}
	}
	// Output:
	// resilience_breaker_changes_total name=catalogue to=open
	// resilience_breaker_state name=catalogue
	// resilience_calls_total name=catalogue result=failed
}

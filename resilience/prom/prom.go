// Package prom shows the policies of package resilience to Prometheus: what happens, counted by Observe, and what they are at, read
// when Prometheus asks.
//
//	metrics := prom.New(prom.Options{})
//	prometheus.MustRegister(metrics)
//	metrics.Watch("catalogue", breaker)              // a gauge, read at each scrape
//	observe := resilience.Observer(metrics.Observe)  // counters, for OnRetry, OnChange, httpx, grpcx, sqlx
//
// The metrics, each with the label name (and those given in brackets):
//
//	resilience_calls_total [result]            calls that have ended; result is what resilience.Reason says
//	resilience_call_duration_seconds           a histogram of them, retries and queueing included
//	resilience_refusals_total [reason]         calls that a gate did not let through
//	resilience_retries_total [reason]          tries made again, by why
//	resilience_hedges_total                    calls made again before they ended
//	resilience_fallbacks_total [source]        answers that came from the next best source
//	resilience_breaker_changes_total [to]      changes of a breaker's state
//	resilience_mode_changes_total [to]         openings and closings of a degradation mode
//	resilience_breaker_state                   0 closed, 1 open, 2 half-open
//	resilience_limit_in_use, _waiting, _bound  places of a limit; the bound of an adaptive one moves
//	resilience_bulkhead_compartments           keys that a bulkhead knows
//	resilience_shed_level                      share of the calls that is refused, 0..1
//	resilience_shed_delay_seconds              queueing delay of the last interval
//	resilience_budget_retries, _allowed        retries of a budget's window, and how many it would allow
//	resilience_throttle_refusing               probability with which a throttle holds calls back
//	resilience_rate_share                      a shared rate's part on this node, a second
//	resilience_mode_open                       1 while a degradation mode is open
//
// Names come from the application, and are few; the others are of small fixed sets. So the number of series is bounded.
package prom

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/backstay/backstay/resilience"
)

// Options says how metrics are called.
type Options struct {
	Namespace string            // before resilience_
	Labels    prometheus.Labels // on all of them
	Buckets   []float64         // of the duration's histogram, in seconds; from 1 ms to 10 s where nil
}

// Metrics is a prometheus.Collector; register it where all else is.
type Metrics struct {
	counters struct{ calls, refusals, retries, hedges, fallbacks, breakers, modes *prometheus.CounterVec }
	duration *prometheus.HistogramVec
	all      []prometheus.Collector
	gauges   map[string]*prometheus.Desc

	mu      sync.Mutex
	watched map[watchKey]func(emit)
}

// watchKey is a policy of a kind under a name.
type watchKey struct{ kind, name string }

// emit takes one gauge's value.
type emit func(gauge string, value float64)

// New makes metrics that have seen nothing.
func New(o Options) *Metrics {
	m := &Metrics{gauges: map[string]*prometheus.Desc{}, watched: map[watchKey]func(emit){}}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: o.Namespace, Subsystem: "resilience", Name: name, Help: help, ConstLabels: o.Labels,
		}, append([]string{"name"}, labels...))
		m.all = append(m.all, c)
		return c
	}
	m.counters.calls = counter("calls_total", "Calls that have ended.", "result")
	m.counters.refusals = counter("refusals_total", "Calls that a gate did not let through.", "reason")
	m.counters.retries = counter("retries_total", "Tries made again.", "reason")
	m.counters.hedges = counter("hedges_total", "Calls made again before they ended, as they took long.")
	m.counters.fallbacks = counter("fallbacks_total", "Answers that came from the next best source.", "source")
	m.counters.breakers = counter("breaker_changes_total", "Changes of a breaker's state.", "to")
	m.counters.modes = counter("mode_changes_total", "Openings and closings of a degradation mode.", "to")
	if o.Buckets == nil {
		o.Buckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	}
	m.duration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: o.Namespace, Subsystem: "resilience", Name: "call_duration_seconds", ConstLabels: o.Labels, Buckets: o.Buckets,
		Help: "How long calls took, retries and queueing included.",
	}, []string{"name"})
	m.all = append(m.all, m.duration)
	for name, help := range gauges {
		m.gauges[name] = prometheus.NewDesc(prometheus.BuildFQName(o.Namespace, "resilience", name), help, []string{"name"}, o.Labels)
	}
	return m
}

// gauges are what is read at each scrape.
var gauges = map[string]string{
	"breaker_state":         "0 closed, 1 open, 2 half-open.",
	"limit_in_use":          "Places of a limit that are taken.",
	"limit_waiting":         "Calls that wait for a place.",
	"limit_bound":           "Places of a limit; 0 is no bound.",
	"bulkhead_compartments": "Keys that a bulkhead knows.",
	"shed_level":            "Share of the calls that is refused, 0 to 1.",
	"shed_delay_seconds":    "Queueing delay of the last interval.",
	"budget_retries":        "Retries of the window, and at work.",
	"budget_allowed":        "Retries that there may be.",
	"throttle_refusing":     "Probability with which calls are held back.",
	"rate_share":            "This node's part of a shared rate, a second.",
	"mode_open":             "1 while the degradation mode is open.",
}

// Observe counts an event; it is a resilience.Observer.
func (m *Metrics) Observe(_ context.Context, e resilience.Event) {
	switch e.Kind {
	case resilience.EventCall:
		m.counters.calls.WithLabelValues(e.Name, e.Reason()).Inc()
		m.duration.WithLabelValues(e.Name).Observe(e.Took.Seconds())
	case resilience.EventRefusal:
		m.counters.refusals.WithLabelValues(e.Name, e.Reason()).Inc()
	case resilience.EventRetry:
		m.counters.retries.WithLabelValues(e.Name, e.Reason()).Inc()
	case resilience.EventHedge:
		m.counters.hedges.WithLabelValues(e.Name).Inc()
	case resilience.EventFallback:
		m.counters.fallbacks.WithLabelValues(e.Name, strconv.Itoa(e.Number)).Inc()
	case resilience.EventBreaker:
		m.counters.breakers.WithLabelValues(e.Name, e.To.String()).Inc()
	case resilience.EventMode:
		m.counters.modes.WithLabelValues(e.Name, map[bool]string{true: "open", false: "closed"}[e.Open]).Inc()
	}
}

// Watch has a policy read at each scrape, in the place of one of its kind and name watched before: a *Breaker, *Limit, *Adaptive,
// *Bulkhead, *Shed, *Budget, *Throttle, *Shared or *Mode of package resilience. Another type is an error.
func (m *Metrics) Watch(name string, policy any) error {
	read := reader(policy)
	if read == nil {
		return fmt.Errorf("metrics for %q: a %T has no gauges: watch a breaker, limit, bulkhead, shedder, budget, throttle, shared rate or mode", name, policy)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watched[watchKey{kind(policy), name}] = read
	return nil
}

// Forget stops reading a policy that Watch was given.
func (m *Metrics) Forget(name string, policy any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.watched, watchKey{kind(policy), name})
}

// kind is the same for policies with the same gauges.
func kind(policy any) string {
	if _, ok := policy.(limited); ok {
		return "limit"
	}
	return fmt.Sprintf("%T", policy)
}

// limited is a Limit or an Adaptive.
type limited interface {
	Snapshot() resilience.LimitSnapshot
}

// reader reads the gauges of a policy.
func reader(policy any) func(emit) {
	switch p := policy.(type) {
	case *resilience.Breaker:
		return func(set emit) { set("breaker_state", float64(p.State())) }
	case limited:
		return func(set emit) {
			s := p.Snapshot()
			set("limit_in_use", float64(s.InUse))
			set("limit_waiting", float64(s.Waiting))
			set("limit_bound", float64(s.Concurrency))
		}
	case *resilience.Bulkhead:
		return func(set emit) { set("bulkhead_compartments", float64(p.Snapshot().Compartments)) }
	case *resilience.Shed:
		return func(set emit) {
			s := p.Snapshot()
			set("shed_level", s.Level)
			set("shed_delay_seconds", s.Delay.Seconds())
		}
	case *resilience.Budget:
		return func(set emit) {
			s := p.Snapshot()
			set("budget_retries", float64(s.Retries))
			set("budget_allowed", float64(s.Allowed))
		}
	case *resilience.Throttle:
		return func(set emit) { set("throttle_refusing", p.Refusing()) }
	case *resilience.Shared:
		return func(set emit) { set("rate_share", p.Snapshot().PerSecond) }
	case *resilience.Mode:
		return func(set emit) { set("mode_open", map[bool]float64{true: 1}[p.Open()]) }
	}
	return nil
}

// Describe is for prometheus.Collector.
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	for _, c := range m.all {
		c.Describe(to)
	}
	for _, d := range m.gauges {
		to <- d
	}
}

// Collect is for prometheus.Collector.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	for _, c := range m.all {
		c.Collect(to)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, read := range m.watched {
		read(func(gauge string, value float64) {
			to <- prometheus.MustNewConstMetric(m.gauges[gauge], prometheus.GaugeValue, value, key.name)
		})
	}
}

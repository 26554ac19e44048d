package pool

import (
	"fmt"
	"math"
	"time"

	"github.com/backstay/backstay/internal/observe/health"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/resilience"
)

// ServiceStatus is a service at one moment, for people.
type ServiceStatus struct {
	Name     string         `json:"name"`
	State    string         `json:"state"` // up, degraded, panic, down
	Evidence string         `json:"evidence,omitempty"`
	Policy   string         `json:"policy"`
	InFlight int64          `json:"in_flight"`
	Queued   int64          `json:"queued"`
	Held     int64          `json:"held"`
	Breaker  string         `json:"breaker,omitempty"`
	Limit    *LimitStatus   `json:"limit,omitempty"`
	Shed     *ShedStatus    `json:"shed,omitempty"`
	Members  []MemberStatus `json:"members"`
}

// MemberStatus is a member at one moment, for people.
type MemberStatus struct {
	Name     string    `json:"name"`
	Address  string    `json:"address"`
	Zone     string    `json:"zone,omitempty"`
	State    string    `json:"state"` // up, down, starting, unknown, ejected, open, draining, drained
	Since    time.Time `json:"since"`
	Evidence string    `json:"evidence,omitempty"`
	Check    string    `json:"check,omitempty"` // up, down, starting, unknown; empty without a check
	Breaker  string    `json:"breaker,omitempty"`
	InFlight int64     `json:"in_flight"`
	Latency  float64   `json:"latency_seconds"` // the balancer's estimate
	Share    float64   `json:"share"`           // of the service's traffic, 0..1, as the balancer means it
	Weight   int       `json:"weight"`
	Priority int       `json:"priority"`
	Requests uint64    `json:"requests"` // since it joined
	Failures uint64    `json:"failures"`
}

// Status is the service now, for people and for `backstay status`.
func (s *Service) Status() ServiceStatus {
	s.lock()
	defer s.unlock()
	v, now := s.view.Load(), s.now()
	st := ServiceStatus{
		Name: s.name, State: "up", Policy: v.name, Queued: int64(s.limit.Snapshot().Waiting) + s.protect.line.length.Load(), Held: s.held.Load(),
		Members: make([]MemberStatus, 0, len(s.members)),
	}
	if b := s.breaker.Load(); b != nil {
		st.Breaker = b.State().String()
	}
	st.Limit, st.Shed = s.limitStatus(), s.shedStatus()
	for _, c := range s.members {
		m := c.describe(v, now)
		st.InFlight += m.InFlight
		st.Members = append(st.Members, m)
		if !c.fit && !c.draining && c.weight > 0 {
			st.State = "degraded"
		}
	}
	for _, c := range s.leaving {
		st.InFlight += c.inFlight()
	}
	switch {
	case !s.serves(v):
		st.State = "down"
	case s.notices.panics:
		st.State = "panic"
	}
	if st.State != "up" {
		st.Evidence = s.why(v.settings)
	}
	return st
}

// describe is the member's part of the status.
func (c *core) describe(v *view, now int64) MemberStatus {
	m := MemberStatus{
		Name: c.name, Address: c.address, Zone: c.origin.Load().zone, Check: c.stateOf(v.settings), InFlight: c.inFlight(),
		Latency: c.expected(now) / 1e9, Share: math.Float64frombits(c.share.Load()), Weight: c.weight, Priority: c.priority,
		Requests: c.calls.Load(), Failures: c.failures.Load(),
	}
	var breaker resilience.BreakerSnapshot
	if b := c.breaker.Load(); b != nil {
		breaker = b.Snapshot()
		m.Breaker = breaker.State.String()
	}
	m.State, m.Since, m.Evidence = c.state(v, now, breaker)
	return m
}

// state is what counts most about the member, since when, and why.
func (c *core) state(v *view, now int64, b resilience.BreakerSnapshot) (state string, since time.Time, evidence string) {
	s := c.service
	switch e := &c.ejection; {
	case c.draining:
		state = "draining"
		if c.inFlight() == 0 {
			state = "drained"
		}
		return state, s.at(c.drainSince), "drained by operator"
	case !c.sound(v.settings):
		evidence = c.status.Evidence
		if c.tierPanics {
			evidence += " (used all the same: too few members are up)"
		}
		return c.stateOf(v.settings), c.since(), evidence
	case e.until != 0:
		return "ejected", s.at(e.since), fmt.Sprintf("%s, for another %s", e.evidence, brief(time.Duration(e.until-now)))
	case b.State != resilience.Closed:
		evidence = b.Cause
		if b.RetryAfter > 0 {
			evidence += ", tries again in " + brief(b.RetryAfter)
		}
		return "open", b.Since, evidence
	}
	state, evidence = "up", c.status.Evidence
	if v.checked && c.status.State != health.Up {
		state = "unknown"
	}
	if w := c.warmNow; c.fit && w < 1 {
		evidence = joined(evidence, fmt.Sprintf("slow start, at %s of its share", percent(w)))
	}
	return state, c.since(), evidence
}

// since is when the state of its checks began; without any, when its ejection ended or it joined.
func (c *core) since() time.Time {
	if !c.status.Since.IsZero() {
		return c.status.Since
	}
	return c.service.at(max(c.joined, c.ejection.ended))
}

func joined(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// sample is what a scrape of the metrics sees of the service.
func (s *Service) sample() telemetry.ServiceSample {
	st := s.Status()
	sample := telemetry.ServiceSample{
		InFlight: st.InFlight, Queued: st.Queued, Held: st.Held, Members: len(st.Members), Panic: st.State == "panic", Breaker: st.Breaker,
		AdmissionLevel: -1,
	}
	if st.Limit != nil {
		sample.Limit = st.Limit.Concurrency
	}
	if st.Shed != nil {
		sample.AdmissionLevel = st.Shed.AdmissionLevel
	}
	for _, m := range st.Members {
		if m.Share > 0 {
			sample.Ready++
		}
	}
	return sample
}

// sample is what a scrape of the metrics sees of the member.
func (c *core) sample() telemetry.MemberSample {
	s := c.service
	s.lock()
	defer s.unlock()
	now, set := s.now(), s.view.Load().settings
	sample := telemetry.MemberSample{
		InFlight: c.inFlight(), Up: c.sound(set), Ejected: c.ejection.until != 0, Draining: c.draining,
		Latency: time.Duration(c.expected(now)), Share: math.Float64frombits(c.share.Load()),
	}
	if b := c.breaker.Load(); b != nil {
		sample.Breaker = b.State().String()
	}
	return sample
}

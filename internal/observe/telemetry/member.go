package telemetry

import (
	"sync/atomic"
	"time"
)

// Class says how one try of a request on a member ended.
type Class uint8

// Classes, in the words of the label result.
const (
	ClassOK       Class = iota // an answer below 500
	ClassStatus                // an answer of 500 or above
	ClassConnect               // the connection could not be made
	ClassReset                 // it broke before the answer was complete
	ClassTimeout               // a phase took too long
	ClassProtocol              // the member does not speak the protocol
	ClassCanceled              // the client left; says nothing about the member
	classes
)

var classNames = [classes]string{"ok", "status", "connect", "reset", "timeout", "protocol", "canceled"}

// String is the value of the label result.
func (c Class) String() string { return nameOf(classNames[:], int(c)) }

type memberKey struct{ service, member string }

// Member counts the tries on one member.
type Member struct {
	results   [classes]atomic.Uint64 // with sum, the one cache line that every try adds to
	sum       sum
	duration  histogram
	metrics   *Metrics
	key       memberKey
	ejections atomic.Uint64
	opens     atomic.Uint64
	probes    [2]atomic.Uint64 // bad, good
	probed    atomic.Int64     // nanoseconds the last probe took
	sample    atomic.Pointer[func() MemberSample]
}

// MemberSample is the state of a member at the moment of a scrape.
type MemberSample struct {
	InFlight int64         // tries at work
	Up       bool          // by its checks
	Ejected  bool          // by what live traffic showed
	Draining bool          // let go by a person or a plan
	Breaker  string        // closed, open, half-open; empty without one
	Latency  time.Duration // the balancer's estimate
	Share    float64       // of the service's traffic, 0..1, as the balancer means it
}

// Member gives the handle of a member of a service.
func (m *Metrics) Member(service, member string) *Member {
	if m == nil {
		return nil
	}
	k := memberKey{service, member}
	return m.members.get(k, func() *Member { return &Member{metrics: m, key: k} })
}

// Done counts one try: how it ended, and the time until the head of the answer (or until it failed).
func (m *Member) Done(how Class, took time.Duration) {
	if m == nil || how >= classes {
		return
	}
	m.results[how].Add(1)
	m.duration.observe(took, &m.sum)
}

// Probed counts one look of a check and how long it took.
func (m *Member) Probed(good bool, took time.Duration) {
	if m == nil {
		return
	}
	i := 0
	if good {
		i = 1
	}
	m.probes[i].Add(1)
	m.probed.Store(int64(took))
}

// Ejected counts an ejection for what live traffic showed.
func (m *Member) Ejected() {
	if m != nil {
		m.ejections.Add(1)
	}
}

// BreakerOpened counts an opening of the member's breaker.
func (m *Member) BreakerOpened() {
	if m != nil {
		m.opens.Add(1)
	}
}

// Sample sets the function that reads the member's state at each scrape; it must be quick and safe to call at any
// time. So the hot path need not keep a second in-flight counter.
func (m *Member) Sample(read func() MemberSample) {
	if m != nil {
		m.sample.Store(&read)
	}
}

// Remove takes the member's series away. A handle in use elsewhere goes on counting into nothing.
func (m *Member) Remove() {
	if m != nil {
		m.metrics.members.remove(m.key, func(h *Member) bool { return h == m })
	}
}

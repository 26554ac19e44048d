package pool

import (
	"io"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/resilience"
)

// Result is how a try on a member ended.
type Result uint8

// Results of a try.
const (
	OK      Result = iota // the member did what it should
	Failed                // it did not: no connection, no answer in time, broken off, an answer that counts as failure
	Ignored               // says nothing about the member: the client left, say
)

// Outcome is all that is learnt from one try.
type Outcome struct {
	Result Result
	// Took is the time to the head of the answer (TCP: to the connection), or until it failed or was given up.
	Took time.Duration
	// Reason is what metrics and evidence say of it; where it is left at ClassOK, Failed is counted as ClassReset and Ignored as
	// ClassCanceled.
	Reason telemetry.Class
	// Answered says that Answered was called before: OK then only ends the try.
	Answered bool
	// RetryAfter is how long the member asked not to be called again (RFC 9110, section 10.2.3); it lengthens the rest of its breaker.
	RetryAfter time.Duration
}

// Member is what Pick hands out: a member, under one permit of its breaker. Two of them may stand for the same member: compare Key.
type Member struct {
	core   *core
	permit resilience.Permit
}

// Done tells how the try ended, exactly once for each Pick.
func (m *Member) Done(o Outcome) {
	c := m.core
	s := c.service
	now := s.now()
	if o.Reason == telemetry.ClassOK && o.Result != OK {
		o.Reason = [...]telemetry.Class{Failed: telemetry.ClassReset, Ignored: telemetry.ClassCanceled}[o.Result]
	}
	c.calls.Add(1)
	c.metrics.Load().Done(o.Reason, o.Took)
	switch {
	case o.Result == Failed:
		c.learnFailure(m, now, o)
	case o.Answered:
	case o.Result == OK:
		c.learnAnswer(m, now, o.Took)
	default:
		if !c.stale(now, o.Took) {
			c.waited(now, int64(o.Took))
		}
		m.permit.Done(resilience.Ignored, o.Took)
	}
	c.end(o.Answered)
	if s.held.Load() > 0 {
		s.room()
	}
}

// Answered tells that the member has answered well after took, where the try goes on for long after that (a stream, a TCP
// session, an upgraded connection): the good result counts now, not at the end. It is optional and comes at most once, before a
// Done that has Outcome.Answered set.
func (m *Member) Answered(took time.Duration) {
	m.core.learnAnswer(m, m.core.service.now(), took)
	m.core.work.Add(-oneWait)
}

// Name is the member's name, unique in its service.
func (m *Member) Name() string { return m.core.name }

// Address is what is dialled: ip:port, or unix:/path.
func (m *Member) Address() string { return m.core.address }

// Host is the DNS name that the address was looked up from; empty where it is configured as an address.
func (m *Member) Host() string { return m.core.origin.Load().host }

// Key is the value of the sticky cookie: short, opaque, the same on every node and after a restart.
func (m *Member) Key() string { return m.core.key }

// Gone is closed when long-lived sessions on the member must be cut: it is down and the service cuts (unless checks are not
// believed at the moment), or it was drained or removed and the drain timeout is over. A member that comes back has a new channel.
func (m *Member) Gone() <-chan struct{} { return m.core.gone.Load().c }

// Attach gives the member's one slot for what the data plane keeps with it, such as idle connections: made by the first call,
// closed when the member is removed. On a removed member what is made is closed at once.
func (m *Member) Attach(create func() io.Closer) io.Closer { return m.core.kept.attach(create) }

// learnAnswer takes a good answer into account.
func (c *core) learnAnswer(m *Member, now int64, took time.Duration) {
	m.permit.Done(resilience.Success, took)
	if c.stale(now, took) {
		return
	}
	c.answered(now, int64(took))
	if c.streak.Load() != 0 { // looked at first: a store would take the cache line from all others each time
		c.streak.Store(0)
	}
	s := c.service
	o := &s.view.Load().outlier
	if !o.on {
		return
	}
	c.recent.add(now, o.width, false, int64(took))
	if now >= s.due.Load() {
		s.judge(now)
	}
}

// learnFailure takes a failure into account.
func (c *core) learnFailure(m *Member, now int64, o Outcome) {
	c.failures.Add(1)
	if !o.Answered {
		m.permit.DoneAfter(resilience.Failure, o.Took, o.RetryAfter)
	}
	if c.stale(now, o.Took) {
		return
	}
	c.failed(now, int64(o.Took))
	s := c.service
	by := &s.view.Load().outlier
	if !by.on {
		return
	}
	c.recent.add(now, by.width, true, 0)
	if n := c.streak.Add(1); by.consecutive > 0 && n%by.consecutive == 0 {
		s.failedInARow(c, n, o.Reason, now)
	}
	if now >= s.due.Load() {
		s.judge(now)
	}
}

package pool

import (
	"io"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
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
	// Took is the time to the head of the answer (TCP: to the connection), or until it failed.
	Took time.Duration
	// Reason is what metrics and evidence say of it; where it is left at ClassOK, Failed is counted as ClassReset and Ignored as
	// ClassCanceled.
	Reason telemetry.Class
	// Answered says that Answered was called before: OK then only ends the try.
	Answered bool
}

// Member is what Pick hands out: a member, under one permit of its breaker. Two of them may stand for the same member: compare Key.
type Member struct{}

// Done tells how the try ended, exactly once for each Pick.
func (m *Member) Done(o Outcome) { panic("not yet") }

// Answered tells that the member has answered well after took, where the try goes on for long after that (a stream, a TCP
// session, an upgraded connection): the good result counts now, not at the end. It is optional and comes at most once, before a
// Done that has Outcome.Answered set.
func (m *Member) Answered(took time.Duration) { panic("not yet") }

// Name is the member's name, unique in its service.
func (m *Member) Name() string { panic("not yet") }

// Address is what is dialled: ip:port, or unix:/path.
func (m *Member) Address() string { panic("not yet") }

// Host is the DNS name that the address was looked up from; empty where it is configured as an address.
func (m *Member) Host() string { panic("not yet") }

// Zone is where the member stands.
func (m *Member) Zone() string { panic("not yet") }

// Key is the value of the sticky cookie: short, opaque, the same on every node and after a restart.
func (m *Member) Key() string { panic("not yet") }

// Service is the service that the member belongs to.
func (m *Member) Service() *Service { panic("not yet") }

// Gone is closed when long-lived sessions on the member must be cut: it is down and the service cuts (unless checks are not
// believed at the moment), or it was drained or removed and the drain timeout is over. A member that comes back has a new channel.
func (m *Member) Gone() <-chan struct{} { panic("not yet") }

// Attach gives the member's one slot for what the data plane keeps with it, such as idle connections: made by the first call,
// closed when the member is removed. On a removed member what is made is closed at once.
func (m *Member) Attach(make func() io.Closer) io.Closer { panic("not yet") }

package telemetry

import (
	"sync/atomic"
	"time"
)

type routeKey struct{ listener, route, service string }

// Route counts the HTTP requests of one route on their way to one service (empty for redirects and fixed answers).
type Route struct {
	in, out  atomic.Uint64 // the first cache line is what every request adds to, 200 included
	sum      sum
	codes    [codeSlots]atomic.Uint64
	duration histogram
	key      routeKey
}

// Route gives the handle for requests that take this route to this service.
func (m *Metrics) Route(listener, route, service string) *Route {
	if m == nil {
		return nil
	}
	k := routeKey{listener, route, service}
	return m.routes.get(k, func() *Route { return &Route{key: k} })
}

// Done counts a finished request: the status the client saw, the time from its first byte to the last of the answer,
// and the bytes of body from and to the client. Status 499 means that the client left first.
func (r *Route) Done(status int, took time.Duration, in, out int64) {
	if r == nil {
		return
	}
	r.codes[codeSlot(status)].Add(1)
	r.duration.observe(took, &r.sum)
	if in > 0 {
		r.in.Add(uint64(in))
	}
	if out > 0 {
		r.out.Add(uint64(out))
	}
}

type sessionsKey struct{ listener, service string }

// Ending says how a TCP session ended.
type Ending uint8

// Endings, in the words of the label result.
const (
	EndedOK      Ending = iota // both sides closed
	EndedNone                  // no member could be reached
	EndedIdle                  // idle timeout
	EndedReset                 // a side broke off
	EndedCut                   // cut because its member went or the node left
	EndedLimited               // refused by the service's limit
	endings
)

var endingNames = [endings]string{"ok", "no_member", "idle", "reset", "cut", "limited"}

// String is the value of the label result.
func (e Ending) String() string { return nameOf(endingNames[:], int(e)) }

// Sessions counts the TCP sessions of one listener to one service.
type Sessions struct {
	key      sessionsKey
	opened   atomic.Uint64
	in, out  atomic.Uint64
	sum      sum
	duration histogram
	results  [endings]atomic.Uint64
}

// Sessions gives the handle for TCP sessions from this listener to this service.
func (m *Metrics) Sessions(listener, service string) *Sessions {
	if m == nil {
		return nil
	}
	k := sessionsKey{listener, service}
	return m.sessions.get(k, func() *Sessions { return &Sessions{key: k} })
}

// Opened counts the beginning of a session.
func (s *Sessions) Opened() {
	if s != nil {
		s.opened.Add(1)
	}
}

// Done counts its end, exactly once for each Opened, with the bytes from (in) and to (out) the client.
func (s *Sessions) Done(how Ending, took time.Duration, in, out int64) {
	if s == nil || how >= endings {
		return
	}
	s.results[how].Add(1)
	s.duration.observe(took, &s.sum)
	s.in.Add(uint64(max(in, 0)))
	s.out.Add(uint64(max(out, 0)))
}

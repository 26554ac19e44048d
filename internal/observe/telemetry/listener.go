package telemetry

import "sync/atomic"

// Refusal says why a listener turned a connection or a request away before it had a route.
type Refusal uint8

// Refusals, in the words of the label reason.
const (
	RefusedProxyProtocol Refusal = iota // PROXY protocol missing, malformed or not allowed from there
	RefusedTLS                          // the TLS handshake failed
	RefusedTimeout                      // the head did not arrive in time
	RefusedBadRequest                   // malformed or ambiguous framing
	RefusedTooLarge                     // head, headers or body over the limit
	RefusedNoRoute                      // nothing matches
	refusals
)

var refusalNames = [refusals]string{"proxy_protocol", "tls", "timeout", "bad_request", "too_large", "no_route"}

// String is the value of the label reason.
func (r Refusal) String() string { return nameOf(refusalNames[:], int(r)) }

// Listener counts the connections of one listener.
type Listener struct {
	name     string
	accepted atomic.Uint64
	closed   atomic.Uint64
	refused  [refusals]atomic.Uint64
}

// Listener gives the handle of the listener with this name.
func (m *Metrics) Listener(name string) *Listener {
	if m == nil {
		return nil
	}
	return m.listeners.get(name, func() *Listener { return &Listener{name: name} })
}

// Opened counts an accepted connection.
func (l *Listener) Opened() {
	if l != nil {
		l.accepted.Add(1)
	}
}

// Closed counts its end; exactly once for each Opened.
func (l *Listener) Closed() {
	if l != nil {
		l.closed.Add(1)
	}
}

// Refused counts a connection or request that was turned away.
func (l *Listener) Refused(why Refusal) {
	if l != nil && why < refusals {
		l.refused[why].Add(1)
	}
}

// Active is how many connections are open now.
func (l *Listener) Active() int64 {
	if l == nil {
		return 0
	}
	closed := l.closed.Load() // first: an end never overtakes its beginning
	return int64(l.accepted.Load() - closed)
}

// nameOf is names[i], or "other" outside.
func nameOf(names []string, i int) string {
	if i >= 0 && i < len(names) {
		return names[i]
	}
	return "other"
}

package telemetry

import "sync/atomic"

// Refusal says why a listener turned a connection or a request away before it had a route.
type Refusal uint8

// Refusals, in the words of the label reason.
const (
	RefusedLimit         Refusal = iota // the listener's connection limit
	RefusedProxyProtocol                // PROXY protocol missing, malformed or not allowed from there
	RefusedTLS                          // the TLS handshake failed
	RefusedTimeout                      // the head did not arrive in time
	RefusedBadRequest                   // malformed or ambiguous framing
	RefusedTooLarge                     // head, headers or body over the limit
	RefusedNoRoute                      // nothing matches
	RefusedDraining                     // the node takes its leave
	refusals
)

var refusalNames = [refusals]string{"limit", "proxy_protocol", "tls", "timeout", "bad_request", "too_large", "no_route", "draining"}

// String is the value of the label reason.
func (r Refusal) String() string { return nameOf(refusalNames[:], int(r)) }

// Listener counts the connections of one listener.
type Listener struct {
	metrics  *Metrics
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
	return m.listeners.get(name, func() *Listener { return &Listener{metrics: m, name: name} })
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

// Remove takes the listener's series away.
func (l *Listener) Remove() {
	if l != nil {
		l.metrics.listeners.remove(l.name, func(h *Listener) bool { return h == l })
	}
}

// nameOf is names[i], or "other" outside.
func nameOf(names []string, i int) string {
	if i >= 0 && i < len(names) {
		return names[i]
	}
	return "other"
}

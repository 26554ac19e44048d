package httpproxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/serve/snapshot"
	"github.com/backstay/backstay/internal/serve/transport"
	"github.com/backstay/backstay/resilience"
)

// freshFor is how long an unused connection is trusted to be open without a look.
const freshFor = 100 * time.Millisecond

// memberConns are the HTTP/1 connections to one member that are kept for the next request: last in, first out, so that
// those beyond the need grow old and are closed.
type memberConns struct {
	server  *Server
	address string
	host    string // the DNS name that address was looked up from, where it was

	mux mux // those over HTTP/2

	busy *resilience.Limit // of connections at work, where the service bounds them

	mu     sync.Mutex
	most   int           // what busy allows
	wait   time.Duration // how long it lets wait
	idle   []*memberConn
	keep   int           // how many may be idle
	maxAge time.Duration // how long they may
	closed bool
	base   *tls.Config // what named was made from
	named  *tls.Config // with the member's host as server name
}

// An opening is what a connection is asked for with.
type opening struct {
	service *snapshot.Service
	client  netip.AddrPort
	local   netip.AddrPort
	fresh   bool // not a kept one
	careful bool // the request cannot be repeated: look whether a kept one is still open
	connect time.Duration
	idle    time.Duration
	by      instant // when all must be over, 0 is never
}

// open takes a kept connection or makes one, when the member may have another. ctx ends the waiting and dialling only.
func (h *memberConns) open(ctx context.Context, o *opening, t instant) (*memberConn, error) {
	bound, err := h.enter(ctx, o)
	if err != nil {
		return nil, err
	}
	m, err := h.get(ctx, o, t)
	if err != nil {
		if bound {
			h.busy.Release()
		}
		return nil, err
	}
	m.counted = bound
	return m, nil
}

// enter waits for one of the connections that the member may have at once; those that are kept unused do not count, as they are taken first.
func (h *memberConns) enter(ctx context.Context, o *opening) (bound bool, err error) {
	limit := o.service.Config.Connections.Max
	if limit == 0 {
		return false, nil
	}
	h.mu.Lock()
	if h.most != limit || h.wait != o.connect {
		h.most, h.wait = limit, o.connect
		h.busy.Update(resilience.LimitOptions{Concurrency: limit, Queue: 1 << 20, Wait: o.connect})
	}
	h.mu.Unlock()
	if err := h.busy.Acquire(ctx); err != nil {
		return false, &tryError{failure: failBusy, unsent: true, err: err}
	}
	return true, nil
}

func (h *memberConns) get(ctx context.Context, o *opening, t instant) (*memberConn, error) {
	if o.service.Config.ProxyProtocol == "" && !o.fresh {
		for {
			m := h.pop(o.service)
			if m == nil {
				break
			}
			if m.base == o.service.TLS && (!o.careful && t-m.used < int64(freshFor) || m.alive()) {
				m.begin(o.idle, o.by)
				return m, nil
			}
			h.close(m)
		}
	}
	m, err := h.dial(ctx, o)
	if err != nil {
		return nil, &tryError{failure: failConnect, unsent: true, err: err}
	}
	m.begin(o.idle, o.by)
	return m, nil
}

func (h *memberConns) pop(s *snapshot.Service) *memberConn {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keep, h.maxAge = s.Config.Connections.Idle, time.Duration(s.Config.Connections.IdleTimeout)
	n := len(h.idle)
	if n == 0 {
		return nil
	}
	m := h.idle[n-1]
	h.idle[n-1] = nil
	h.idle = h.idle[:n-1]
	return m
}

// put keeps a connection; false where it may not be.
func (h *memberConns) put(m *memberConn) bool {
	m.kept, m.used = true, now()
	if m.framing == framedNone {
		m.used -= int64(freshFor) // members are known to send a body after all: a look before the next use
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.idle) >= h.keep {
		return false
	}
	h.idle = append(h.idle, m)
	return true
}

func (h *memberConns) close(m *memberConn) { _ = m.rw.Close() }

// Close closes the idle connections, and those at work when they come back.
func (h *memberConns) Close() error {
	h.mu.Lock()
	idle := h.idle
	h.idle, h.closed = nil, true
	h.mu.Unlock()
	h.mux.close()
	for _, m := range idle {
		h.close(m)
	}
	h.server.forget(h)
	return nil
}

// sweep closes what has been idle for too long.
func (h *memberConns) sweep(t instant) {
	h.mu.Lock()
	n := 0
	for n < len(h.idle) && h.maxAge > 0 && t-h.idle[n].used > int64(h.maxAge) {
		n++
	}
	old := append([]*memberConn(nil), h.idle[:n]...)
	h.idle = append(h.idle[:0], h.idle[n:]...)
	h.mu.Unlock()
	h.mux.sweep(t)
	for _, m := range old {
		h.close(m)
	}
}

func (h *memberConns) dial(ctx context.Context, o *opening) (*memberConn, error) {
	if by := earlier(after(now(), o.connect), o.by); by != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, epochTime(by))
		defer cancel()
	}
	c, err := h.server.dialer.Dial(ctx, h.address)
	if err != nil {
		return nil, err
	}
	if v := o.service.Config.ProxyProtocol; v != "" {
		if err := writeProxyHeader(ctx, c, v, o); err != nil {
			_ = c.Close()
			return nil, err
		}
	}
	m := newMemberConn(c, h, &h.server.buffers)
	m.once = o.service.Config.ProxyProtocol != ""
	if o.service.TLS != nil {
		named, err := h.tlsFor(o.service.TLS)
		if err != nil {
			_ = c.Close()
			return nil, err
		}
		t := tls.Client(&m.link, named)
		if err := t.HandshakeContext(ctx); err != nil {
			_ = c.Close()
			return nil, err
		}
		m.rw, m.base = t, o.service.TLS
	}
	return m, nil
}

func writeProxyHeader(ctx context.Context, c net.Conn, version string, o *opening) error {
	if by, ok := ctx.Deadline(); ok {
		_ = c.SetWriteDeadline(by)
		defer func() { _ = c.SetWriteDeadline(time.Time{}) }()
	}
	return transport.WriteProxyHeader(c, version, o.client, o.local)
}

// tlsFor is the service's configuration with this member's name in it.
func (h *memberConns) tlsFor(base *tls.Config) (*tls.Config, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.base != base {
		named, err := transport.ForMember(base, h.address, h.host)
		if err != nil {
			return nil, err
		}
		h.base, h.named = base, named
	}
	return h.named, nil
}

// alive looks whether the member has closed the connection or sent what nobody asked for.
func (m *memberConn) alive() bool {
	if m.raw == nil {
		return true
	}
	m.open = false
	return m.raw.Control(m.look) == nil && m.open
}

func (m *memberConn) lookStep(fd uintptr) {
	n, _, err := syscall.Recvfrom(int(fd), m.one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	m.open = err == syscall.EAGAIN || n > 0 && m.base != nil // TLS may have a session ticket to tell
}

var _ io.Closer = (*memberConns)(nil)

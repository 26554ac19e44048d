package httpproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"runtime/debug"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/snapshot"
	"github.com/backstay/backstay/internal/serve/transport"
)

var errRemoved = errors.New("the member was removed")

// handle serves one connection from its first byte to its last.
func (s *Server) handle(p *port, conn net.Conn) {
	s.work.Add()
	defer s.work.Done()
	l := s.snapshot.Load().HTTPListener(p.name)
	if l == nil || p.draining() {
		_ = conn.Close() // it came while its listener went
		return
	}
	l.Metrics.Opened()
	c := s.newClientConn(p, l, conn)
	s.enter(c, p)
	defer s.survive(c)
	c.greeting.Store(true)
	err := c.greet(conn)
	c.greeting.Store(false)
	if err != nil {
		s.log.Debug("connection refused", "listener", p.name, "client", c.remote, "error", err)
		_ = conn.Close()
		s.finish(c)
		return
	}
	if t, ok := c.rw.(*tls.Conn); ok && t.ConnectionState().NegotiatedProtocol == "h2" && s.http2 != nil {
		s.http2(c, nil)
		s.finish(c)
		return
	}
	s.carry(c)
}

// carry serves a connection until it ends, or is parked: from then on it is not touched here.
func (s *Server) carry(c *clientConn) {
	defer s.survive(c)
	for c.serve() {
		if s.lot.park(c) {
			return
		}
		c.fixed = true
	}
	s.finish(c)
}

// finish forgets a connection that has ended.
func (s *Server) finish(c *clientConn) {
	if c.detached {
		c.port.detached.Add(-1)
	}
	c.opened.Closed()
	s.leave(c)
}

// survive keeps a mistake in serving one connection from taking all the others down with it.
func (s *Server) survive(c *clientConn) {
	if r := recover(); r != nil {
		s.log.Error("a connection was closed because of a mistake in Backstay; please report it",
			"client", c.remote, "panic", r, "stack", string(debug.Stack()))
		_ = c.Close()
		s.finish(c)
	}
}

func (s *Server) newClientConn(p *port, l *snapshot.HTTPListener, conn net.Conn) *clientConn {
	c := &clientConn{fd: -1, server: s, port: p, ctx: s.ctx, opened: l.Metrics}
	c.reset(conn)
	c.rw = &c.link
	c.remote, c.local = transport.AddrPort(conn.RemoteAddr()), transport.AddrPort(conn.LocalAddr())
	c.peer = c.remote.Addr()
	c.secure = l.TLS != nil
	c.use(l)
	return c
}

// greet does what comes ahead of HTTP: the PROXY protocol's header and the TLS handshake.
func (c *clientConn) greet(conn net.Conn) error {
	l := c.listener
	if l.Proxy != nil && len(l.Config.ProxyProtocol) > 0 {
		after, client, err := l.Proxy.Accept(c.ctx, conn)
		if err != nil {
			l.Metrics.Refused(telemetry.RefusedProxyProtocol)
			return err
		}
		if after != conn {
			c.reset(after)
		}
		c.remote, c.peer = client, client.Addr()
		c.use(l)
	}
	if l.TLS == nil {
		return nil
	}
	ctx := c.ctx
	if limit := time.Duration(l.Config.Timeout.Head); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	t := tls.Server(&c.link, l.TLS.Config())
	if err := t.HandshakeContext(ctx); err != nil {
		l.Metrics.Refused(telemetry.RefusedTLS)
		return err
	}
	c.rw = t
	return nil
}

// wind implements session.
func (c *clientConn) wind() {
	if h := c.two.Load(); h != nil {
		h.wind()
		return
	}
	if c.greeting.Load() {
		c.link.interrupt() // nothing was asked for yet
	}
	c.wake()
	c.server.lot.wake(c)
}

// interrupt implements session.
func (c *clientConn) interrupt() {
	c.link.interrupt()
	c.guard.interrupt()
	c.server.lot.wake(c)
}

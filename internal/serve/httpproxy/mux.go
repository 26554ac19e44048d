package httpproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/serve/pool"
)

// A mux has the HTTP/2 connections to one member, each shared by as many requests as the member allows.
type mux struct {
	home *memberConns

	mu      sync.Mutex
	conns   []*muxConn
	dialing *dialing // the one under way, which others wait for
	maxAge  time.Duration
	closed  bool
}

// A muxConn is one of them.
type muxConn struct {
	*http.ClientConn
	base   *tls.Config // the service's configuration under which it was made
	fresh  bool        // it carried no request yet
	active int         // requests on it
	used   instant     // when the last one ended
}

// dialing is a connection being made.
type dialing struct {
	done chan struct{}
	err  error // valid after done
}

// Bounds of a member's HTTP/2 connection.
const (
	memberStreamWindow = 512 << 10
	memberConnWindow   = 16 << 20
	memberPingAfter    = 10 * time.Second // of silence while requests are at work
	memberPingTimeout  = 5 * time.Second
)

// newMuxTransport knows how HTTP/2 is spoken to members. It makes clients of connections that were dialled here.
func newMuxTransport() *http.Transport {
	p := new(http.Protocols)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	dialled := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return ctx.Value(dialledConn{}).(net.Conn), nil
	}
	return &http.Transport{
		Protocols: p, DialContext: dialled, DialTLSContext: dialled, DisableCompression: true,
		MaxResponseHeaderBytes: int64(memberLimits.Head),
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: memberStreamWindow, MaxReceiveBufferPerConnection: memberConnWindow,
			SendPingTimeout: memberPingAfter, PingTimeout: memberPingTimeout,
		},
	}
}

// dialledConn is where a context has the connection to make a client of.
type dialledConn struct{}

// open begins a stream on a connection that has room, or on a new one.
func (x *mux) open(ctx context.Context, m *pool.Member, o *opening, t instant) (stream, error) {
	bounded := ctx
	if by := earlier(after(t, o.connect), o.by); by != 0 {
		var cancel context.CancelFunc
		bounded, cancel = context.WithDeadline(ctx, epochTime(by))
		defer cancel()
	}
	c, err := x.take(bounded, o)
	if err != nil {
		return nil, &tryError{failure: failConnect, unsent: true, err: err}
	}
	return newMuxStream(ctx, x, c, m, o), nil
}

// take finds or makes a connection and reserves a stream on it.
func (x *mux) take(ctx context.Context, o *opening) (*muxConn, error) {
	for {
		c, d, mine := x.reserve(o)
		switch {
		case c != nil:
			return c, nil
		case mine:
			return x.dialShared(ctx, o, d)
		}
		select {
		case <-d.done:
			if d.err != nil && !errors.Is(d.err, context.Canceled) { // not for the reason that another client left
				return nil, d.err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// reserve takes a stream of a connection; where none has room it says whose dialling to wait for, or that it is the caller's turn to dial.
func (x *mux) reserve(o *opening) (c *muxConn, d *dialing, mine bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.maxAge = time.Duration(o.service.Config.Connections.IdleTimeout)
	for i := len(x.conns) - 1; i >= 0; i-- {
		c := x.conns[i]
		if !o.fresh && c.base == o.service.TLS && c.Reserve() == nil {
			c.active++
			return c, nil, false
		}
		if c.active == 0 && (c.Available() == 0 || c.base != o.service.TLS) {
			x.conns = append(x.conns[:i], x.conns[i+1:]...)
			_ = c.Close() // it has no streams to fail
		}
	}
	if x.dialing == nil || o.fresh {
		d := &dialing{done: make(chan struct{})}
		if x.dialing == nil {
			x.dialing = d
		}
		return nil, d, true
	}
	return nil, x.dialing, false
}

// dialShared dials for all that wait.
func (x *mux) dialShared(ctx context.Context, o *opening, d *dialing) (*muxConn, error) {
	c, err := x.dial(ctx, o)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.dialing == d {
		x.dialing = nil
	}
	d.err = err
	close(d.done)
	if err != nil {
		return nil, err
	}
	if !x.closed {
		x.conns = append(x.conns, c)
	}
	return c, nil
}

// dial makes a connection with one stream reserved.
func (x *mux) dial(ctx context.Context, o *opening) (*muxConn, error) {
	h := x.home
	nc, err := h.server.dialer.Dial(ctx, h.address)
	if err != nil {
		return nil, err
	}
	if o.service.TLS != nil {
		t, err := h.encrypt(ctx, nc, o.service.TLS)
		if err != nil {
			_ = nc.Close()
			return nil, err
		}
		nc = t
	}
	scheme := "http"
	if o.service.TLS != nil {
		scheme = "https"
	}
	cc, err := h.server.muxing.NewClientConn(context.WithValue(ctx, dialledConn{}, nc), scheme, "member:0")
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	if err := cc.Reserve(); err != nil {
		_ = cc.Close()
		return nil, err
	}
	return &muxConn{ClientConn: cc, base: o.service.TLS, fresh: true, active: 1}, nil
}

// encrypt speaks TLS on a connection, over which HTTP/2 must be agreed on.
func (h *memberConns) encrypt(ctx context.Context, nc net.Conn, base *tls.Config) (net.Conn, error) {
	config, err := h.tlsFor(base)
	if err != nil {
		return nil, err
	}
	t := tls.Client(nc, config)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	if p := t.ConnectionState().NegotiatedProtocol; p != "h2" {
		return nil, fmt.Errorf("the member does not offer HTTP/2 (ALPN agreed on %q): set the service's protocol to http1", p)
	}
	return t, nil
}

// put gives a stream back.
func (x *mux) put(c *muxConn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c.active--
	c.used, c.fresh = now(), false
	if c.active == 0 && x.closed {
		_ = c.Close()
	}
}

// sweep closes what has been idle for too long.
func (x *mux) sweep(t instant) {
	x.mu.Lock()
	defer x.mu.Unlock()
	kept := x.conns[:0]
	for _, c := range x.conns {
		old := x.maxAge > 0 && t-c.used > int64(x.maxAge) && !c.fresh
		if c.active == 0 && (old || c.Available() == 0) {
			_ = c.Close()
			continue
		}
		kept = append(kept, c)
	}
	clear(x.conns[len(kept):])
	x.conns = kept
}

// close closes what is idle, and the rest when its last stream ends.
func (x *mux) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = true
	for _, c := range x.conns {
		if c.active == 0 {
			_ = c.Close()
		}
	}
	x.conns = nil
}

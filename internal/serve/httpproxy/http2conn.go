package httpproxy

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/serve/snapshot"
)

// Bounds of a client's HTTP/2 connection.
const (
	streamsAtOnce = 250
	streamWindow  = 256 << 10
	streamFrame   = 16 << 10 // each connection has a buffer of this size
	connWindow    = 1 << 20
)

// An http2Conn is an HTTP/2 connection of a client. Its frames are net/http's business; each of its streams is one exchange.
type http2Conn struct {
	server *Server
	port   *port
	remote netip.AddrPort
	local  netip.AddrPort
	peer   netip.Addr
	secure bool

	ctx     context.Context // done when the connection is over
	http    *http.Server
	hands   *handover
	view    atomic.Pointer[vantage]
	streams atomic.Int64 // so far
	winding atomic.Bool  // it is asked to end
	told    atomic.Bool  // and was so once it served

	mu     sync.Mutex
	over   bool
	atWork sync.WaitGroup
}

// A vantage is what a connection makes of one picture of its listener.
type vantage struct {
	listener *snapshot.HTTPListener
	trusted  bool
	said     []byte
}

// serveHTTP2 serves a connection on which HTTP/2 was agreed on. preface are the bytes that were read already.
func (s *Server) serveHTTP2(c *clientConn, preface []byte) {
	h := &http2Conn{server: s, port: c.port, remote: c.remote, local: c.local, peer: c.peer, secure: c.secure}
	h.look(c.listener)
	conn := c.rw
	if len(preface) > 0 {
		conn = &prefixed{Conn: c.rw, rest: preface}
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	h.ctx = ctx
	h.hands = &handover{conn: conn, over: make(chan struct{}), closed: make(chan struct{})}
	h.http = h.frames(&c.listener.Config)
	c.expect(0)
	c.two.Store(h)
	_ = h.http.Serve(h.hands) // says that it was shut down, or that the one connection is over
	if h.hands.given.Load() {
		<-h.hands.over
	}
	_ = conn.Close() // where it was never taken
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
	cancel()
	h.atWork.Wait()
}

// frames is the server of this connection: it knows HTTP/2's frames, and how to end the connection gracefully.
func (h *http2Conn) frames(l *config.Listener) *http.Server {
	p := new(http.Protocols)
	p.SetHTTP2(h.secure)
	p.SetUnencryptedHTTP2(!h.secure)
	return &http.Server{
		Handler: h, Protocols: p, DisableGeneralOptionsHandler: true,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: streamsAtOnce, MaxReadFrameSize: streamFrame,
			MaxReceiveBufferPerStream: streamWindow, MaxReceiveBufferPerConnection: connWindow,
		},
		MaxHeaderBytes: int(l.Limits.Head), IdleTimeout: time.Duration(l.Timeout.Idle),
		ErrorLog:    log.New(io.Discard, "", 0),
		BaseContext: func(net.Listener) context.Context { return h.server.ctx },
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch {
			case state == http.StateClosed:
				close(h.hands.over)
				_ = h.hands.Close() // never fails
			case state != http.StateNew && (h.winding.Load() || h.port.draining()) && !h.told.Swap(true):
				h.shutdown() // it was asked to before it could hear it
			}
		},
	}
}

// wind tells the client to begin no more streams; the connection ends with the last.
func (h *http2Conn) wind() {
	h.winding.Store(true)
	h.shutdown()
}

func (h *http2Conn) shutdown() {
	if !h.enter() {
		return
	}
	go func() {
		defer h.atWork.Done()
		_ = h.http.Shutdown(h.ctx) // fails only where the connection is over before it was told
	}()
}

// enter counts a stream; false where the connection is over.
func (h *http2Conn) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.over {
		h.atWork.Add(1)
	}
	return !h.over
}

// look takes the newest picture of the listener, or keeps the last where it was removed.
func (h *http2Conn) look(l *snapshot.HTTPListener) *vantage {
	v := h.view.Load()
	if l == nil || v != nil && v.listener == l {
		return v
	}
	v = &vantage{
		listener: l, trusted: l.Trust.Contains(h.peer),
		said: originFields(l.Config.Forwarded.Headers, h.remote.Addr(), h.secure),
	}
	h.view.Store(v)
	return v
}

// ServeHTTP implements http.Handler: one stream, one exchange.
func (h *http2Conn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.enter() {
		panic(http.ErrAbortHandler)
	}
	defer h.atWork.Done()
	v := h.look(h.server.snapshot.Load().HTTPListener(h.port.name))
	if limit := v.listener.Config.Limits.Requests; limit > 0 && h.streams.Add(1) >= int64(limit) {
		h.wind()
	}
	c := &http2Client{conn: h, w: w, r: r, idle: time.Duration(v.listener.Config.Timeout.BodyIdle)}
	c.serve(v)
	if c.aborted {
		panic(http.ErrAbortHandler)
	}
}

// prefixed is a connection of which some bytes were read already.
type prefixed struct {
	net.Conn
	rest []byte
}

// Read gives those first.
func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.rest) > 0 {
		n := copy(b, p.rest)
		p.rest = p.rest[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// A handover is a listener with one connection, which was accepted elsewhere.
type handover struct {
	conn   net.Conn
	given  atomic.Bool
	over   chan struct{} // closed when the connection is
	once   sync.Once
	closed chan struct{}
}

// Accept gives the connection, and then waits for the end.
func (h *handover) Accept() (net.Conn, error) {
	if !h.given.Swap(true) {
		return h.conn, nil
	}
	<-h.closed
	return nil, net.ErrClosed
}

// Close ends Accept. It never fails.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr is the connection's own end.
func (h *handover) Addr() net.Addr { return h.conn.LocalAddr() }

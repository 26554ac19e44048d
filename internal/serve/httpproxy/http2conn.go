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

	"golang.org/x/net/http2"

	"github.com/backstay/backstay/internal/serve/snapshot"
)

// Bounds of a client's HTTP/2 connection.
const (
	streamsAtOnce  = 250
	streamWindow   = 256 << 10
	streamFrame    = 16 << 10 // each connection has a buffer of this size
	connWindow     = 1 << 20
	goodbyeTimeout = 5 * time.Second
)

// An http2Conn is an HTTP/2 connection of a client. Its frames are golang.org/x/net/http2's business; each of its streams is one exchange.
type http2Conn struct {
	server *Server
	port   *port
	remote netip.AddrPort
	local  netip.AddrPort
	peer   netip.Addr
	secure bool

	http    *http.Server // knows how to end the connection gracefully
	view    atomic.Pointer[vantage]
	streams atomic.Int64 // so far
	winding atomic.Bool

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
		conn = &prefixed{Conn: c.rw, rest: append([]byte(nil), preface...)}
	}
	h.http = &http.Server{
		MaxHeaderBytes: int(c.listener.Config.Limits.Head),
		ErrorLog:       log.New(io.Discard, "", 0),
		ConnState: func(net.Conn, http.ConnState) {
			if h.winding.Load() || h.port.draining() { // asked to before it could hear it
				h.wind()
			}
		},
	}
	frames := &http2.Server{
		MaxConcurrentStreams: streamsAtOnce, MaxUploadBufferPerStream: streamWindow, MaxUploadBufferPerConnection: connWindow,
		MaxReadFrameSize: streamFrame,
		IdleTimeout:      time.Duration(c.listener.Config.Timeout.Idle),
	}
	if err := http2.ConfigureServer(h.http, frames); err != nil {
		s.log.Error("HTTP/2 cannot be served", "listener", c.port.name, "error", err)
		_ = conn.Close()
		return
	}
	c.two.Store(h)
	c.expect(0)
	frames.ServeConn(conn, &http2.ServeConnOpts{Context: s.ctx, BaseConfig: h.http, Handler: h})
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
	h.atWork.Wait()
}

// wind tells the client to begin no more streams; the connection ends with the last.
func (h *http2Conn) wind() {
	h.winding.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	_ = h.http.Shutdown(ctx) // has no listeners to fail with: it tells the connection
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

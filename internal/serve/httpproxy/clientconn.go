package httpproxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/http1"
	"github.com/backstay/backstay/internal/serve/snapshot"
)

// A clientConn is an HTTP/1 connection of a client, served by one goroutine. It is the client of its exchanges.
//
// While it waits for a request it holds no buffer: on a plain socket the whole life of the connection is spent within
// RawConn.Read, whose step runs when there is something to read. A request that needs more of the client than is there
// (the rest of a body, an upgrade) leaves it and is served by ordinary reads.
type clientConn struct {
	link
	rw       net.Conn // the link itself, or TLS on it
	server   *Server
	port     *port
	listener *snapshot.HTTPListener
	opened   *telemetry.Listener // which counts it
	ctx      context.Context
	remote   netip.AddrPort
	local    netip.AddrPort
	peer     netip.Addr
	said     []byte
	guard    guard
	two      atomic.Pointer[http2Conn] // the connection, once the client turned out to speak HTTP/2
	step     func(fd uintptr) bool

	fd       int // of the socket, within its step; else -1
	in       window
	kept     []byte         // the block with the head, while the body is read into another
	out      []byte         // the answer's head until its first piece comes
	request  *http1.Request // of the exchange
	exchange *exchange      // lent while there is something to do
	headBy   instant
	since    instant // when the connection fell idle
	left     int64   // bytes of the body to come
	body     int64   // bytes of the body so far
	parsed   int     // length of a head that is parsed but not served yet
	requests int32
	place    int32       // in the lot
	greeting atomic.Bool // what comes ahead of HTTP is under way

	// Of the connection.
	secure   bool
	trusted  bool
	looked   bool // it was looked at since it fell idle
	parking  bool // it may be, or was, parked
	fixed    bool // it cannot be parked
	detached bool // it was parked: the goroutine it was accepted with is gone
	closing  bool // the answer under way is the last
	linger   bool // the client may be sending still: let it see the answer before the connection goes
	over     bool
	other    bool // the client speaks HTTP/2, as it turned out
	mute     bool // nothing more may be written
	state    progress

	// Of the request and its answer.
	framing framing
	ended   bool // the body was read to its end
	full    bool // the last read of it filled all the room it had
	chunked bool // the answer is framed in chunks
	toClose bool // it ends with the connection
	bare    bool // it has no body whatever is written
}

// progress is what the connection needs next.
type progress uint8

const (
	needMore  progress = iota // bytes
	needSlow                  // to be served outside of RawConn.Read
	needNone                  // nothing: it is over
	needAgain                 // a look at what is there
)

// serve serves requests until the connection ends. It reports true for one that is idle and may be parked meanwhile.
func (c *clientConn) serve() bool {
	c.begun()
	if c.raw != nil && c.rw == net.Conn(&c.link) {
		c.step = c.socketStep
		c.serveSocket()
	} else {
		c.serveStream()
	}
	if c.parking {
		return true
	}
	if c.other {
		preface := append([]byte(nil), c.in.bytes()...)
		c.in.r = c.in.w
		c.idle()
		c.server.http2(c, preface)
	}
	c.release()
	return false
}

// begun says until when the first request may take its time, or the next after the connection was parked.
func (c *clientConn) begun() {
	switch {
	case c.since == 0:
		c.since = now()
		c.expectIdle()
	case c.parking:
		c.parking = false
		c.use(c.listener)
		by := c.idleBy()
		c.over = c.port.closing() || by != 0 && now() >= by
		if !c.fixed {
			c.looked = false
			by = earlier(now()+int64(lookAfter), by)
		}
		c.expect(by)
	}
}

// lookAfter is when a connection that fell idle is read from though nothing announced itself: the end of the stream may
// have come together with the last request, whose announcement served for both.
const lookAfter = 500 * time.Millisecond

// expectIdle begins the wait for a request.
func (c *clientConn) expectIdle() {
	c.looked = false
	c.expect(earlier(c.since+int64(lookAfter), c.idleBy()))
}

func (c *clientConn) idleBy() instant {
	return after(c.since, time.Duration(c.listener.Config.Timeout.Idle))
}

// serveSocket is the loop for plain sockets.
func (c *clientConn) serveSocket() {
	for !c.over {
		err := c.raw.Read(c.step)
		switch {
		case err != nil:
			if !c.goOn(err) {
				return
			}
		case c.state == needSlow:
			c.serveSlow()
		}
	}
}

// socketStep runs whenever there may be something to read. It reports false to wait for more.
func (c *clientConn) socketStep(fd uintptr) bool {
	c.fd = int(fd)
	defer func() { c.fd = -1 }()
	for {
		if c.in.buf == nil {
			c.in.buf = c.server.buffers.get()
		}
		room := c.in.room()
		n, wait, err := readSocket(fd, room)
		if wait {
			c.idle()
			return false
		}
		if err != nil {
			c.over = true
			return true
		}
		c.in.w += n
		for c.state = needAgain; c.state == needAgain; {
			c.state = c.advance(true)
		}
		if c.state != needMore {
			c.over = c.over || c.state == needNone
			return true
		}
		if n < len(room) && c.requests > 1 { // the socket was empty: what comes from now on wakes us
			c.idle()
			return false
		}
	}
}

// idle gives the buffer back while nothing is in it.
func (c *clientConn) idle() {
	if c.in.empty() && c.in.buf != nil {
		c.server.buffers.put(c.in.buf)
		c.in = window{}
		c.giveBack()
	}
}

// serveSlow serves the request whose head is parsed, and those already behind it.
func (c *clientConn) serveSlow() {
	for c.state = needAgain; c.state == needAgain; {
		c.state = c.advance(false)
	}
	c.over = c.over || c.state == needNone
}

// serveStream is the loop for connections that are not plain sockets.
func (c *clientConn) serveStream() {
	for !c.over {
		if c.in.buf == nil {
			c.in.buf = c.server.buffers.get()
		}
		n, err := c.rw.Read(c.in.room())
		c.in.w += n
		if n > 0 {
			c.serveSlow()
			continue
		}
		if err != nil && !c.goOn(err) {
			return
		}
	}
}

// goOn looks at the error of a read between requests or within a head, and says whether to read on.
func (c *clientConn) goOn(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	if c.port.closing() && c.in.empty() {
		return false
	}
	if err, up := c.expired(err); up {
		if !c.looked && c.in.empty() && !errors.Is(err, errInterrupted) {
			if c.looked = true; !c.fixed {
				c.idle()
				c.said = nil
				c.parking = true
				return false
			}
			c.expect(c.idleBy())
			return c.idleBy() == 0 || now() < c.idleBy()
		}
		if !errors.Is(err, errInterrupted) && !c.in.empty() {
			c.listener.Metrics.Refused(telemetry.RefusedTimeout)
			c.refuse(&http1.Error{Status: 408, Reason: "the request's head did not arrive in time"})
		}
		return false
	}
	return true
}

// borrow gets the connection an exchange.
func (c *clientConn) borrow() {
	if c.exchange == nil {
		c.exchange = c.server.exchanges.get()
		c.request = &c.exchange.own
	}
}

// giveBack takes the exchange away.
func (c *clientConn) giveBack() {
	if c.exchange != nil {
		c.server.exchanges.put(c.exchange)
		c.exchange, c.request = nil, nil
	}
}

// begin makes the exchange this connection's.
func (c *clientConn) begin() *exchange {
	c.borrow()
	e := c.exchange
	e.server, e.ctx, e.client, e.request, e.listener = c.server, c.ctx, c, c.request, c.listener
	e.remote, e.local, e.peer, e.secure, e.trusted, e.said = c.remote, c.local, c.peer, c.secure, c.trusted, c.said
	e.guard = &c.guard
	e.proto = "HTTP/1.1"
	if c.request.Minor == 0 {
		e.proto = "HTTP/1.0"
	}
	e.start = now()
	return e
}

// end gives back what an answer needed.
func (c *clientConn) end() {
	if c.out != nil {
		c.server.buffers.put(c.out)
		c.out = nil
	}
}

// exchangeOnce serves the request that was parsed. It reports whether another may follow.
func (c *clientConn) exchangeOnce() bool {
	c.refresh()
	c.requests++
	max := c.listener.Config.Limits.Requests
	c.closing = c.request.Close || max > 0 && int(c.requests) >= max || c.port.draining()
	c.beginBody()
	e := c.begin()
	if c.trusted {
		e.remote = origin(c.listener, c.request, c.remote)
	}
	ok := e.run()
	c.since = e.end
	c.end()
	if !ok || c.over || c.closing || c.toClose {
		c.linger = c.linger || !c.ended
		return false
	}
	return c.endBody()
}

// refresh takes the newest snapshot, for the length of one request.
func (c *clientConn) refresh() {
	l := c.port.listener()
	if l == nil || l == c.listener {
		return // a listener that was removed serves its connections with the last picture that had it
	}
	c.use(l)
}

// use serves with this picture of the listener from now on.
func (c *clientConn) use(l *snapshot.HTTPListener) {
	c.listener = l
	c.trusted = l.Trust.Contains(c.peer)
	c.said = originFields(l.Config.Forwarded.Headers, c.remote.Addr(), c.secure)
	c.writeIdle = time.Duration(l.Config.Timeout.BodyIdle)
}

package httpproxy

import (
	"time"

	"github.com/backstay/backstay/internal/serve/http1"
)

// beginBody says how the body of the request ends.
func (c *clientConn) beginBody() {
	c.left, c.body, c.ended, c.full = 0, 0, false, false
	switch {
	case c.request.Length == http1.ChunkedBody:
		c.framing = framedChunked
		c.exchange.decoder.Reset()
	case c.request.Length > 0:
		c.framing, c.left = framedLength, c.request.Length
	default:
		c.framing, c.ended = framedNone, true
	}
}

// endBody gets ready for the next request. It reports whether there can be one.
func (c *clientConn) endBody() bool {
	if !c.ended {
		c.linger = true
		return false
	}
	if c.kept != nil {
		c.server.buffers.put(c.kept)
		c.kept = nil
	}
	return true
}

// Ready implements source.
func (c *clientConn) Ready() bool { return c.ended || !c.in.empty() }

// Next implements source.
func (c *clientConn) Next() (piece, error) {
	if c.ended {
		return piece{End: true}, nil
	}
	for {
		if !c.in.empty() {
			p, err := c.take()
			if err != nil || p.End || len(p.Data) > 0 {
				return p, err
			}
		}
		if c.interrupted.Load() {
			return piece{}, errInterrupted
		}
		c.expect(after(now(), time.Duration(c.listener.Config.Timeout.BodyIdle)))
		room := c.bodyRoom()
		n, err := c.rw.Read(room)
		c.in.w += n
		c.full = n == len(room)
		if n == 0 && err != nil {
			return piece{}, unexpected(err)
		}
	}
}

// bodyRoom is space to read into. The head stays where it is: it may be needed for another try.
func (c *clientConn) bodyRoom() []byte {
	if c.kept == nil {
		rest := c.in.bytes()
		c.kept = c.in.buf
		c.in = window{buf: c.server.buffers.get()}
		for len(c.in.buf) < 2*len(rest) {
			c.in.buf = make([]byte, 2*len(c.in.buf))
		}
		c.in.w = copy(c.in.buf, rest)
	}
	if c.full {
		c.server.buffers.widen(&c.in)
	}
	room := c.in.room()
	if room == nil { // a trailer section or a chunk's extension as large as the buffer
		bigger := make([]byte, 2*len(c.in.buf))
		c.in.w = copy(bigger, c.in.bytes())
		c.in.buf, c.in.r = bigger, 0
		room = c.in.room()
	}
	return room
}

// take uses up what the window has of the body.
func (c *clientConn) take() (p piece, err error) {
	if c.framing == framedChunked {
		c.exchange.decoder.Limits = http1.Limits{Head: int(c.listener.Config.Limits.Head), Fields: c.listener.Config.Limits.Headers}
		if p, err = takeChunks(&c.exchange.decoder, &c.in); err != nil {
			return p, err
		}
	} else {
		n := int(min(int64(c.in.len()), c.left))
		p = piece{Data: c.in.buf[c.in.r : c.in.r+n], End: int64(n) == c.left}
		c.in.r += n
		c.left -= int64(n)
	}
	c.body += int64(len(p.Data))
	if limit := int64(c.listener.Config.Limits.Body); limit > 0 && c.body > limit {
		return piece{}, errTooLarge
	}
	c.ended = p.End
	return p, nil
}

// skipBody passes over a body that is at hand and nobody asked for, so that the connection can go on.
func (c *clientConn) skipBody() {
	for !c.ended && !c.in.empty() {
		before := c.in.len()
		if _, err := c.take(); err != nil || c.in.len() == before {
			return
		}
	}
}

// Interrupt implements client.
func (c *clientConn) Interrupt() { c.link.interrupt() }

// Resume implements client.
func (c *clientConn) Resume() { c.resume() }

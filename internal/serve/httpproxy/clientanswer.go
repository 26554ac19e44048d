package httpproxy

import (
	"net"

	"github.com/backstay/backstay/internal/serve/http1"
)

// Answer implements client.
func (c *clientConn) Answer(a *answer) error {
	if c.out == nil {
		c.out = c.server.buffers.get()
	}
	dst := c.out[:0]
	if a.Response != nil {
		dst = a.Response.AppendHead(dst)
	} else {
		dst = http1.AppendStatusLine(dst, a.Status, nil)
	}
	dst = append(dst, a.Extra...)
	if a.Status < 200 {
		return c.interim(a, dst)
	}
	dst = c.frame(dst, a)
	if c.closing = c.closing || c.port.draining(); c.closing || c.toClose {
		dst = append(dst, "Connection: close\r\n"...)
	} else if c.request.Minor == 0 {
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	dst = append(dst, '\r', '\n')
	c.out = dst
	return nil
}

// interim sends a 1xx head at once.
func (c *clientConn) interim(a *answer, dst []byte) error {
	if a.Status == 101 {
		dst = append(dst, "Connection: Upgrade\r\nUpgrade: "...)
		dst = append(append(dst, a.Upgrade...), '\r', '\n')
	}
	dst = append(dst, '\r', '\n')
	_, err := c.rw.Write(dst)
	return err
}

// frame says how the answer's body ends, and whether the connection can go on after it.
func (c *clientConn) frame(dst []byte, a *answer) []byte {
	c.chunked, c.toClose = false, false
	c.bare = c.request.Verb == http1.HEAD || a.Status == 204 || a.Status == 304
	if a.Early {
		c.closing, c.linger = true, true
	} else if c.skipBody(); !c.ended {
		c.closing, c.linger = true, true
	}
	switch {
	case a.Response == nil:
		if a.Status != 204 && a.Status != 304 {
			dst = http1.AppendIntField(dst, "Content-Length", a.Length)
		}
	case c.bare || a.Length >= 0:
		if !c.bare && a.Length == 0 && !a.Response.Present.Has(http1.ContentLength) {
			dst = http1.AppendIntField(dst, "Content-Length", 0)
		}
	case c.request.Minor == 0:
		c.toClose = true
	default:
		c.chunked = true
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	return dst
}

// Write implements client.
func (c *clientConn) Write(p piece) error {
	switch {
	case c.bare:
		return c.flush(nil)
	case !c.chunked:
		return c.flush(p.Data)
	}
	if len(p.Data) > 0 {
		c.out = http1.AppendChunkHead(c.buffered(), len(p.Data))
	}
	if len(c.out)+len(p.Data)+2 <= bufferSize {
		c.out = append(c.buffered(), p.Data...)
		if len(p.Data) > 0 {
			c.out = append(c.out, '\r', '\n')
		}
		if p.End {
			c.out = appendLastChunk(c.out, p.Trailers)
		}
		return c.flush(nil)
	}
	tail := []byte("\r\n")
	if p.End {
		tail = appendLastChunk(tail, p.Trailers)
	}
	return c.writeAll(c.buffered(), p.Data, tail)
}

// buffered is the buffer with what is held back in it.
func (c *clientConn) buffered() []byte {
	if c.out == nil {
		c.out = c.server.buffers.get()[:0]
	}
	return c.out
}

// flush writes what is held back, with more behind it, in one system call where that can be.
func (c *clientConn) flush(more []byte) error {
	out := c.buffered()
	if len(out)+len(more) <= bufferSize {
		out = append(out, more...)
		more = nil
	}
	c.out = out[:0]
	switch {
	case len(out) == 0 && len(more) == 0:
		return nil
	case len(more) == 0:
		if out = c.sendNow(out); len(out) == 0 {
			return nil
		}
		_, err := c.rw.Write(out)
		return err
	case len(out) == 0:
		_, err := c.rw.Write(more)
		return err
	}
	return c.writeAll(out, more)
}

// sendNow writes what the socket takes at once, and returns the rest. It does so only within the socket's own step, which
// keeps the descriptor from being closed.
func (c *clientConn) sendNow(out []byte) []byte {
	if c.fd < 0 {
		return out
	}
	n, err := sendSocket(c.fd, out)
	if err != nil {
		return out // an ordinary write tells the error, or waits
	}
	return out[n:]
}

func (c *clientConn) writeAll(parts ...[]byte) error {
	c.out = c.buffered()[:0]
	if c.rw == net.Conn(&c.link) {
		b := net.Buffers(parts)
		return c.writeBuffers(&b)
	}
	for _, p := range parts {
		if _, err := c.rw.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// Abort implements client: the connection is closed, with a reset where the answer's own framing would not show that something is missing.
func (c *clientConn) Abort() {
	c.over, c.mute = true, true
	if t, ok := c.Conn.(*net.TCPConn); ok && c.toClose {
		_ = t.SetLinger(0)
	}
}

package httpproxy

import (
	"net"
	"time"
)

// release ends the connection. A client that may still be sending is read from for a while: otherwise the reset that
// answers what it sends would take away the answer it has not read yet.
func (c *clientConn) release() {
	if c.linger && !c.mute {
		c.lingerOn()
	}
	if c.mute {
		_ = c.Close() // without TLS's good-bye, which would make what was sent look whole
	} else {
		_ = c.rw.Close() // there is nobody to tell
	}
	c.idle()
	if c.in.buf != nil {
		c.server.buffers.put(c.in.buf)
		c.in.buf = nil
	}
	if c.kept != nil {
		c.server.buffers.put(c.kept)
		c.kept = nil
	}
	c.giveBack()
}

// Bounds of lingering.
const (
	lingerFor   = 2 * time.Second
	lingerBytes = 1 << 20
)

func (c *clientConn) lingerOn() {
	if t, ok := c.rw.(interface{ CloseWrite() error }); ok {
		_ = t.CloseWrite()
	} else if t, ok := c.Conn.(*net.TCPConn); ok {
		_ = t.CloseWrite()
	}
	b := c.server.buffers.get()
	defer c.server.buffers.put(b)
	c.expect(now() + int64(lingerFor))
	for n := 0; n < lingerBytes; {
		m, err := c.Read(b)
		if err != nil {
			return
		}
		n += m
	}
}

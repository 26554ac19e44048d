package tcpproxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// maxHello bounds a client's first message; those of today, with post-quantum keys, have less than 3 KiB.
const maxHello = 32 << 10

var (
	errNotTLS    = errors.New("the first bytes are not a TLS client's")
	errHello     = errors.New("malformed TLS ClientHello")
	errHelloSize = fmt.Errorf("the TLS ClientHello is larger than %d bytes", maxHello)
)

// readHello reads a TLS client's first message from r, however it is cut into records and segments, and returns the name it asks
// for (RFC 6066, section 3; empty without one) and all bytes read.
func readHello(r io.Reader) (name string, read []byte, err error) {
	read = make([]byte, 0, 2048)
	for {
		name, done, err := parseHello(read)
		if done || err != nil {
			return name, read, err
		}
		if len(read) >= maxHello {
			return "", read, errHelloSize
		}
		if len(read) == cap(read) {
			read = append(make([]byte, 0, 2*cap(read)), read...)
		}
		n, err := r.Read(read[len(read):cap(read)])
		read = read[:len(read)+n]
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return "", read, err
		}
	}
}

// parseHello looks for a whole ClientHello at the beginning of b; done is false while there is less.
func parseHello(b []byte) (name string, done bool, err error) {
	const handshake, clientHello = 22, 1
	var message []byte // without the records' heads
	for whole := true; ; {
		if len(message) > 0 && message[0] != clientHello {
			return "", false, errNotTLS
		}
		if len(message) >= 4 {
			size := int(message[1])<<16 | int(message[2])<<8 | int(message[3])
			if size > maxHello {
				return "", false, errHelloSize
			}
			if len(message) >= 4+size {
				name, err = serverName(message[4 : 4+size])
				return name, err == nil, err
			}
		}
		if len(b) > 0 && b[0] != handshake || len(b) > 1 && b[1] != 3 {
			return "", false, errNotTLS
		}
		if !whole || len(b) < 5 {
			return "", false, nil
		}
		size := int(binary.BigEndian.Uint16(b[3:]))
		if size == 0 || size > 16<<10 {
			return "", false, errNotTLS
		}
		b = b[5:]
		part := b[:min(size, len(b))]
		b, whole = b[len(part):], len(part) == size
		if message == nil {
			message = part[:len(part):len(part)] // copied only when there is a second record
		} else {
			message = append(message, part...)
		}
	}
}

// serverName finds the name in the body of a ClientHello (RFC 8446, section 4.1.2).
func serverName(b []byte) (string, error) {
	c := cursor{b: b}
	c.take(2 + 32) // version, random
	c.take(c.size(1))
	c.take(c.size(2)) // cipher suites
	c.take(c.size(1)) // compression
	if c.bad || len(c.b) == 0 {
		return "", c.err()
	}
	c = cursor{b: c.take(c.size(2)), bad: c.bad}
	for len(c.b) > 0 && !c.bad {
		kind := c.size(2)
		body := c.take(c.size(2))
		if kind != 0 || c.bad {
			continue
		}
		names := cursor{b: body}
		names = cursor{b: names.take(names.size(2)), bad: names.bad}
		for len(names.b) > 0 && !names.bad {
			kind, name := names.size(1), names.take(names.size(2))
			if kind == 0 && !names.bad {
				return strings.TrimSuffix(string(name), "."), nil
			}
		}
		return "", names.err()
	}
	return "", c.err()
}

// cursor reads fields off b until one is too short.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.bad, c.b = true, nil
		return nil
	}
	got := c.b[:n]
	c.b = c.b[n:]
	return got
}

// size reads a number of n bytes.
func (c *cursor) size(n int) (v int) {
	for _, b := range c.take(n) {
		v = v<<8 | int(b)
	}
	return v
}

func (c *cursor) err() error {
	if c.bad {
		return errHello
	}
	return nil
}

// sayUnrecognized tells a TLS client that there is no such name here (alert 112), as far as it listens.
func sayUnrecognized(c net.Conn) {
	_, _ = c.Write([]byte{21, 3, 1, 0, 2, 2, 112})
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
}

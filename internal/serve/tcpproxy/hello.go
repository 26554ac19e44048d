package tcpproxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
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
// for (RFC 6066, section 3; empty without one) and all bytes read: whole records, none more than it takes.
func readHello(r io.Reader) (name string, read []byte, err error) {
	read = make([]byte, 0, 2048)
	var message []byte // without the records' heads
	for {
		body, err := readRecord(r, &read)
		if err != nil {
			return "", read, err
		}
		if message == nil {
			message = body[:len(body):len(body)] // copied only when there is a second record
		} else {
			message = append(message, body...)
		}
		const clientHello = 1
		if message[0] != clientHello {
			return "", read, errNotTLS
		}
		if len(message) < 4 {
			continue
		}
		size := int(message[1])<<16 | int(message[2])<<8 | int(message[3])
		if size > maxHello {
			return "", read, errHelloSize
		}
		if len(message) >= 4+size {
			name, err := serverName(message[4 : 4+size])
			return name, read, err
		}
	}
}

// readRecord appends one handshake record (RFC 8446, section 5.1) to read and returns what is in it.
func readRecord(r io.Reader, read *[]byte) ([]byte, error) {
	const handshake, head, most = 22, 5, 16 << 10
	h, err := readMore(r, read, head)
	if err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(h[3:]))
	if h[0] != handshake || h[1] != 3 || size == 0 || size > most {
		return nil, errNotTLS
	}
	return readMore(r, read, size)
}

// readMore appends n bytes to read and returns them.
func readMore(r io.Reader, read *[]byte, n int) ([]byte, error) {
	have := len(*read)
	if have+n > maxHello {
		return nil, errHelloSize
	}
	*read = slices.Grow(*read, n)[:have+n]
	got, err := io.ReadFull(r, (*read)[have:])
	*read = (*read)[:have+got]
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return (*read)[have:], err
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

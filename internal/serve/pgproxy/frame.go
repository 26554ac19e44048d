package pgproxy

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	// headSize is a message's type and length; the length counts itself.
	headSize = 5
	// maxMessage is the most that a message may be: PostgreSQL's own bound.
	maxMessage = 1 << 30
	// minBuffer and maxBuffer bound what is read at once. What fits is passed on as a whole, larger messages in pieces.
	minBuffer, maxBuffer = 4 << 10, 32 << 10
)

// part is a message, or a piece of one that does not fit into the buffer.
type part struct {
	kind        byte
	raw         []byte // with the head, where it has one
	body        []byte
	first, last bool
}

// stream cuts what comes over a connection into messages. It looks at heads only, and copies nothing but the beginning of a
// message that is not there yet.
type stream struct {
	conn io.Reader
	buf  []byte
	mark
	end int // of what was read
}

// mark is a place in a stream.
type mark struct {
	at   int
	kind byte
	left int // of a message that comes in pieces
}

// fill reads more. What lies before at is gone after it.
func (s *stream) fill() error {
	if s.at == s.end {
		s.at, s.end = 0, 0
	}
	if s.buf == nil {
		s.buf = make([]byte, minBuffer)
	}
	if s.at > 0 && (s.end == len(s.buf) || s.at > len(s.buf)/2) {
		s.end = copy(s.buf, s.buf[s.at:s.end])
		s.at = 0
	}
	if s.end == len(s.buf) {
		s.grow()
	}
	n, err := s.conn.Read(s.buf[s.end:])
	s.end += n
	if s.end == len(s.buf) && s.at == 0 && len(s.buf) < maxBuffer {
		s.grow() // much comes at once
	}
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

func (s *stream) grow() {
	bigger := make([]byte, min(2*len(s.buf), maxBuffer))
	s.end = copy(bigger, s.buf[s.at:s.end])
	s.buf, s.at = bigger, 0
}

// peek returns the next part, where it is there.
func (s *stream) peek() (part, bool, error) {
	have := s.buf[s.at:s.end]
	if s.left > 0 {
		n := min(s.left, len(have))
		return part{kind: s.kind, raw: have[:n], body: have[:n], last: n == s.left}, n > 0, nil
	}
	if len(have) < headSize {
		return part{}, false, nil
	}
	size := int64(binary.BigEndian.Uint32(have[1:])) + 1
	if size < headSize || size > maxMessage {
		return part{}, false, fmt.Errorf("a message of type %q claims a length of %d bytes", have[0], size-1)
	}
	if size <= int64(len(have)) {
		return part{kind: have[0], raw: have[:size], body: have[headSize:size], first: true, last: true}, true, nil
	}
	if size <= maxBuffer {
		return part{}, false, nil
	}
	return part{kind: have[0], raw: have, body: have[headSize:], first: true}, true, nil
}

// pass goes on behind a part that peek returned.
func (s *stream) pass(p *part) {
	s.at += len(p.raw)
	switch {
	case !p.first:
		s.left -= len(p.raw)
	case p.last:
	default:
		s.kind = p.kind
		s.left = int(binary.BigEndian.Uint32(p.raw[1:])) + 1 - len(p.raw)
	}
}

// whole says that no message was passed on in part.
func (s *stream) whole() bool { return s.left == 0 }

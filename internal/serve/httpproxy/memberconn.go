package httpproxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/backstay/backstay/internal/serve/http1"
)

// framing says how the body being read ends.
type framing uint8

const (
	framedNone framing = iota
	framedLength
	framedChunked
	framedClose
)

// A memberConn is an HTTP/1 connection to a member, and the stream of the try that has it.
type memberConn struct {
	link
	rw      net.Conn    // the link itself, or TLS on it
	base    *tls.Config // the service's configuration under which it was made
	home    *memberConns
	buffers *buffers

	kept bool    // it carried a request before
	used instant // when it was last given back
	idle time.Duration
	by   instant // when the whole exchange must be over

	out     []byte // the head (and first bytes of the body) until they are written
	pending []byte // of out: not written yet
	sent    int64  // bytes of this request that were written
	chunked bool   // the request's body is
	allSent bool   // the request is complete
	verb    http1.Verb

	in      window
	head    bool // a final head was received
	got     bool // some byte of the answer was
	framing framing
	left    int64
	decoder http1.Chunked
	full    bool // the last read of the body filled all the room it had
	counted bool // it takes one of the connections that the member may have
	once    bool // it is one client's, whom PROXY protocol announced: for one request only
	reuse   bool // the answer allows another request on the connection
	done    bool // the answer was read to its end

	step   func(fd uintptr) bool // roundTrip's step, made once
	wrote  bool
	into   []byte
	stepN  int
	stepOK error

	look func(fd uintptr) // alive's step, made once
	one  [1]byte
	open bool
}

func newMemberConn(c net.Conn, home *memberConns, b *buffers) *memberConn {
	m := &memberConn{home: home, buffers: b}
	m.reset(c)
	m.rw = &m.link
	m.step, m.look = m.roundTripStep, m.lookStep
	return m
}

// begin makes the connection ready for another request. idle bounds silence within bodies.
func (m *memberConn) begin(idle time.Duration, by instant) {
	m.idle, m.writeIdle, m.by = idle, idle, by
	m.sent, m.chunked, m.allSent = 0, false, false
	m.head, m.got, m.done, m.reuse = false, false, false, false
	m.framing, m.left, m.full = framedNone, 0, false
	m.pending, m.wrote = nil, false
	m.in.buf, m.in.r, m.in.w = m.buffers.get(), 0, 0
}

// Receive implements stream.
func (m *memberConn) Receive(r *http1.Response, by instant) error {
	m.expect(by)
	for {
		if !m.in.empty() {
			n, err := r.Parse(m.in.bytes(), memberLimits, m.verb)
			if err != nil {
				return m.fail(err)
			}
			if n > 0 {
				m.in.r += n
				m.frame(r)
				return nil
			}
		}
		room := m.in.room()
		if room == nil {
			m.grow()
			room = m.in.room()
		}
		n, err := m.fill(room)
		m.in.w += n
		m.got = m.got || n > 0
		if n == 0 && err != nil {
			return m.fail(err)
		}
	}
}

// memberLimits bound the heads of answers.
var memberLimits = http1.Limits{Head: 256 << 10, Fields: 1000}

func (m *memberConn) grow() {
	b := make([]byte, 2*len(m.in.buf))
	copy(b, m.in.buf[:m.in.w])
	m.buffers.put(m.in.buf)
	m.in.buf = b
}

// frame notes how the body of the answer ends.
func (m *memberConn) frame(r *http1.Response) {
	if r.Status < 200 && r.Status != 101 {
		return
	}
	m.head = true
	m.reuse = !r.Close && r.Status != 101
	switch r.Length {
	case http1.ChunkedBody:
		m.framing = framedChunked
		m.decoder.Reset()
	case http1.UntilClose:
		m.framing, m.reuse = framedClose, false
	case 0:
		m.framing = framedNone
		m.done = r.Status != 101
	default:
		m.framing, m.left = framedLength, r.Length
	}
}

// Ready implements source.
func (m *memberConn) Ready() bool { return m.done || !m.in.empty() }

// Next implements source.
func (m *memberConn) Next() (piece, error) {
	if m.framing == framedNone {
		return piece{End: true}, nil
	}
	for {
		if !m.in.empty() {
			p, err := m.take()
			if err != nil || p.End || len(p.Data) > 0 {
				return p, err
			}
		}
		if m.full {
			m.buffers.widen(&m.in)
		}
		room := m.in.room()
		if room == nil {
			m.grow()
			room = m.in.room()
		}
		m.expect(earlier(after(now(), m.idle), m.by))
		n, err := m.rw.Read(room)
		m.in.w += n
		m.full = n == len(room)
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) && m.framing == framedClose {
				m.done = true
				return piece{End: true}, nil
			}
			return piece{}, m.fail(unexpected(err))
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// take uses up what the window holds.
func (m *memberConn) take() (piece, error) {
	switch m.framing {
	case framedLength:
		n := int(min(int64(m.in.len()), m.left))
		p := piece{Data: m.in.buf[m.in.r : m.in.r+n], End: int64(n) == m.left}
		m.in.r += n
		m.left -= int64(n)
		m.done = p.End
		return p, nil
	case framedChunked:
		p, err := takeChunks(&m.decoder, &m.in)
		m.done = p.End
		if err != nil {
			return p, m.fail(err)
		}
		return p, nil
	default:
		p := piece{Data: m.in.bytes()}
		m.in.r = m.in.w
		return p, nil
	}
}

// takeChunks decodes all chunks in the window into one piece, closing the gaps between them in place.
func takeChunks(d *http1.Chunked, v *window) (piece, error) {
	start, end := v.r, v.r
	for v.r < v.w {
		data, n, done, err := d.Next(v.bytes())
		if err != nil {
			return piece{}, err
		}
		end += copy(v.buf[end:], data)
		v.r += n
		if done {
			return piece{Data: v.buf[start:end], End: true, Trailers: d.Trailers}, nil
		}
		if n == 0 {
			break
		}
	}
	return piece{Data: v.buf[start:end]}, nil
}

// fail makes a tryError of an error.
func (m *memberConn) fail(err error) error {
	f := classify(err)
	return &tryError{failure: f, unsent: m.sent == 0, stale: m.kept && !m.got && f == failReset, err: err}
}

func (m *memberConn) wrap(err error) error {
	if err == nil {
		return nil
	}
	return m.fail(err)
}

// Interrupt implements stream.
func (m *memberConn) Interrupt() { m.interrupt() }

// Close implements stream: the connection is kept where another request may use it.
func (m *memberConn) Close() {
	clean := m.done && m.reuse && !m.once && m.allSent && m.in.empty() && !m.interrupted.Load()
	if m.in.buf != nil {
		m.buffers.put(m.in.buf)
		m.in.buf = nil
	}
	home, counted := m.home, m.counted
	m.counted = false
	if !clean || !home.put(m) { // once it is put it is another's
		home.close(m)
	}
	if counted {
		home.busy.Release()
	}
}

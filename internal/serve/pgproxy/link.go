package pgproxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/reach"
	"github.com/backstay/backstay/internal/serve/transport"
)

// link is a session on a server.
type link struct {
	member *pool.Member
	gone   <-chan struct{} // closed when the member is no primary any more
	socket net.Conn
	conn   net.Conn // socket, or TLS over it
	in     stream
	key    [8]byte // what the server wants to hear to cancel a request

	writing sync.Mutex    // held from what the session says of itself until it is written
	done    chan struct{} // closed when nothing comes from it any more
	took    time.Duration // until the session was on it
	counts  bool          // towards the member's answers

	parameters map[string]string // as told at login
	greeting   []byte            // what the client is to hear of the login, the first time
}

// dial opens a connection to the member, encrypted where the service says so.
func (s *session) dial(ctx context.Context, m *pool.Member) (*link, error) {
	gone := m.Gone() // before anything else: it may come back, with another
	socket, err := s.search.Dial(ctx, m, reach.Idle(s.listener, s.service))
	if err != nil {
		return nil, err
	}
	l := &link{member: m, gone: gone, socket: socket, conn: socket, done: make(chan struct{}), parameters: map[string]string{}}
	if err := s.encrypt(ctx, l); err != nil {
		reach.Reset(socket)
		return nil, err
	}
	l.in.conn = l.conn
	return l, nil
}

func (s *session) encrypt(ctx context.Context, l *link) error {
	secure := cmp.Or(s.service.TLS, s.service.EngineTLS)
	if secure == nil {
		return nil
	}
	ctx, cancel := s.search.Bounded(ctx)
	defer cancel()
	if by, ok := ctx.Deadline(); ok {
		_ = l.socket.SetDeadline(by) // what cannot be bounded fails itself
	}
	ask := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 8), askTLS)
	if _, err := l.socket.Write(ask); err != nil {
		return broken(err)
	}
	answer := make([]byte, 1)
	if _, err := io.ReadFull(l.socket, answer); err != nil {
		return broken(err)
	}
	if answer[0] != 'S' {
		return fmt.Errorf("%w: %s does not speak it: give its service no tls, or turn ssl on", transport.ErrTLS, l.member.Address())
	}
	cfg, err := transport.ForMember(secure, l.member.Address(), l.member.Host())
	if err != nil {
		return err
	}
	cfg = cfg.Clone()
	cfg.NextProtos = nil
	t := tls.Client(l.socket, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("%w with %s: %w", transport.ErrTLS, l.member.Address(), err)
	}
	l.conn = t
	return l.socket.SetDeadline(time.Time{})
}

// broken marks an error of a connection on which nothing of the client's session has happened yet.
func broken(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, reach.ErrFinal) || errors.Is(err, reach.ErrNotYet) {
		return err
	}
	return fmt.Errorf("%w: %w", reach.ErrNotYet, err)
}

// next returns the next message before the session goes on. It is good until the next call.
func (l *link) next() (part, error) {
	for {
		p, ok, err := l.in.peek()
		if err != nil {
			return part{}, err
		}
		if ok {
			if !p.first || !p.last {
				return part{}, fmt.Errorf("a message of type %q has more than %d bytes during the login", p.kind, maxBuffer)
			}
			l.in.pass(&p)
			return p, nil
		}
		if err := l.in.fill(); err != nil {
			return part{}, broken(err)
		}
	}
}

func (l *link) read() (kind byte, body []byte, err error) {
	p, err := l.next()
	return p.kind, p.body, err
}

func (l *link) write(b []byte) error {
	_, err := l.conn.Write(b)
	return broken(err)
}

// cancel asks the server to give up what it does for the session.
func (l *link) cancel(ctx context.Context) error {
	var d transport.Dialer
	c, err := d.Dial(ctx, l.member.Address())
	if err != nil {
		return err
	}
	defer c.Close()
	packet := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 16), askCancel)
	if by, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(by)
	}
	if _, err := c.Write(append(packet, l.key[:]...)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1)) // the server closes when it has passed it on
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

package pgproxy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/reach"
	"github.com/backstay/backstay/internal/serve/snapshot"
)

// Options configures a Server.
type Options struct {
	// Snapshot is the picture to serve from; each session reads it once, when it begins.
	Snapshot *atomic.Pointer[snapshot.Snapshot]
	// Lookup reads verifiers of passwords; without it sessions are passed on, and end with their server.
	Lookup Lookup
	// Access takes a line for each session; may be nil.
	Access *telemetry.AccessLog
	// Metrics counts sessions; may be nil.
	Metrics *telemetry.Metrics
	// Log is for debugging; discarded where nil.
	Log *slog.Logger
}

// Server serves the listeners of a node that keep PostgreSQL's sessions.
type Server struct {
	o         Options
	verifiers verifiers
	live      reach.Sessions
	leaving   chan struct{} // closed by Drain: sessions end when they are idle
	leave     sync.Once

	mu       sync.Mutex
	sessions map[[8]byte]*session // by the key that cancels
}

// New makes a server that serves nothing yet.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{
		o: o, verifiers: verifiers{lookup: o.Lookup}, live: reach.Sessions{Snapshot: o.Snapshot, Log: o.Log},
		sessions: map[[8]byte]*session{}, leaving: make(chan struct{}),
	}
}

// Serve accepts sessions for the listener of that name from ln until ctx ends, and returns nil then. It neither closes ln nor
// ends the sessions it began: those are Drain's, or end by themselves.
func (s *Server) Serve(ctx context.Context, name string, ln net.Listener) error {
	return s.live.Serve(ctx, name, ln, func(ctx context.Context, l *snapshot.TCPListener, conn net.Conn) {
		if l.Service == nil { // it was another kind of listener a moment ago
			reach.Reset(conn)
			return
		}
		newSession(s, l, conn).run(ctx)
	})
}

// Drain ends sessions as they are idle, waits for the others until ctx is done, and then cuts the rest; the error says how many those
// were. Nothing is served after it; call it when every Serve has returned.
func (s *Server) Drain(ctx context.Context) error {
	s.leave.Do(func() { close(s.leaving) })
	if left := s.live.Drain(ctx); left > 0 {
		return fmt.Errorf("%d PostgreSQL sessions had not ended in time and were cut", left)
	}
	return nil
}

// Live is how many sessions there are now, those being set up included.
func (s *Server) Live() int { return s.live.Live() }

// Count is how the sessions of a listener stand.
type Count struct {
	Sessions int // that have been opened
	Tied     int // of them, those that end when their server does
	Detached int // of them, those that wait for their next request without a server
}

// Count counts the sessions of a listener.
func (s *Server) Count(listener string) (c Count) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.sessions {
		if one.listener.Name != listener {
			continue
		}
		one.mu.Lock()
		if one.begun {
			c.Sessions++
			if one.track.ties != 0 {
				c.Tied++
			}
			if one.link == nil {
				c.Detached++
			}
		}
		one.mu.Unlock()
	}
	return c
}

// admit gives a session the key by which its requests are canceled.
func (s *Server) admit(v *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		_, _ = rand.Read(v.cancelKey[:]) // never fails
		v.cancelKey[0] &= 0x7f           // a process id is not negative
		if _, taken := s.sessions[v.cancelKey]; !taken && binary.BigEndian.Uint32(v.cancelKey[:]) != 0 {
			s.sessions[v.cancelKey] = v
			return
		}
	}
}

func (s *Server) dismiss(v *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, v.cancelKey)
}

// cancelTime bounds the passing on of a request to cancel.
const cancelTime = 5 * time.Second

// cancel passes a request to cancel on to where the session is now. Nobody hears whether there is one of that key.
func (s *Server) cancel(ctx context.Context, body []byte) {
	if len(body) != 8 {
		return
	}
	s.mu.Lock()
	v := s.sessions[[8]byte(body)]
	s.mu.Unlock()
	if v == nil {
		return
	}
	v.mu.Lock()
	l := v.link
	v.mu.Unlock()
	if l == nil {
		return
	}
	ctx, done := context.WithTimeout(ctx, cancelTime)
	defer done()
	if err := l.cancel(ctx); err != nil {
		s.o.Log.Debug("a request was not canceled", "member", l.member.Name(), "error", err)
	}
}

// primaryOnly says whether a standby is of no use to the service.
func (s *Server) primaryOnly(service *snapshot.Service) bool {
	return service.Config.Engine != nil && service.Standbys == nil
}

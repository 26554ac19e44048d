package reach

import (
	"context"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/backstay/backstay/internal/serve/snapshot"
	"github.com/backstay/backstay/internal/serve/transport"
)

// Sessions accepts the sessions of listeners, knows those that are at work, and ends them.
type Sessions struct {
	// Snapshot is the picture to serve from; each session reads it once, when it begins.
	Snapshot *atomic.Pointer[snapshot.Snapshot]
	// Log is for debugging.
	Log *slog.Logger

	mu     sync.Mutex
	cuts   map[*context.CancelFunc]struct{} // each cuts its session
	closed bool                             // no session begins any more
	empty  chan struct{}                    // closed when the last session ends; nil while nobody waits for it
}

// Serve accepts sessions for the listener of that name from ln until ctx ends, and returns nil then. It neither closes ln nor
// ends the sessions it began: those are Drain's, or end by themselves. Each is served by one call of session, whose context ends when it is cut.
func (s *Sessions) Serve(ctx context.Context, name string, ln net.Listener, session func(context.Context, *snapshot.TCPListener, net.Conn)) error {
	return transport.Accept(ctx, ln, transport.AcceptOptions{
		Limit: func() int {
			if c := s.listener(name); c != nil {
				return c.Config.Limits.Connections
			}
			return 0
		},
		Handle: func(c net.Conn) { s.handle(name, c, session) },
		Log:    s.Log,
	})
}

func (s *Sessions) listener(name string) *snapshot.TCPListener {
	if snap := s.Snapshot.Load(); snap != nil {
		return snap.TCPListener(name)
	}
	return nil
}

// handle serves one connection from its first byte to its last.
func (s *Sessions) handle(name string, conn net.Conn, session func(context.Context, *snapshot.TCPListener, net.Conn)) {
	listener := s.listener(name)
	if listener == nil { // taken out of the configuration a moment ago
		Reset(conn)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended, ok := s.begin(cancel)
	if !ok { // the node is about to end
		Reset(conn)
		return
	}
	defer ended()
	listener.Metrics.Opened()
	defer listener.Metrics.Closed()
	defer func() {
		if p := recover(); p != nil {
			Reset(conn)
			s.Log.Error("a session panicked", "listener", name, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	session(ctx, listener, conn)
}

// begin counts a session; cut is called to end it, and end must be when it has ended. It says false when the server has ended.
func (s *Sessions) begin(cut context.CancelFunc) (end func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false
	}
	if s.cuts == nil {
		s.cuts = map[*context.CancelFunc]struct{}{}
	}
	key := &cut
	s.cuts[key] = struct{}{}
	return func() { s.end(key) }, true
}

func (s *Sessions) end(key *context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cuts, key)
	if len(s.cuts) == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

// Live is how many sessions there are now, those being set up included.
func (s *Sessions) Live() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.cuts)
}

// Drain waits until all sessions have ended or ctx is done, then cuts the rest and says how many those were. No session begins
// after it.
func (s *Sessions) Drain(ctx context.Context) (cut int) {
	select {
	case <-s.ended():
	case <-ctx.Done():
	}
	s.mu.Lock()
	s.closed = true
	cut = len(s.cuts)
	for c := range s.cuts {
		(*c)()
	}
	s.mu.Unlock()
	<-s.ended()
	return cut
}

// ended is closed once there is no session.
func (s *Sessions) ended() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.cuts) == 0 {
		done := make(chan struct{})
		close(done)
		return done
	}
	if s.empty == nil {
		s.empty = make(chan struct{})
	}
	return s.empty
}

// Reset closes a connection so that the other side sees at once that this is no orderly end.
func Reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails only on a closed connection
	}
	_ = c.Close()
}

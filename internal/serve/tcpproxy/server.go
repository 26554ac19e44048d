package tcpproxy

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/snapshot"
	"github.com/backstay/backstay/internal/serve/transport"
)

// Options configures a Server.
type Options struct {
	// Snapshot is the picture to serve from; each session reads it once, when it begins.
	Snapshot *atomic.Pointer[snapshot.Snapshot]
	// Access takes a line for each session; may be nil.
	Access *telemetry.AccessLog
	// Metrics counts sessions; may be nil.
	Metrics *telemetry.Metrics
	// Log is for debugging; discarded where nil.
	Log *slog.Logger
}

// Server serves all TCP listeners of a node.
type Server struct {
	o      Options
	buffer buffers
	pipes  pipes

	mu     sync.Mutex
	live   map[*session]context.CancelFunc // each cuts its session
	closed bool                            // no session begins any more
	empty  chan struct{}                   // closed when the last session ends; nil while nobody waits for it

	spliced atomic.Int64 // bytes that never were in user space
}

// New makes a server that serves nothing yet.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{o: o, live: map[*session]context.CancelFunc{}}
}

// Serve accepts sessions for the listener of that name from ln until ctx ends, and returns nil then. It neither closes ln
// nor ends the sessions it began: those are Drain's, or end by themselves.
func (s *Server) Serve(ctx context.Context, name string, ln net.Listener) error {
	return transport.Accept(ctx, ln, transport.AcceptOptions{
		Limit: func() int {
			if l := s.listener(name); l != nil {
				return l.Config.Limits.Connections
			}
			return 0
		},
		Handle: func(c net.Conn) { s.handle(name, c) },
		Log:    s.o.Log,
	})
}

// Drain waits until all sessions have ended or ctx is done, then cuts the rest; the error says how many those were.
// Nothing is served after it; call it when every Serve has returned.
func (s *Server) Drain(ctx context.Context) error {
	select {
	case <-s.ended():
	case <-ctx.Done():
	}
	s.mu.Lock()
	s.closed = true
	left := len(s.live)
	for _, cut := range s.live {
		cut()
	}
	s.mu.Unlock()
	<-s.ended()
	s.pipes.close()
	if left > 0 {
		return fmt.Errorf("%d TCP sessions had not ended in time and were cut", left)
	}
	return nil
}

// Live is how many sessions there are now, those being set up included.
func (s *Server) Live() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live)
}

func (s *Server) listener(name string) *snapshot.TCPListener {
	if snap := s.o.Snapshot.Load(); snap != nil {
		return snap.TCPListener(name)
	}
	return nil
}

// begin counts the session; cut is called to end it. It says false when the server has ended.
func (s *Server) begin(v *session, cut context.CancelFunc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.live[v] = cut
	return true
}

func (s *Server) end(v *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, v)
	if len(s.live) == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

// ended is closed once there is no session.
func (s *Server) ended() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.live) == 0 {
		done := make(chan struct{})
		close(done)
		return done
	}
	if s.empty == nil {
		s.empty = make(chan struct{})
	}
	return s.empty
}

// handle serves one connection from its first byte to its last.
func (s *Server) handle(name string, conn net.Conn) {
	l := s.listener(name)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	v := &session{server: s, listener: l, socket: conn, client: conn}
	if l == nil || !s.begin(v, cancel) { // taken out of the configuration a moment ago, or the node is about to end
		reset(conn)
		return
	}
	defer s.end(v)
	l.Metrics.Opened()
	defer l.Metrics.Closed()
	defer func() {
		if p := recover(); p != nil {
			reset(conn)
			s.o.Log.Error("a session panicked", "listener", name, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	v.run(ctx)
}

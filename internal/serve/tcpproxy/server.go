package tcpproxy

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync/atomic"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/reach"
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

	live reach.Live

	spliced atomic.Int64 // bytes that never were in user space
}

// New makes a server that serves nothing yet.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{o: o}
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
	left := s.live.Drain(ctx)
	s.pipes.close()
	if left > 0 {
		return fmt.Errorf("%d TCP sessions had not ended in time and were cut", left)
	}
	return nil
}

// Live is how many sessions there are now, those being set up included.
func (s *Server) Live() int { return s.live.Count() }

func (s *Server) listener(name string) *snapshot.TCPListener {
	if snap := s.o.Snapshot.Load(); snap != nil {
		return snap.TCPListener(name)
	}
	return nil
}

// handle serves one connection from its first byte to its last.
func (s *Server) handle(name string, conn net.Conn) {
	l := s.listener(name)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	v := &session{server: s, listener: l, socket: conn, client: conn}
	if l == nil { // taken out of the configuration a moment ago
		reach.Reset(conn)
		return
	}
	ended, ok := s.live.Begin(cancel)
	if !ok { // the node is about to end
		reach.Reset(conn)
		return
	}
	defer ended()
	l.Metrics.Opened()
	defer l.Metrics.Closed()
	defer func() {
		if p := recover(); p != nil {
			reach.Reset(conn)
			s.o.Log.Error("a session panicked", "listener", name, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	v.run(ctx)
}

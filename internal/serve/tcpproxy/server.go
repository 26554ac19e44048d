package tcpproxy

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/reach"
	"github.com/backstay/backstay/internal/serve/snapshot"
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

	live reach.Sessions

	spliced atomic.Int64 // bytes that never were in user space
}

// New makes a server that serves nothing yet.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{o: o, live: reach.Sessions{Snapshot: o.Snapshot, Log: o.Log}}
}

// Serve accepts sessions for the listener of that name from ln until ctx ends, and returns nil then. It neither closes ln
// nor ends the sessions it began: those are Drain's, or end by themselves.
func (s *Server) Serve(ctx context.Context, name string, ln net.Listener) error {
	return s.live.Serve(ctx, name, ln, func(ctx context.Context, l *snapshot.TCPListener, conn net.Conn) {
		(&session{server: s, listener: l, socket: conn, client: conn}).run(ctx)
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
func (s *Server) Live() int { return s.live.Live() }

package httpproxy

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/snapshot"
	"github.com/backstay/backstay/internal/serve/transport"
	"github.com/backstay/backstay/resilience"
)

// Options are what a Server works with. Snapshot is needed, all else may be left out.
type Options struct {
	Snapshot *atomic.Pointer[snapshot.Snapshot] // read once for each request
	Log      *slog.Logger
	Access   *telemetry.AccessLog
	Tracer   *telemetry.Tracer
	Dialer   transport.Dialer
	Mirrors  int // copies of requests under way at once; 256 when 0
}

// Server serves HTTP on any number of listeners.
type Server struct {
	snapshot  *atomic.Pointer[snapshot.Snapshot]
	log       *slog.Logger
	access    *telemetry.AccessLog
	tracer    *telemetry.Tracer
	dialer    transport.Dialer
	buffers   buffers
	exchanges exchanges
	mirrors   chan struct{}

	wall     atomic.Int64    // what the wall clock showed at instant 0, as of the last sweep
	ctx      context.Context // done when what is still at work is cut off
	cut      context.CancelFunc
	draining atomic.Bool
	lapsed   atomic.Bool // and the time of grace is over

	lot lot

	mu    sync.Mutex
	conns map[session]*port
	slots map[*memberConns]struct{}
	quiet chan struct{} // closed when there are no connections while draining
	work  crew

	refreshes atomic.Int32 // stored answers that are being asked for anew

	http2 func(c *clientConn, preface []byte) // serves a client's HTTP/2 connection; nil where that is not offered

	muxing *http.Transport // HTTP/2 to members
}

// A session is a client's connection, whatever it speaks.
type session interface {
	// wind makes a session end as soon as nothing is at work on it.
	wind()
	// interrupt ends it at once.
	interrupt()
}

// A port is one listener that is being served; its connections are let go of when that ends.
type port struct {
	server *Server
	name   string
	ended  atomic.Bool
	lapsed atomic.Bool // and the time of grace is over
	// detached counts the connections that are or were parked: Accept, which counts goroutines, has lost sight of them.
	detached atomic.Int64
	seen     atomic.Pointer[view]
}

// A view is a listener in a snapshot: looked up once.
type view struct {
	picture  *snapshot.Snapshot
	listener *snapshot.HTTPListener
}

// listener is the port's listener in the newest snapshot, nil where that has none.
func (p *port) listener() *snapshot.HTTPListener {
	now := p.server.snapshot.Load()
	v := p.seen.Load()
	if v == nil || v.picture != now {
		v = &view{now, now.HTTPListener(p.name)}
		p.seen.Store(v)
	}
	return v.listener
}

// draining says that the next answer on each connection is its last.
func (p *port) draining() bool { return p.ended.Load() || p.server.draining.Load() }

// closing says that connections without a request at work are to end now.
func (p *port) closing() bool { return p.lapsed.Load() || p.server.lapsed.Load() }

// idleGrace is how long an idle connection is still read from when its listener goes: a request may be on its way, and the
// close that an answer announces is the only one that cannot cross a request (RFC 9112, section 9.6).
const idleGrace = time.Second

// New makes a Server.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Mirrors <= 0 {
		o.Mirrors = 256
	}
	s := &Server{
		snapshot: o.Snapshot, log: o.Log, access: o.Access, tracer: o.Tracer, dialer: o.Dialer,
		mirrors: make(chan struct{}, o.Mirrors),
		conns:   map[session]*port{}, slots: map[*memberConns]struct{}{},
	}
	s.http2, s.muxing = s.serveHTTP2, newMuxTransport()
	s.lot.server = s
	s.readWall()
	s.ctx, s.cut = context.WithCancel(context.Background())
	return s
}

func (s *Server) readWall() { s.wall.Store(time.Now().UnixNano() - now()) }

// wallTime is an instant as the wall clock shows it, however it was set since the process began.
func (s *Server) wallTime(t instant) time.Time { return time.Unix(0, s.wall.Load()+t) }

// sweepEvery is how often idle connections to members are looked through.
const sweepEvery = time.Second

// Run does the housekeeping until ctx is done; then it closes the idle connections to members.
func (s *Server) Run(ctx context.Context) error {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.readWall()
			for _, h := range s.allSlots() {
				h.sweep(now())
			}
		case <-ctx.Done():
			for _, h := range s.allSlots() {
				_ = h.Close() // never fails
			}
			return nil
		}
	}
}

// Serve accepts connections from ln for the listener of that name until ctx is done or ln is closed. Its connections go on
// until they have no request at work, and end then.
func (s *Server) Serve(ctx context.Context, name string, ln net.Listener) error {
	p := &port{server: s, name: name}
	err := transport.Accept(ctx, ln, transport.AcceptOptions{
		Log: s.log,
		Limit: func() int {
			if l := s.snapshot.Load().HTTPListener(name); l != nil {
				return max(1, l.Config.Limits.Connections-int(p.detached.Load()))
			}
			return 0
		},
		Handle: func(c net.Conn) { s.handle(p, c) },
	})
	p.ended.Store(true)
	s.wind(p)
	time.AfterFunc(idleGrace, func() {
		p.lapsed.Store(true)
		s.wind(p)
	})
	return err
}

// wind lets the connections of a port, or all, look around: they end as soon as nothing is at work on them.
func (s *Server) wind(p *port) {
	s.mu.Lock()
	var all []session
	for c, of := range s.conns {
		if p == nil || of == p {
			all = append(all, c)
		}
	}
	s.mu.Unlock()
	for _, c := range all {
		c.wind()
	}
}

// Drain lets every connection end: after the next answer, which tells the client so, or once it has been idle for a moment. When ctx is done first, what is still at
// work is cut off, and ctx's error returned. No connection is left when it returns.
func (s *Server) Drain(ctx context.Context) error {
	s.draining.Store(true)
	s.mu.Lock()
	if s.quiet == nil {
		s.quiet = make(chan struct{})
		if len(s.conns) == 0 {
			close(s.quiet)
		}
	}
	quiet := s.quiet
	s.mu.Unlock()
	s.wind(nil)
	grace := time.NewTimer(idleGrace)
	defer grace.Stop()
	var err error
	select {
	case <-quiet:
	case <-ctx.Done():
	case <-grace.C:
	}
	s.lapsed.Store(true)
	s.wind(nil)
	select {
	case <-quiet:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	s.cut()
	s.mu.Lock()
	left := make([]session, 0, len(s.conns))
	for c := range s.conns {
		left = append(left, c)
	}
	s.mu.Unlock()
	for _, c := range left {
		c.interrupt()
	}
	s.work.Wait()
	return err
}

// enter counts a session; leave ends it.
func (s *Server) enter(c session, p *port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = p
}

func (s *Server) leave(c session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.quiet != nil && len(s.conns) == 0 {
		select {
		case <-s.quiet:
		default:
			close(s.quiet)
		}
	}
}

// open opens a stream to a member.
func (s *Server) open(ctx context.Context, m *pool.Member, o *opening, t instant) (stream, error) {
	c := m.Attach(func() io.Closer { return s.newSlot(m.Address(), m.Host()) })
	h, ok := c.(*memberConns)
	if !ok {
		return nil, &tryError{failure: failConnect, unsent: true, err: errRemoved}
	}
	if o.service.HTTP2 {
		return h.mux.open(ctx, m, o, t)
	}
	conn, err := h.open(ctx, o, t)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func (s *Server) newSlot(address, host string) *memberConns {
	h := &memberConns{server: s, address: address, host: host, busy: resilience.NewLimit(resilience.LimitOptions{})}
	h.mux.home = h
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots[h] = struct{}{}
	return h
}

func (s *Server) forget(h *memberConns) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.slots, h)
}

func (s *Server) allSlots() []*memberConns {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*memberConns, 0, len(s.slots))
	for h := range s.slots {
		all = append(all, h)
	}
	return all
}

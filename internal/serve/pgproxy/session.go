package pgproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/reach"
	"github.com/backstay/backstay/internal/serve/snapshot"
	"github.com/backstay/backstay/internal/serve/transport"
	"github.com/backstay/backstay/resilience"
)

// session is one client's, over all the servers that it comes to.
type session struct {
	server   *Server
	listener *snapshot.TCPListener
	service  *snapshot.Service
	socket   net.Conn // the client's
	client   net.Conn // socket, or TLS over it
	from     netip.AddrPort
	began    time.Time
	search   reach.Search

	start     startup
	key       []byte // proves the password to a server with the verifier; nil where the server did not ask
	verifier  verifier
	promise   []byte // what the client hears of its password once it is let in
	badLogin  bool
	cancelKey [8]byte
	opened    bool // the client was let in

	in, out atomic.Int64 // bytes
	pulse   atomic.Int64 // grows with every sign of life

	mu      sync.Mutex
	track   tracker
	link    *link         // nil while it has no server
	busy    bool          // counted as work of the service
	changed chan struct{} // closed at the next change; nil while nobody waits for one
	begun   bool          // it has been on a server
	over    bool          // the client was told its last
	ending  ending
}

// ending is how a session ended.
type ending struct {
	how    telemetry.Ending
	note   string
	member string
	set    bool
}

func newSession(s *Server, l *snapshot.TCPListener, conn net.Conn) *session {
	return &session{
		server: s, listener: l, service: l.Service, socket: conn, client: conn, began: time.Now(),
		track: tracker{status: 'I', parameters: map[string]string{}},
	}
}

// run takes the session through its stages. Every way out closes the client's connection.
func (s *session) run(ctx context.Context) {
	defer s.client.Close()
	if why, err := s.open(ctx); err != nil {
		if errors.Is(err, errCanceling) {
			return
		}
		s.listener.Metrics.Refused(why)
		s.server.o.Log.Debug("session refused", "listener", s.listener.Name, "client", s.from, "error", err)
		if why == telemetry.RefusedProxyProtocol {
			reach.Reset(s.socket)
		}
		return
	}
	metrics := s.server.o.Metrics.Sessions(s.listener.Name, s.service.Name)
	metrics.Opened()
	s.serve(ctx)
	took := time.Since(s.began)
	metrics.Done(s.ending.how, took, s.in.Load(), s.out.Load())
	s.log(took)
}

// serve logs the session in and stays until it ends.
func (s *session) serve(ctx context.Context) {
	s.search = reach.Search{Service: s.service, Client: s.from, Kept: minBuffer, Log: s.server.o.Log}
	if err := s.search.Enter(ctx); err != nil {
		s.reject(err)
		return
	}
	defer s.service.Pool.Leave()
	l, err := s.attach(ctx)
	if err != nil {
		s.reject(err)
		return
	}
	s.server.admit(s)
	defer s.server.dismiss(s)
	if s.start.replication {
		s.track.ties |= tieReplication
	}
	_ = s.socket.SetDeadline(time.Time{}) // a socket that is gone says so when it is written to
	idle := reach.Idle(s.listener, s.service)
	if idle > 0 {
		_ = transport.SetUserTimeout(s.socket, max(idle, reach.MinUserTimeout)) // without, the dead are noticed later
	}
	if err := s.welcome(l); err != nil {
		reach.Reset(l.socket)
		l.member.Done(pool.Outcome{Result: pool.OK, Took: l.took})
		s.end(telemetry.EndedReset, "client: "+transport.Reason(err))
		return
	}
	s.opened = true
	stop := context.AfterFunc(ctx, func() { s.fail(telemetry.EndedCut, codeShutdown, "this node of Backstay is shutting down", againHint) })
	defer stop()
	done := make(chan struct{})
	defer close(done)
	go s.look(idle, done)
	if !s.begin(l) {
		reach.Reset(l.socket)
		l.member.Done(pool.Outcome{Result: pool.OK, Took: l.took})
		return
	}
	defer s.part()
	s.up(ctx)
}

// welcome tells the client that it is let in.
func (s *session) welcome(l *link) error {
	var b []byte
	if s.promise != nil {
		b = append(b, s.promise...)
	} else {
		b = append(b, s.start.downgrade()...)
	}
	b = append(b, encode(&pgproto3.AuthenticationOk{})...)
	b = append(b, l.greeting...)
	for name, value := range l.parameters {
		b = append(b, encode(&pgproto3.ParameterStatus{Name: name, Value: value})...)
	}
	b = append(b, message('K', s.cancelKey[:])...)
	b = append(b, encode(&pgproto3.ReadyForQuery{TxStatus: 'I'})...)
	s.promise, l.greeting = nil, nil
	s.out.Add(int64(len(b)))
	return s.tellFinally(b)
}

func (s *session) tellFinally(b []byte) error {
	if err := s.tell(b); err != nil {
		return err
	}
	return s.socket.SetDeadline(time.Time{})
}

// reject tells the client why it has no session.
func (s *session) reject(err error) {
	var r *refused
	how, raw := telemetry.EndedNone, []byte(nil)
	switch {
	case s.badLogin:
		s.service.Metrics.Count(telemetry.LoginFailed)
	case errors.As(err, &r) && errors.Is(err, reach.ErrFinal):
		raw = r.raw
		if r.detail.Code == codePassword || r.detail.Code == codeAuthorize {
			s.service.Metrics.Count(telemetry.LoginFailed)
		}
	case errors.Is(err, reach.ErrFinal): // the client has failed
		how = telemetry.EndedReset
	case errors.Is(err, context.Canceled):
		how, raw = telemetry.EndedCut, encode(fatal(codeShutdown, "this node of Backstay is shutting down", againHint))
	case errors.Is(err, resilience.ErrLimited):
		how, raw = telemetry.EndedLimited, encode(fatal(codeTooMany, fmt.Sprintf("the service %s has as many sessions as it may", s.service.Name), ""))
	default:
		raw = encode(fatal(codeNotNow, fmt.Sprintf("there is no primary of %s to be reached; waited %s", s.service.Name, s.search.Waited.Round(time.Millisecond)), againHint))
	}
	if raw != nil {
		_ = s.tell(raw) // it may be gone
	}
	s.end(how, err.Error())
}

// end notes how the session ended; the first word holds.
func (s *session) end(how telemetry.Ending, note string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ending.set {
		s.ending.how, s.ending.note, s.ending.set = how, note, true
	}
}

// look ends a session that is idle for too long, or when the node takes its leave.
func (s *session) look(idle time.Duration, done <-chan struct{}) {
	const looks = 4
	var tick <-chan time.Time
	if idle > 0 {
		t := time.NewTicker(max(idle/looks, time.Millisecond))
		defer t.Stop()
		tick = t.C
	}
	leaving := s.server.leaving
	silent, last := 0, s.pulse.Load()
	for {
		var changed <-chan struct{}
		if leaving == nil {
			s.mu.Lock()
			free := s.track.idle()
			changed = s.watch()
			s.mu.Unlock()
			if free {
				s.fail(telemetry.EndedOK, codeShutdown, "this node of Backstay is shutting down", againHint)
				return
			}
		}
		select {
		case <-done:
			return
		case <-leaving:
			leaving = nil
		case <-changed:
		case <-tick:
			if now := s.pulse.Load(); now != last {
				silent, last = 0, now
			} else if silent++; silent >= looks {
				s.fail(telemetry.EndedIdle, codeIdle, "terminating connection due to idle-session timeout", "The listener's timeout.idle is "+idle.String()+".")
				return
			}
		}
	}
}

// log leaves a line behind.
func (s *session) log(took time.Duration) {
	status := 200
	if s.ending.how != telemetry.EndedOK && s.ending.how != telemetry.EndedIdle {
		status = 503
	}
	if !s.server.o.Access.Wants(status) {
		return
	}
	s.server.o.Access.Write(&telemetry.Access{
		Time: s.began, Listener: s.listener.Name, Service: s.service.Name, Member: s.ending.member, Client: s.from,
		Host: []byte(s.start.database), Proto: "PostgreSQL", Took: took, Wait: s.search.Waited, Upstream: s.search.Took,
		In: s.in.Load(), Out: s.out.Load(), Tries: s.search.Tries, Note: s.ending.note, Status: status,
	})
}

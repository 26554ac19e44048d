package tcpproxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/reach"
	"github.com/backstay/backstay/internal/serve/snapshot"
	"github.com/backstay/backstay/internal/serve/transport"
)

// session is one client's connection.
type session struct {
	server   *Server
	listener *snapshot.TCPListener
	service  *snapshot.Service
	socket   net.Conn // the client's
	client   net.Conn // what the client's bytes are read from: socket, or TLS over it

	from, to netip.AddrPort // who connected, and where
	name     string         // asked for by TLS; empty without
	head     []byte         // read from the client already, for the member

	began  time.Time
	search reach.Search
}

// run takes the session through its stages. Every way out closes the client's connection.
func (v *session) run(ctx context.Context) {
	v.began = time.Now()
	if why, err := v.open(ctx); err != nil {
		v.listener.Metrics.Refused(why)
		v.server.o.Log.Debug("session refused", "listener", v.listener.Name, "client", v.from, "error", err)
		if why == telemetry.RefusedProxyProtocol {
			reach.Reset(v.socket)
		}
		v.client.Close() // in an orderly way: TLS has told the client why
		return
	}
	metrics := v.server.o.Metrics.Sessions(v.listener.Name, v.service.Name)
	metrics.Opened()
	end := v.serve(ctx)
	took := time.Since(v.began)
	metrics.Done(end.how, took, end.in, end.out)
	v.log(&end, took)
}

// open finds out who the client is and which service it wants.
func (v *session) open(ctx context.Context) (telemetry.Refusal, error) {
	l := v.listener
	announced, err := l.Proxy.Read(ctx, v.socket)
	v.from, v.to = announced.Source, announced.Destination
	if err != nil {
		return telemetry.RefusedProxyProtocol, err
	}
	switch {
	case l.TLS != nil:
		if err := v.handshake(ctx); err != nil {
			return refusal(err, telemetry.RefusedTLS), err
		}
	case v.passing():
		if err := v.peekName(ctx); err != nil {
			return refusal(err, telemetry.RefusedBadRequest), err
		}
	}
	if v.service = l.ServiceFor(v.name); v.service == nil {
		if v.passing() {
			sayUnrecognized(v.socket)
		}
		return telemetry.RefusedNoRoute, fmt.Errorf("no service for the name %q", v.name)
	}
	return 0, nil
}

// passing says that the client's TLS is the member's to open, and needs none around it.
func (v *session) passing() bool { return v.listener.TLS == nil && len(v.listener.SNI) > 0 }

func refusal(err error, otherwise telemetry.Refusal) telemetry.Refusal {
	if transport.Reason(err) == "timeout" {
		return telemetry.RefusedTimeout
	}
	return otherwise
}

// handshake ends the client's TLS here.
func (v *session) handshake(ctx context.Context) error {
	return v.within(ctx, func() error {
		t := tls.Server(v.socket, v.listener.TLS.Config())
		if err := t.Handshake(); err != nil {
			return fmt.Errorf("%w: %w", transport.ErrTLS, err)
		}
		v.client, v.name = t, t.ConnectionState().ServerName
		return nil
	})
}

// peekName finds the name that a TLS client asks for; what it read of the client goes to the member first.
func (v *session) peekName(ctx context.Context) error {
	return v.within(ctx, func() (err error) {
		v.name, v.head, err = readHello(v.socket)
		return err
	})
}

// within bounds do by the time that clients have for their head.
func (v *session) within(ctx context.Context, do func() error) error {
	if limit := time.Duration(v.listener.Config.Timeout.Head); limit > 0 {
		if err := v.socket.SetDeadline(time.Now().Add(limit)); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { reach.Reset(v.socket) })
	err := do()
	if !stop() {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	return v.socket.SetDeadline(time.Time{})
}

// serve brings the session to a member and stays until it ends.
func (v *session) serve(ctx context.Context) ending {
	defer v.client.Close()
	v.search = reach.Search{Service: v.service, Client: v.from, Kept: int64(len(v.head)), Log: v.server.o.Log}
	if err := v.search.Enter(ctx); err != nil {
		reach.Reset(v.socket)
		return failed(err)
	}
	defer v.service.Pool.Leave()
	idle := v.idle()
	if idle > 0 {
		_ = transport.SetUserTimeout(v.socket, max(idle, reach.MinUserTimeout)) // without, the dead are noticed later
	}
	var until time.Time // for which it is tried
	for {
		end := v.attend(ctx, idle)
		if !end.again {
			return end
		}
		if until.IsZero() {
			until = time.Now().Add(time.Duration(v.service.Config.Hold.For))
		}
		if time.Now().After(until) || v.search.Rest(ctx) != nil {
			reach.Reset(v.socket)
			return ending{how: telemetry.EndedReset, note: "member: reset", memberBroke: true, member: end.member}
		}
	}
}

// attend brings the session to a member and stays until it ends, or is to be brought to another.
func (v *session) attend(ctx context.Context, idle time.Duration) ending {
	var side memberSide
	m, err := v.search.Member(ctx, func(ctx context.Context, m *pool.Member) (err error) {
		side, err = v.dial(ctx, m)
		return err
	})
	if err != nil {
		reach.Reset(v.socket)
		return failed(err)
	}
	r := newRelay(v, m, side)
	end := r.run(ctx, m.Gone(), idle)
	end.member = m.Name()
	if end.again {
		v.head, v.search.Kept = r.kept, int64(len(r.kept))
		end.memberBroke = true
	}
	m.Done(end.outcome(v.search.Took, r.answered()))
	return end
}

// replays says whether what a client has said may be said to another member as long as no byte of an answer came: PostgreSQL does nothing for a
// client that it has not answered.
func (v *session) replays() bool {
	e := v.service.Config.Engine
	return e != nil && e.Postgres != nil && v.listener.TLS == nil && v.service.Config.Hold.For > 0
}

func (v *session) idle() time.Duration { return reach.Idle(v.listener, v.service) }

// log leaves a line behind.
func (v *session) log(end *ending, took time.Duration) {
	status := 200
	if end.how != telemetry.EndedOK && end.how != telemetry.EndedIdle {
		status = 503
	}
	if !v.server.o.Access.Wants(status) {
		return
	}
	v.server.o.Access.Write(&telemetry.Access{
		Time: v.began, Listener: v.listener.Name, Service: v.service.Name, Member: end.member, Client: v.from,
		Host: []byte(v.name), Proto: "TCP", Took: took, Wait: v.search.Waited, Upstream: v.search.Took,
		In: end.in, Out: end.out, Tries: v.search.Tries, Note: end.note,
	})
}

// ending is how a session ended.
type ending struct {
	how     telemetry.Ending
	note    string // why, where that is not plain
	member  string
	in, out int64 // bytes from and to the client

	again       bool // it can be brought to another member
	memberBroke bool // the member reset the connection
	clientBroke bool
}

// outcome is what the pool learns from it: only a member that broke off before it said anything has failed; one that was
// cut off says nothing.
func (e *ending) outcome(connected time.Duration, answered bool) pool.Outcome {
	o := pool.Outcome{Result: pool.OK, Took: connected, Answered: answered}
	switch {
	case e.memberBroke && e.out == 0:
		o.Result, o.Reason = pool.Failed, telemetry.ClassReset
	case (e.clientBroke || e.how == telemetry.EndedCut) && !answered:
		o.Result, o.Reason = pool.Ignored, telemetry.ClassCanceled
	}
	return o
}

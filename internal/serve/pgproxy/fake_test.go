package pgproxy

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/backstay/backstay/internal/observe/resolve"
)

// fake is a server that does what a test wants of it, and counts what it was asked.
type fake struct {
	address string
	logins  atomic.Int64
	queries atomic.Int64
}

// newFake answers each login by login (nil: let in), and each request by query, until one of them says false.
func newFake(t *testing.T, login func(n int64, b *pgproto3.Backend) bool, query func(n int64, b *pgproto3.Backend, m pgproto3.FrontendMessage) bool) *fake {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{address: ln.Addr().String()}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				f.serve(c, login, query)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); all.Wait() })
	return f
}

func (f *fake) serve(c net.Conn, login func(int64, *pgproto3.Backend) bool, query func(int64, *pgproto3.Backend, pgproto3.FrontendMessage) bool) {
	b := pgproto3.NewBackend(c, c)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	if n := f.logins.Add(1); login != nil && !login(n, b) {
		_ = b.Flush()
		return
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"})
	b.Send(&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for b.Flush() == nil {
		m, err := b.Receive()
		if err != nil {
			return
		}
		switch m.(type) {
		case *pgproto3.Terminate:
			return
		case *pgproto3.Query, *pgproto3.Sync:
			if !query(f.queries.Add(1), b, m) {
				_ = b.Flush()
				return
			}
		}
	}
}

func answer(_ int64, b *pgproto3.Backend, _ pgproto3.FrontendMessage) bool {
	b.Send(&pgproto3.CommandComplete{CommandTag: []byte("INSERT 0 1")})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return true
}

func (k *kit) fake(f *fake) {
	c := k.config.Services[0]
	c.Outlier.Off, c.Breaker.Off, c.OnMemberDown, c.DrainTimeout, c.Balance.SlowStart = true, true, "cut", 0, 0
	k.pools["db"].Set(c, []resolve.Endpoint{{Name: "fake", Address: f.address, Weight: 1}})
}

func (k *kit) simple(c *pgx.Conn, text string) error {
	_, err := c.Exec(k.t.Context(), text, pgx.QueryExecModeSimpleProtocol)
	return err
}

// What may have been done is never asked for again.
func TestUnknownOutcomeIsSaidAndNotRepeated(t *testing.T) {
	for name, c := range map[string]struct {
		query func(int64, *pgproto3.Backend, pgproto3.FrontendMessage) bool
		code  string
		says  string
	}{
		"it just goes": {func(int64, *pgproto3.Backend, pgproto3.FrontendMessage) bool { return false }, codeUnknown, "whether it was committed is not known"},
		"it goes after half an answer": {func(_ int64, b *pgproto3.Backend, _ pgproto3.FrontendMessage) bool {
			b.Send(&pgproto3.CommandComplete{CommandTag: []byte("INSERT 0 1")})
			return false
		}, codeUnknown, "whether it was committed is not known"},
		"it says that it goes": {func(_ int64, b *pgproto3.Backend, _ pgproto3.FrontendMessage) bool {
			b.Send(fatal(codeShutdown, "terminating connection due to administrator command", ""))
			return false
		}, codeShutdown, "(terminating connection due to administrator command)"},
		"it ends the session for another reason": {func(_ int64, b *pgproto3.Backend, _ pgproto3.FrontendMessage) bool {
			b.Send(fatal("57014", "its own words", ""))
			return false
		}, "57014", "its own words"},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, "", "")
			f := newFake(t, nil, c.query)
			k.fake(f)
			conn := k.connect("trusted")
			err := k.simple(conn, "INSERT")
			var e *pgconn.PgError
			if !errors.As(err, &e) || e.Code != c.code || e.Severity != "FATAL" || !strings.Contains(e.Message, c.says) {
				t.Errorf("%v", err)
			}
			if n := f.queries.Load(); n != 1 {
				t.Errorf("it was asked %d times", n)
			}
		})
	}
}

// An idle session whose server has gone goes on; what the server says on leaving is not for the client.
func TestIdleSessionGoesOn(t *testing.T) {
	k := start(t, "", "")
	one := newFake(t, nil, func(n int64, b *pgproto3.Backend, m pgproto3.FrontendMessage) bool {
		answer(n, b, m)
		b.Send(fatal(codeCrash, "terminating connection because of crash of another server process", ""))
		return false
	})
	k.fake(one)
	c := k.connect("trusted")
	for i := range int64(5) { // each time on a new session of the same server
		if err := k.simple(c, "INSERT"); err != nil {
			t.Fatal(err)
		}
		if got := one.queries.Load(); got != i+1 {
			t.Fatalf("%d requests came of %d", got, i+1)
		}
		k.until("without a server", func() bool { return k.server.Count("in").Detached == 1 })
	}
	if one.logins.Load() != 5 {
		t.Errorf("%d logins", one.logins.Load())
	}
}

// A login waits for a server that is not ready yet, and for one that breaks off.
func TestLoginIsTriedAgain(t *testing.T) {
	k := start(t, "", "")
	f := newFake(t, func(n int64, b *pgproto3.Backend) bool {
		switch n {
		case 1:
			b.Send(fatal(codeNotNow, "the database system is starting up", ""))
		case 2:
			b.Send(fatal(codeShutdown, "terminating connection due to administrator command", ""))
		case 3: // not a word
		case 4:
			b.Send(&pgproto3.AuthenticationOk{})
			b.Send(&pgproto3.ParameterStatus{Name: "in_hot_standby", Value: "on"})
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		default:
			return true
		}
		return false
	}, answer)
	k.fake(f)
	c := k.connect("trusted")
	if err := k.simple(c, "INSERT"); err != nil {
		t.Error(err)
	}
	if f.logins.Load() != 5 {
		t.Errorf("%d logins", f.logins.Load())
	}
	refuses := newFake(t, func(_ int64, b *pgproto3.Backend) bool {
		b.Send(fatal(codeTooMany, "sorry, too many clients already", ""))
		return false
	}, answer)
	k.fake(refuses)
	var e *pgconn.PgError
	if _, err := pgx.Connect(context.Background(), k.dsn("trusted")); !errors.As(err, &e) || e.Code != codeTooMany || refuses.logins.Load() != 1 {
		t.Errorf("%v after %d logins", err, refuses.logins.Load())
	}
}

// A client that has said all still gets its answer.
func TestHalfClose(t *testing.T) {
	k := start(t, "", "")
	k.fake(newFake(t, nil, answer))
	c, err := net.Dial("tcp", k.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f := pgproto3.NewFrontend(c, c)
	f.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "x"}})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	receive := func() (kinds string) {
		for {
			m, err := f.Receive()
			if err != nil {
				return kinds + " " + err.Error()
			}
			switch m.(type) {
			case *pgproto3.CommandComplete:
				kinds += "C"
			case *pgproto3.ReadyForQuery:
				return kinds + "Z"
			}
		}
	}
	if got := receive(); got != "Z" {
		t.Fatal(got)
	}
	f.Send(&pgproto3.Query{String: "INSERT"})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := receive(); got != "CZ" {
		t.Errorf("after its half-close it got %q", got)
	}
	if got := receive(); got != " unexpected EOF" {
		t.Errorf("then %q", got)
	}
}

// A session that cannot be set up again says what it was.
func TestSettingThatFailsAgain(t *testing.T) {
	k := start(t, "", "")
	set := func(_ int64, b *pgproto3.Backend, _ pgproto3.FrontendMessage) bool {
		b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SET")})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		return true
	}
	one := newFake(t, nil, set)
	two := newFake(t, nil, func(_ int64, b *pgproto3.Backend, _ pgproto3.FrontendMessage) bool {
		b.Send(&pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "22023", Message: "no such role"})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		return true
	})
	k.fake(one)
	c := k.connect("trusted")
	if err := k.simple(c, "SET ROLE gone"); err != nil {
		t.Fatal(err)
	}
	k.fake(two)
	k.until("without a server", func() bool { return k.server.Count("in").Detached == 1 })
	var e *pgconn.PgError
	if err := k.simple(c, "SELECT 1"); !errors.As(err, &e) || e.Code != "22023" || !strings.Contains(e.Message, "SET ROLE gone: no such role") {
		t.Errorf("%v", err)
	}
}

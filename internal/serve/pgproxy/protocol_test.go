package pgproxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Everything that clients do passes as it is, before a change of primary and after it.
func TestAllOfTheProtocol(t *testing.T) {
	k := start(t, "", "")
	c := k.connect("app")
	t.Run("before", func(t *testing.T) { exercise(t, c) })
	k.primary(k.b)
	k.until("without a server", func() bool { return k.server.Count("in").Detached == 1 })
	t.Run("after", func(t *testing.T) { exercise(t, c) })
	if k.on(c) != k.b {
		t.Error("not on b")
	}
}

func exercise(t *testing.T, c *pgx.Conn) {
	ctx := t.Context()
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec,
	} {
		var n int
		var s string
		if err := c.QueryRow(ctx, "SELECT $1::int + 1, repeat('x', $2)", mode, 41, 100_000).Scan(&n, &s); err != nil || n != 42 || len(s) != 100_000 {
			t.Errorf("%v: %d, %d bytes, %v", mode, n, len(s), err)
		}
	}
	rows, err := c.Query(ctx, "SELECT g, repeat('y', 200) FROM generate_series(1, 20000) g")
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for rows.Next() {
		var g int
		var s string
		if err := rows.Scan(&g, &s); err != nil {
			t.Fatal(err)
		}
		sum += g
	}
	if rows.Err() != nil || sum != 20000*20001/2 {
		t.Error(sum, rows.Err())
	}
	if _, err := c.Exec(ctx, "SELECT 1/0"); err == nil {
		t.Error("no error of a division by zero")
	}

	if _, err := c.Exec(ctx, "TRUNCATE notes"); err != nil {
		t.Fatal(err)
	}
	var in [][]any
	for i := range 20000 {
		in = append(in, []any{fmt.Sprint("note ", i)})
	}
	n, err := c.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"text"}, pgx.CopyFromRows(in))
	if err != nil || n != 20000 {
		t.Fatal(n, err)
	}
	var out bytes.Buffer
	if _, err := c.PgConn().CopyTo(ctx, &out, "COPY (SELECT text FROM notes) TO STDOUT"); err != nil || bytes.Count(out.Bytes(), []byte("\n")) != 20000 {
		t.Error(bytes.Count(out.Bytes(), []byte("\n")), err)
	}
	if _, err := c.PgConn().CopyFrom(ctx, strings.NewReader("not a number\tx\n"), "COPY notes FROM STDIN"); err == nil {
		t.Error("a COPY of nonsense works")
	}

	batch := &pgx.Batch{}
	for i := range 500 {
		batch.Queue("SELECT $1::int", i)
	}
	results := c.SendBatch(ctx, batch)
	for i := range 500 {
		var got int
		if err := results.QueryRow().Scan(&got); err != nil || got != i {
			t.Fatal(got, err)
		}
	}
	if err := results.Close(); err != nil {
		t.Error(err)
	}
	pipeline := c.PgConn().StartPipeline(ctx)
	for range 100 {
		pipeline.SendQueryParams("SELECT 1", nil, nil, nil, nil)
		if err := pipeline.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if err := pipeline.Close(); err != nil {
		t.Error(err)
	}
	if err := pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "DECLARE plain CURSOR FOR SELECT 1")
		return err
	}); err != nil {
		t.Error(err)
	}
	if big, err := c.Exec(ctx, "SELECT length($1)", strings.Repeat("z", 3<<20)); err != nil || big.RowsAffected() != 1 {
		t.Error(big, err)
	}
}

func TestCancel(t *testing.T) {
	k := start(t, "", "")
	c := k.connect("app")
	if k.on(c) != k.a {
		t.Fatal("not on a")
	}
	k.primary(k.b)
	k.until("without a server", func() bool { return k.server.Count("in").Detached == 1 })
	slept := make(chan error, 1)
	go func() {
		_, err := c.Exec(context.Background(), "SELECT pg_sleep(60)")
		slept <- err
	}()
	watch, err := pgx.Connect(t.Context(), k.b.superuser())
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close(context.Background())
	k.until("it sleeps", func() bool {
		var n int
		err := watch.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'").Scan(&n)
		return err == nil && n == 1
	})
	if err := c.PgConn().CancelRequest(t.Context()); err != nil && !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	var e *pgconn.PgError
	if err := <-slept; !errors.As(err, &e) || e.Code != "57014" {
		t.Errorf("%v", err)
	}
	if k.on(c) != k.b {
		t.Error("the session did not go on")
	}
}

func TestTiedSessionsEndByName(t *testing.T) {
	k := start(t, "", "")
	for what, text := range map[string]string{
		"LISTEN": "LISTEN x", "a temporary table": "CREATE TEMP TABLE mine ()", "an advisory lock": "SELECT pg_advisory_lock(42)",
		"a statement made by PREPARE": "PREPARE p AS SELECT 1", "a cursor WITH HOLD": "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
	} {
		c := k.connect("app")
		if _, err := c.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
		if k.server.Count("in").Tied != 1 {
			t.Errorf("%s: not tied", what)
		}
		k.primary(nil)
		k.until("without a server", func() bool { return k.server.Count("in").Detached == 1 })
		_, err := c.Exec(t.Context(), "SELECT 1")
		var e *pgconn.PgError
		if !errors.As(err, &e) || e.Code != codeShutdown || !strings.Contains(e.Message, "tied to the former one by "+what) {
			t.Errorf("%s: %v", what, err)
		}
		_ = c.Close(context.Background())
		k.primary(k.a)
		k.until("gone", func() bool { return k.server.Count("in").Sessions == 0 })
	}
}

func TestEncrypted(t *testing.T) {
	cert, key, pem := certificate(t)
	k := start(t, fmt.Sprintf(", tls: {certificates: [{cert: %q, key: %q}]}", cert, key), "")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	cfg, err := pgx.ParseConfig(strings.Replace(k.dsn("app"), "sslmode=disable", "sslmode=require", 1))
	if err != nil {
		t.Fatal(err)
	}
	cfg.TLSConfig = &tls.Config{RootCAs: roots, ServerName: "localhost"}
	c, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	exercise(t, c)
	k.primary(k.b)
	k.until("without a server", func() bool { return k.server.Count("in").Detached == 1 })
	if k.on(c) != k.b {
		t.Error("not on b")
	}
	var e *pgconn.PgError
	if _, err := pgx.Connect(t.Context(), k.dsn("app")); !errors.As(err, &e) || e.Code != "28000" {
		t.Errorf("without encryption: %v", err)
	}
	out, err := psql(strings.Replace(k.dsn("app"), "sslmode=disable", "sslmode=require", 1), "SELECT 'by psql'")
	if err != nil || !strings.Contains(out, "by psql") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := psql(strings.Replace(k.dsn("app", "channel_binding=require"), "sslmode=disable", "sslmode=require", 1), "SELECT 1"); err == nil || !strings.Contains(out, "channel binding") {
		t.Errorf("channel_binding=require: %v, %s", err, out)
	}
}

func psql(dsn string, commands ...string) (string, error) {
	args := []string{"-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	cmd := exec.Command("psql", args...)
	cmd.Env = append(os.Environ(), "PGCONNECT_TIMEOUT=20")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// libpq is what most clients are made of.
func TestPsql(t *testing.T) {
	k := start(t, "", "")
	out, err := psql(k.dsn("app"), "SELECT 1 AS one", "BEGIN", "SET LOCAL work_mem = '1MB'", "COMMIT", `\copy (SELECT generate_series(1, 3)) TO STDOUT`, `\d notes`)
	if err != nil || !strings.Contains(out, "one") || !strings.Contains(out, "1\n2\n3\n") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := psql(strings.Replace(k.dsn("app"), `"pass`, `"word`, 1), "SELECT 1"); err == nil || !strings.Contains(out, `password authentication failed for user "app"`) {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := psql(strings.Replace(k.dsn("app"), "dbname=postgres", "dbname=absent", 1), "SELECT 1"); err == nil || !strings.Contains(out, `database "absent" does not exist`) {
		t.Errorf("%v: %s", err, out)
	}
}

// Where nobody can be asked for verifiers, sessions are passed on and end with their server.
func TestWithoutVerifiers(t *testing.T) {
	k := start(t, "", "")
	k.blind.Store(true)
	c := k.connect("app")
	if k.on(c) != k.a || k.server.Count("in").Tied != 1 {
		t.Error("not tied on a")
	}
	k.primary(k.b)
	k.until("without a server", func() bool { return k.server.Count("in").Detached == 1 })
	var e *pgconn.PgError
	if _, err := c.Exec(t.Context(), "SELECT 1"); !errors.As(err, &e) || !strings.Contains(e.Message, "log in") {
		t.Errorf("%v", err)
	}
	if _, err := pgx.Connect(t.Context(), strings.Replace(k.dsn("app"), `"pass`, `"word`, 1)); !errors.As(err, &e) || e.Code != "28P01" {
		t.Errorf("a wrong password: %v", err)
	}
}

func TestIdleTimeoutAndShutdown(t *testing.T) {
	k := start(t, ", timeout: {idle: 300ms}", "")
	c := k.connect("app")
	k.until("ended", func() bool { return k.server.Live() == 0 || k.server.Count("in").Detached > 0 })
	var e *pgconn.PgError
	if _, err := c.Exec(t.Context(), "SELECT 1"); !errors.As(err, &e) || e.Code != codeIdle {
		t.Errorf("idle: %v", err)
	}

	k = start(t, "", "")
	c, busy := k.connect("app"), k.connect("app")
	if _, err := busy.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	k.stop()
	drained := make(chan error, 1)
	go func() { drained <- k.server.Drain(context.Background()) }()
	k.until("the idle one is told", func() bool { return k.server.Count("in").Detached == 1 })
	if _, err := c.Exec(t.Context(), "SELECT 1"); !errors.As(err, &e) || e.Code != codeShutdown {
		t.Errorf("shutdown: %v", err)
	}
	if _, err := busy.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Errorf("in a transaction: %v", err)
	}
	if _, err := busy.Exec(t.Context(), "COMMIT"); err != nil {
		t.Errorf("its end: %v", err)
	}
	_ = c.Close(context.Background())
	_ = busy.Close(context.Background())
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// A switchover: what is open may end, what is new waits, and nobody sees an error.
func TestFreeze(t *testing.T) {
	k := start(t, "", "")
	open, fresh := k.connect("app"), k.connect("app")
	ctx := t.Context()
	if _, err := open.Exec(ctx, "BEGIN"); err != nil {
		t.Fatal(err)
	}
	p := k.pools["db"]
	p.Freeze(true)
	done := make(chan error, 2)
	go func() {
		_, err := fresh.Exec(context.Background(), "SELECT 1")
		done <- err
	}()
	go func() {
		c, err := pgx.Connect(context.Background(), k.dsn("app"))
		if err == nil {
			err = c.Close(context.Background())
		}
		done <- err
	}()
	if _, err := open.Exec(ctx, "INSERT INTO notes (text) VALUES ('still')"); err != nil {
		t.Fatal(err)
	}
	if p.Working() != 1 {
		t.Errorf("%d at work", p.Working())
	}
	k.until("the others wait", func() bool { return p.Status().Held == 2 })
	if _, err := open.Exec(ctx, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := p.Quiet(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	k.primary(k.b)
	p.Freeze(false)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if k.on(fresh) != k.b || k.on(open) != k.b {
		t.Error("not on b")
	}
}

// The server stops, as it does in a switchover: idle sessions are told so by it, and their clients are not.
func TestServerStops(t *testing.T) {
	for _, mode := range []string{"fast", "immediate"} {
		t.Run(mode, func(t *testing.T) {
			k := start(t, "", "")
			c, busy := k.connect("app"), k.connect("app")
			if _, err := busy.Exec(t.Context(), "BEGIN"); err != nil {
				t.Fatal(err)
			}
			k.on(c)
			k.a.stop(t, mode)
			k.until("without a server", func() bool { return k.server.Count("in").Detached == 2 })
			var e *pgconn.PgError
			if _, err := busy.Exec(t.Context(), "SELECT 1"); !errors.As(err, &e) || e.Code != codeShutdown || !strings.Contains(e.Message, "rolled back") {
				t.Errorf("%v", err)
			}
			waits := make(chan *postgres, 1)
			go func() { waits <- k.on(c) }()
			fresh := make(chan error, 1)
			go func() {
				n, err := pgx.Connect(context.Background(), k.dsn("app"))
				if err == nil {
					err = n.Close(context.Background())
				}
				fresh <- err
			}()
			k.until("they wait", func() bool { return k.pools["db"].Status().Held >= 1 })
			k.primary(k.b)
			if <-waits != k.b {
				t.Error("not on b")
			}
			if err := <-fresh; err != nil {
				t.Errorf("a new session: %v", err)
			}
		})
	}
}

// An older client of a newer protocol hears which one is spoken.
func TestNewerProtocol(t *testing.T) {
	st := startup{}
	msg := &pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion32, Parameters: map[string]string{"user": "x", "_pq_.new": "1"}}
	raw, err := msg.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.read(pgproto3.ProtocolVersion32, raw[8:]); err != nil || st.user != "x" || st.database != "x" || bytes.Contains(st.packet, []byte("_pq_")) {
		t.Fatalf("%v: %+v", err, st)
	}
	if d := st.downgrade(); len(d) == 0 || d[0] != 'v' {
		t.Errorf("%q", d)
	}
	for _, bad := range []string{"", "\x00", "user\x00", "user\x00x", "user\x00x\x00", "database\x00x\x00\x00"} {
		if err := (&startup{}).read(3<<16, []byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if err := (&startup{}).read(2<<16, []byte("user\x00x\x00\x00")); err == nil {
		t.Error("protocol 2 is taken")
	}
}

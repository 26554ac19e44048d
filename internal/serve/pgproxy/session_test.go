package pgproxy

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func TestKeptOverAChange(t *testing.T) {
	k := start(t, "", "")
	c := k.connect("app", "application_name=kept")
	ctx := t.Context()
	if _, err := c.Exec(ctx, "SET search_path TO pg_catalog, public"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(ctx, "SET statement_timeout = '77s'"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Prepare(ctx, "double", "SELECT $1::int * 2"); err != nil {
		t.Fatal(err)
	}
	if k.on(c) != k.a {
		t.Fatal("not on a")
	}
	k.primary(k.b)
	k.until("detached", func() bool { return k.server.Count("in").Detached == 1 })
	var doubled int
	if err := c.QueryRow(ctx, "double", 21).Scan(&doubled); err != nil || doubled != 42 {
		t.Fatal(doubled, err)
	}
	if k.on(c) != k.b {
		t.Error("not on b")
	}
	var path, timeout, name string
	if err := c.QueryRow(ctx, "SELECT current_setting('search_path'), current_setting('statement_timeout'), current_setting('application_name')").Scan(&path, &timeout, &name); err != nil {
		t.Fatal(err)
	}
	if path != "pg_catalog, public" || timeout != "77s" || name != "kept" {
		t.Errorf("search_path %q, statement_timeout %q, application_name %q", path, timeout, name)
	}
}

func TestOpenTransactionEndsWithAWord(t *testing.T) {
	k := start(t, "", "")
	c := k.connect("app")
	if _, err := c.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	k.primary(k.b)
	k.until("without a server", func() bool { return k.server.Count("in").Detached == 1 })
	_, err := c.Exec(t.Context(), "SELECT 1")
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Code != codeShutdown || e.Severity != "FATAL" {
		t.Errorf("%v", err)
	}
}

func TestWrongAndUnknownLookAlike(t *testing.T) {
	k := start(t, "", "")
	say := func(role, word string) string {
		cfg, err := pgx.ParseConfig(k.dsn(role))
		if err != nil {
			t.Fatal(err)
		}
		cfg.Password = word
		c, err := pgx.ConnectConfig(context.Background(), cfg)
		if err == nil {
			c.Close(context.Background())
			return "let in"
		}
		var e *pgconn.PgError
		if !errors.As(err, &e) {
			return err.Error()
		}
		return e.Code + " " + e.Severity
	}
	if got := say("app", password); got != "let in" {
		t.Fatal(got)
	}
	for _, role := range []string{"app", "nobody", "trusted_not", "veteran"} {
		if got := say(role, "wrong"); got != "28P01 FATAL" {
			t.Errorf("%s: %s", role, got)
		}
	}
	if got := say("denied", "x"); got != "28000 FATAL" {
		t.Error(got)
	}
	for role, word := range map[string]string{"trusted": "", "veteran": "md5 it is", "plain": "old"} {
		if got := say(role, word); got != "let in" {
			t.Errorf("%s: %s", role, got)
		}
	}
}

// A session without a server that says goodbye needs none for that.
func TestGoodbyeWithoutAServer(t *testing.T) {
	k := start(t, "", "")
	c := k.connect("app")
	k.primary(nil)
	k.until("detached", func() bool { return k.server.Count("in").Detached == 1 })
	raw, err := c.PgConn().Hijack()
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Conn.Close()
	if _, err := raw.Conn.Write(message('X', nil)); err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(raw.Conn); err != nil || len(said) > 0 {
		t.Errorf("it was told %q, %v", said, err)
	}
	k.until("ended", func() bool { return k.server.Live() == 0 })
}

// A session that somebody has ended on a server that goes on is ended: it does not come back with its next request.
func TestTerminatedSessionEnds(t *testing.T) {
	k := start(t, "", "")
	ended, by := k.connect("app"), k.connect("app")
	var pid int
	if err := ended.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	if _, err := by.Exec(t.Context(), "SELECT pg_terminate_backend($1)", pid); err != nil {
		t.Fatal(err)
	}
	var e *pgconn.PgError
	if _, err := ended.Exec(t.Context(), "SELECT 1"); !errors.As(err, &e) || e.Code != codeShutdown || !strings.Contains(e.Message, "administrator command") {
		t.Errorf("it goes on: %v", err)
	}
	k.until("gone", func() bool { return k.server.Count("in").Detached == 0 })
	// During a change the same word is not the client's.
	moved := k.connect("app")
	if err := moved.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	direct, err := pgx.Connect(t.Context(), k.a.superuser())
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close(context.Background())
	k.pools["db"].Freeze(true)
	if _, err := direct.Exec(t.Context(), "SELECT pg_terminate_backend($1)", pid); err != nil {
		t.Fatal(err)
	}
	k.until("without a server", func() bool { return k.server.Count("in").Detached == 1 })
	k.primary(k.b)
	k.pools["db"].Freeze(false)
	if k.on(moved) != k.b {
		t.Error("not on b")
	}
}

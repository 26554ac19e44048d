package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A probe is what the probing writes showed.
type probe struct {
	last    time.Time // of the last good one
	failing time.Time // since when they fail
	problem string
}

// probing writes one row on a fresh connection every so often while the instance is a primary: a server whose sessions
// still answer may be unable to take a new one, to write or to flush.
func (e *Engine) probing(ctx context.Context) {
	for {
		e.mu.Lock()
		primary := e.process() != nil && e.seen.known && !e.seen.recovery
		every := e.o.ProbeEvery
		if e.probe.last.IsZero() || e.probe.problem != "" {
			every /= 10 // soon after a promotion, and to see it heal
		}
		e.mu.Unlock()
		if primary {
			e.probeOnce(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
	}
}

func (e *Engine) probeOnce(ctx context.Context) {
	e.mu.Lock()
	life, owed := e.life, e.owed
	e.mu.Unlock()
	began := time.Now()
	err := e.writeProbe(ctx)
	if err == nil && owed {
		err = e.writeEpoch(ctx)
	}
	full := ""
	if err == nil { // a row that fits into its page says nothing of rows that do not
		full = fullDisk(e.o.DataPath, e.data("pg_wal"))
	}
	if ctx.Err() != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.life != life || e.process() == nil {
		return
	}
	pr := &e.probe
	if err == nil && full == "" {
		if pr.problem != "" || pr.last.IsZero() {
			defer e.tell.Notify()
		}
		*pr = probe{last: began}
		return
	}
	if pr.failing.IsZero() {
		pr.failing = began
	}
	if before := pr.problem; before == "" {
		defer e.tell.Notify()
	}
	switch {
	case full != "":
		pr.problem = full
	case time.Since(pr.failing) >= e.o.ProbeTimeout || isFull(err):
		pr.problem = probeWords(err, time.Since(pr.failing))
	}
}

// writeProbe commits locally: waiting for standbys is not hanging.
func (e *Engine) writeProbe(ctx context.Context) error {
	return e.session(ctx, e.o.ProbeTimeout, func(ctx context.Context, c *pgx.Conn) error {
		tag, err := c.Exec(ctx, "UPDATE backstay.probe SET at = clock_timestamp()")
		var pg *pgconn.PgError
		if errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "3F000") || err == nil && tag.RowsAffected() == 0 {
			_, err = c.Exec(ctx, schemaSQL)
		}
		return err
	})
}

// session runs do on a fresh local connection whose commits do not wait for standbys.
func (e *Engine) session(ctx context.Context, timeout time.Duration, do func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cfg, err := e.local(timeout)
	if err != nil {
		return err
	}
	cfg.RuntimeParams["synchronous_commit"] = "local"
	cfg.RuntimeParams["default_transaction_read_only"] = "off"
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 50*time.Millisecond)
		defer cancel()
		_ = c.Close(short)
	}()
	return do(ctx, c)
}

func isFull(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "53100"
}

func probeWords(err error, since time.Duration) string {
	if isFull(err) {
		return "the disk is full: " + plainError(err)
	}
	return fmt.Sprintf("a probing write has failed for %v: %s", since.Round(100*time.Millisecond), plainError(err))
}

// schemaSQL makes what Backstay keeps in the database.
const schemaSQL = `BEGIN;
CREATE SCHEMA IF NOT EXISTS backstay;
GRANT USAGE ON SCHEMA backstay TO PUBLIC;
CREATE TABLE IF NOT EXISTS backstay.probe (id int PRIMARY KEY, at timestamptz NOT NULL);
INSERT INTO backstay.probe VALUES (1, clock_timestamp()) ON CONFLICT (id) DO UPDATE SET at = excluded.at;
CREATE TABLE IF NOT EXISTS backstay.epoch (epoch bigint PRIMARY KEY, node text NOT NULL, timeline bigint NOT NULL, at timestamptz NOT NULL);
GRANT SELECT ON backstay.epoch, backstay.probe TO PUBLIC;
COMMIT`

// writeEpoch makes the primary's epoch visible to clients and checks.
func (e *Engine) writeEpoch(ctx context.Context) error {
	reign := e.state().Reign
	err := e.session(ctx, e.o.ProbeTimeout, func(ctx context.Context, c *pgx.Conn) error {
		const insert = `INSERT INTO backstay.epoch VALUES ($1, $2, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint, clock_timestamp()) ON CONFLICT DO NOTHING`
		_, err := c.Exec(ctx, insert, int64(reign), e.o.Node)
		var pg *pgconn.PgError
		if errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "3F000") {
			if _, err = c.Exec(ctx, schemaSQL); err == nil {
				_, err = c.Exec(ctx, insert, int64(reign), e.o.Node)
			}
		}
		return err
	})
	e.mu.Lock()
	e.owed = err != nil
	e.mu.Unlock()
	return err
}

// answers says whether the instance has a process that takes sessions.
func (e *Engine) answers() bool {
	p := e.process()
	return p != nil && statusOf(*p) == ready
}

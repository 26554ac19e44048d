package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/ledger"
	"github.com/backstay/backstay/internal/decide/plan"
)

// rewind gives up what the upstream does not have, after it was put aside, and follows the upstream. Where the files
// cannot be rewound they are copied anew.
func (e *Engine) rewind(ctx context.Context, s plan.Step) error {
	if !exists(e.data("PG_VERSION")) || e.state().Copying {
		return e.clone(ctx, s)
	}
	if done, err := e.Done(ctx, s); done && err == nil {
		return nil
	}
	if err := e.persist(func(st *ledger.State) { st.Fenced, st.Unaligned, st.Upstream = false, true, s.Upstream }); err != nil {
		return err
	}
	e.stopFast(ctx, e.o.HandoverTimeout)
	if err := errors.Join(e.makeStandby(), e.configure()); err != nil {
		return err
	}
	began := time.Now()
	err := e.sameOrigin(ctx, s.Upstream)
	if err == nil {
		e.ledger.SetBusy("rewind to " + s.Upstream)
		if err := e.rescueTail(ctx, s.Upstream); err != nil { // nothing is given up that was not put aside
			return fmt.Errorf("put the diverged WAL aside: %w; to give it up, clone the instance", err)
		}
		err = e.rewindFiles(ctx, s.Upstream)
	}
	if err != nil {
		if errors.Is(err, act.ErrForeign) || ctx.Err() != nil {
			return err
		}
		e.tell.Record(act.EventRewound, fmt.Sprintf("%s cannot be rewound to %s and is copied anew", e.o.Node, s.Upstream), err.Error(), nil)
		return e.clone(ctx, s)
	}
	if err := errors.Join(e.makeStandby(), e.persist(func(st *ledger.State) { st.Unaligned = false })); err != nil {
		return err
	}
	e.mu.Lock()
	e.seen = facts{}
	e.mu.Unlock()
	e.tell.Record(act.EventRewound, fmt.Sprintf("%s was rewound to %s", e.o.Node, s.Upstream), fmt.Sprintf("in %v", time.Since(began).Round(time.Millisecond)), nil)
	return e.start(ctx)
}

// sameOrigin waits until the upstream is there and shows its timeline in its control file, where pg_rewind looks for it,
// and checks that its data comes from where ours does.
func (e *Engine) sameOrigin(ctx context.Context, upstream string) error {
	own, err := e.controldata()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cfg, err := e.remote(upstream, "postgres")
	c, err := connect(ctx, cfg, err)
	if err != nil {
		return fmt.Errorf("reach %s: %w", upstream, err)
	}
	defer func() { _ = c.Close(ctx) }()
	return act.Poll(ctx, func() (bool, error) {
		var system string
		var settled bool
		err := c.QueryRow(ctx, `SELECT (SELECT system_identifier::text FROM pg_control_system()),
 pg_is_in_recovery() OR (SELECT lpad(to_hex(timeline_id), 8, '0') FROM pg_control_checkpoint()) = lower(substr(CASE WHEN pg_is_in_recovery() THEN '' ELSE pg_walfile_name(pg_current_wal_lsn()) END, 1, 8))`).Scan(&system, &settled)
		if err != nil {
			return false, err
		}
		if system != own["Database system identifier"] {
			return false, fmt.Errorf("%s has %s, here is %s: %w", upstream, system, own["Database system identifier"], act.ErrForeign)
		}
		return settled, nil
	})
}

// rewindFiles runs pg_rewind.
func (e *Engine) rewindFiles(ctx context.Context, upstream string) error {
	e.mu.Lock()
	o := e.o
	e.mu.Unlock()
	if err := e.recoverCleanly(ctx, upstream); err != nil {
		return err
	}
	args := []string{"-D", o.DataPath, "--source-server=" + e.conninfo(o, upstream, rewinder, o.Node)}
	cmd := e.command(ctx, "pg_rewind", append(args, "--dry-run")...)
	var words tail
	cmd.Stderr = &words
	cmd.Stdout = &words
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("pg_rewind: %w: %s", err, lastLines(string(words.text), 2))
	}
	if strings.Contains(string(words.text), "no rewind required") {
		return e.futile(upstream)
	}
	e.vain = vain{}
	if err := e.checkRoom(); err != nil {
		return err
	}
	if err := e.persist(func(st *ledger.State) { st.Copying = true }); err != nil {
		return err
	}
	// It is not cut short by a newer step: it takes seconds, and what it leaves behind half done is of no use.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Hour)
	defer cancel()
	if _, err := run(e.command(ctx, "pg_rewind", args...)); err != nil {
		return err
	}
	return errors.Join(e.makeStandby(), e.scrub(), e.persist(func(st *ledger.State) { st.Copying = false }))
}

// vain counts rewinds that had nothing to do. Only the step at work uses it.
type vain struct {
	upstream string
	epoch    uint64
	times    int
	first    time.Time
}

// vainTimes and vainFor are how often and for how long there may be nothing to rewind and yet no stream, before the files
// are copied anew: pg_rewind knows timelines, not what else may be wrong with them.
const (
	vainTimes = 3
	vainFor   = 5 * time.Second
)

// futile says when it is of no use to look for anything to rewind once more.
func (e *Engine) futile(upstream string) error {
	if epoch := e.state().Epoch; e.vain.upstream != upstream || e.vain.epoch != epoch {
		e.vain = vain{upstream: upstream, epoch: epoch, first: time.Now()}
	}
	e.vain.times++
	if since := time.Since(e.vain.first); e.vain.times >= vainTimes && since >= vainFor {
		times := e.vain.times
		e.vain = vain{}
		return fmt.Errorf("it does not stream, although %d times in %v there was nothing to rewind", times, since.Round(time.Second))
	}
	return nil
}

// settleStandby brings a crashed standby's files into a clean state as a standby of nobody: what a single-user server
// would write at their end, on the timeline of a primary that goes on writing there, nothing could tell from the
// primary's own.
func (e *Engine) settleStandby(ctx context.Context, upstream string) error {
	if err := errors.Join(e.persist(func(st *ledger.State) { st.Upstream = "" }), e.makeStandby()); err != nil {
		return err
	}
	err := e.start(ctx)
	e.stopFast(ctx, e.o.StopTimeout)
	return errors.Join(err, e.persist(func(st *ledger.State) { st.Upstream = upstream }))
}

// recoverCleanly brings a crashed instance's files into the clean state that pg_rewind asks for: a primary's in single-user
// mode.
func (e *Engine) recoverCleanly(ctx context.Context, upstream string) error {
	c, err := e.controldata()
	if err != nil {
		return err
	}
	if state := c["Database cluster state"]; strings.HasPrefix(state, "shut down") {
		return nil
	}
	// A copy that was never started is a standby's, although it says what its origin was: that it is in production.
	if strings.HasPrefix(c["Database cluster state"], "in archive recovery") || exists(e.data("backup_label")) {
		return e.settleStandby(ctx, upstream)
	}
	// A single-user server does not start on a standby's data. Nobody can connect to it meanwhile.
	if err := e.removeData("standby.signal"); err != nil {
		return err
	}
	cmd := e.command(ctx, "postgres", "--single", "-D", e.o.DataPath, "-c", "config_file="+e.conf("postgresql.conf"),
		"-c", "synchronous_standby_names=", "template1")
	cmd.Stdin = strings.NewReader("\n")
	_, err = run(cmd)
	return errors.Join(err, e.makeStandby())
}

// checkRoom refuses what would end in the middle: a rewind that is interrupted leaves data that must be cloned.
func (e *Engine) checkRoom() error {
	d, err := diskOf(e.o.DataPath)
	if err == nil && d.free < 64<<20 {
		err = fmt.Errorf("only %d MiB are free on the disk of %s: make room", d.free>>20, e.o.DataPath)
	}
	return err
}

// upstreamNames asks the upstream which tables the files of a diverged tail belong to.
func (e *Engine) upstreamNames(ctx context.Context, upstream string, files map[relation]int) map[relation]string {
	names := map[relation]string{}
	cfg, err := e.remote(upstream, "postgres")
	c, err := connect(ctx, cfg, err)
	if err != nil {
		return names
	}
	databases := map[uint32]string{}
	rows, err := c.Query(ctx, "SELECT oid::bigint, datname FROM pg_database WHERE datallowconn")
	if err == nil {
		var oid int64
		var name string
		_, _ = pgx.ForEachRow(rows, []any{&oid, &name}, func() error { databases[uint32(oid)] = name; return nil })
	}
	_ = c.Close(ctx)
	for oid, database := range databases {
		cfg, err := e.remote(upstream, database)
		c, err := connect(ctx, cfg, err)
		if err != nil {
			continue
		}
		for r := range files {
			var name *string
			tablespace := r.tablespace
			if r.database != oid {
				continue
			}
			if tablespace == 1663 { // pg_default, which relations name as 0
				tablespace = 0
			}
			if err := c.QueryRow(ctx, "SELECT pg_filenode_relation($1::bigint::oid, $2::bigint::oid)::regclass::text", int64(tablespace), int64(r.file)).Scan(&name); err == nil && name != nil {
				names[r] = database + "." + *name
			}
		}
		_ = c.Close(ctx)
	}
	return names
}

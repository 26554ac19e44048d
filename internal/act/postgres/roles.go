package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/daemon"
	"github.com/backstay/backstay/internal/act/ledger"
	"github.com/backstay/backstay/internal/decide/plan"
)

// fence makes sure that nothing older than the epoch is confirmed by this instance: the epoch is on disk (admit), the
// password for a new stream is gone, and then the stream there is. A primary of an older epoch is stopped at once and
// marked as a standby: sessions of one that merely refuses new writes could still finish what they began.
func (e *Engine) fence(ctx context.Context, s plan.Step) error {
	st := e.state()
	if !exists(e.data("PG_VERSION")) {
		return e.persist(func(st *ledger.State) { st.Fenced, st.Upstream = true, "" })
	}
	standby := exists(e.data("standby.signal"))
	if !standby && st.Reign == s.Epoch && st.Reign > 0 {
		return nil // the primary of this very epoch
	}
	if !standby {
		e.stopNow(ctx)
		if err := e.makeStandby(); err != nil {
			return err
		}
	}
	if err := e.persist(func(st *ledger.State) { st.Upstream = "" }); err != nil {
		return err
	}
	began := time.Now()
	if err := e.silence(ctx); err != nil {
		return err
	}
	if err := e.persist(func(st *ledger.State) { st.Fenced, st.Upstream = true, "" }); err != nil {
		return err
	}
	e.tell.Record(act.EventFenced, fmt.Sprintf("%s confirms nothing older than epoch %d", e.o.Node, s.Epoch), "", map[string]any{"took": time.Since(began), "epoch": s.Epoch})
	return nil
}

// silence drops the stream and learns how far the instance is; one with which that does not work is stopped. What does
// not run confirms nothing, and its files say how far it is.
func (e *Engine) silence(ctx context.Context) error {
	if e.process() != nil {
		err := e.dropStream(ctx)
		if err == nil {
			err = e.refresh(ctx)
		}
		if err == nil {
			return nil
		}
		e.tell.Record(act.EventForced, fmt.Sprintf("the stream of %s could not be dropped: it is stopped", e.o.Node), plainError(err), nil)
		e.stopNow(ctx)
	}
	if err := e.configure(); err != nil {
		return err
	}
	d := e.readDown()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.process() == nil {
		e.down = &d
	}
	return nil
}

// dropStream ends the walreceiver for good.
func (e *Engine) dropStream(ctx context.Context) error {
	if err := e.reload(); err != nil {
		if errors.Is(err, act.ErrNotRunning) {
			return nil
		}
		return err
	}
	p := e.process()
	if p == nil || statusOf(*p) != ready {
		return fmt.Errorf("the instance does not answer")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	gone := 0
	return act.Poll(ctx, func() (bool, error) {
		var pid int
		err := e.query(ctx, e.o.QueryTimeout, func(ctx context.Context, c *pgx.Conn) error {
			return c.QueryRow(ctx, `SELECT COALESCE((SELECT pid FROM pg_stat_activity WHERE backend_type = 'walreceiver' LIMIT 1), 0)`).Scan(&pid)
		})
		if pid == 0 {
			gone++ // it may have been on its way when it was looked for
			return gone > 2, err
		}
		gone = 0
		if w, err := daemon.Identify(pid, e.o.DataPath); err == nil {
			_ = w.Signal(syscall.SIGTERM) // it flushes what it has before it ends
		}
		return false, err
	})
}

// promote makes the fenced standby the primary of the step's epoch. The step's set is in force before the first write.
func (e *Engine) promote(ctx context.Context, s plan.Step) error {
	if !exists(e.data("PG_VERSION")) {
		return errors.New("there is no data to promote: create or clone it")
	}
	if !exists(e.data("standby.signal")) { // done before
		return errors.Join(e.start(ctx), e.persist(func(st *ledger.State) { st.Promoting = false }))
	}
	began := time.Now()
	if err := e.persist(func(st *ledger.State) {
		st.Reign, st.Upstream, st.SyncNames, st.SyncQuorum, st.Promoting, st.Unaligned = s.Epoch, "", slices.Clone(s.Names), s.Quorum, true, false
	}); err != nil {
		return err
	}
	if e.process() == nil {
		if err := e.start(ctx); err != nil {
			return err
		}
	} else if err := e.reload(); err != nil {
		return err
	}
	if err := e.becomePrimary(ctx); err != nil {
		return err
	}
	if err := e.persist(func(st *ledger.State) { st.Promoting = false }); err != nil {
		return err
	}
	e.mu.Lock()
	e.owed, e.proven = true, true // see parameters for why the set is in force
	e.mu.Unlock()
	took := time.Since(began)
	if err := e.writeEpoch(ctx); err != nil {
		e.log.Warn("the epoch could not be written yet", "error", err)
	}
	e.tell.Record(act.EventPromoted, fmt.Sprintf("%s is the primary of epoch %d", e.o.Node, s.Epoch), fmt.Sprintf("promoted in %v", took.Round(time.Millisecond)), map[string]any{"epoch": s.Epoch})
	e.settle()
	return nil
}

// becomePrimary asks the postmaster to promote, as pg_ctl does, and waits until it takes writes. Once asked it cannot be
// called off: where it does not come about the instance is stopped, so that it does not come about later.
func (e *Engine) becomePrimary(ctx context.Context) error {
	if err := e.ready(ctx); err != nil {
		return err
	}
	p, gone := e.sup.Current()
	if p == nil {
		return act.ErrNotRunning
	}
	if err := errors.Join(os.WriteFile(e.data("promote"), nil, 0o600), e.acc.Own(e.data("promote"))); err != nil {
		return err
	}
	if err := p.Signal(syscall.SIGUSR1); err != nil {
		return err
	}
	asked, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.o.StopTimeout)
	defer cancel()
	err := act.Poll(asked, func() (bool, error) {
		select {
		case <-gone:
			return false, fmt.Errorf("PostgreSQL ended while it was promoted: %s", e.sup.LastWords())
		default:
		}
		if exists(e.data("standby.signal")) {
			return false, nil
		}
		err := e.refresh(asked)
		e.mu.Lock()
		defer e.mu.Unlock()
		return err == nil && !e.seen.recovery, nil
	})
	if err != nil {
		e.stopNow(ctx)
	}
	return err
}

// settle has what may take its time after a promotion done by Run: slots for the peers, and a checkpoint, without which
// pg_rewind of others does not see the new timeline.
func (e *Engine) settle() {
	select {
	case e.fresh <- struct{}{}:
	default:
	}
}

// demote stops a primary, all of whose WAL the standbys get first, and starts it as a standby of nobody. It does not wait
// until that answers: whoever takes over need not.
func (e *Engine) demote(ctx context.Context, s plan.Step) error {
	if !exists(e.data("PG_VERSION")) {
		return errors.New("there is no data to demote")
	}
	if !exists(e.data("standby.signal")) {
		if e.answers() {
			if !e.ledger.Fresh() { // otherwise the stop would write it all out with the sessions gone
				if err := e.checkpoint(ctx, s); err != nil {
					e.log.Warn("checkpoint before demotion", "error", err)
				}
			}
		}
		e.stopFast(ctx, e.o.HandoverTimeout)
		if err := errors.Join(e.persist(func(st *ledger.State) { st.Upstream = "" }), e.makeStandby()); err != nil {
			return err
		}
	}
	return e.launch()
}

// follow changes the upstream, without a restart where the instance runs.
func (e *Engine) follow(ctx context.Context, s plan.Step) error {
	if !exists(e.data("PG_VERSION")) {
		return errors.New("there is no data that could follow: clone it")
	}
	if _, _, err := e.peer(s.Upstream); err != nil {
		return err
	}
	if st := e.state(); e.process() != nil && st.Upstream != "" && (st.Upstream != s.Upstream || st.Held != s.Epoch) {
		if err := e.persist(func(st *ledger.State) { st.Upstream = "" }); err != nil {
			return err
		}
		if err := e.silence(ctx); err != nil { // the old stream may be of an older primary
			return err
		}
	}
	if err := e.persist(func(st *ledger.State) { st.Fenced, st.Unaligned, st.Upstream = false, false, s.Upstream }); err != nil {
		return err
	}
	if e.process() == nil {
		return e.launch()
	}
	return e.reload()
}

// setSync changes the synchronous set and returns when it is in force.
func (e *Engine) setSync(ctx context.Context, s plan.Step) error {
	before := e.state()
	if done, err := e.Done(ctx, s); done && err == nil {
		return nil
	}
	if err := e.persist(func(st *ledger.State) { st.SyncNames, st.SyncQuorum = slices.Clone(s.Names), s.Quorum }); err != nil {
		return err
	}
	if err := e.reload(); err != nil {
		return err
	}
	want := syncNames(s.Names, s.Quorum)
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := act.Poll(wait, func() (bool, error) {
		var now string
		err := e.query(wait, e.o.ProbeTimeout, func(ctx context.Context, c *pgx.Conn) error {
			return c.QueryRow(ctx, "SELECT current_setting('synchronous_standby_names')").Scan(&now)
		})
		return now == want, err
	})
	if err != nil {
		return fmt.Errorf("the synchronous set is written but not known to be in force: %w", err)
	}
	// The walsenders are told together with this session's backend. One that was just looking at an answer may finish that.
	settle := time.NewTimer(20 * time.Millisecond)
	defer settle.Stop()
	select {
	case <-settle.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	e.mu.Lock()
	proven := e.proven
	e.mu.Unlock()
	if s.Quorum > 0 && (before.SyncQuorum == 0 || !proven) {
		// Whether commits wait at all is a flag that the checkpointer keeps. It reads the configuration before it does what
		// it is asked for.
		if err := e.checkpoint(ctx, s); err != nil {
			return fmt.Errorf("the synchronous set is written but not known to be in force: %w", err)
		}
	}
	e.mu.Lock()
	e.proven = s.Quorum > 0
	e.mu.Unlock()
	return nil
}

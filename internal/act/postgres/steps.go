package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/decide/plan"
)

// admit refuses what must not be done, and has the epoch of what may on disk before anything else happens.
func (e *Engine) admit(s plan.Step) error {
	if !slices.Contains(plan.EngineKinds, s.Kind) {
		return act.ErrUnknown
	}
	st := e.state()
	if s.Epoch < st.Epoch {
		return fmt.Errorf("it has epoch %d: %w", st.Epoch, act.ErrStale)
	}
	empty, standby := !exists(e.data("PG_VERSION")), exists(e.data("standby.signal"))
	reigns := st.Reign > 0 && st.Reign == s.Epoch
	switch {
	case s.Kind == plan.Promote && !reigns && (!st.Fenced || st.Epoch != s.Epoch):
		return act.ErrNotFenced
	case (s.Kind == plan.Start || s.Kind == plan.Restart) && !empty && !standby && !reigns:
		return fmt.Errorf("it was primary under epoch %d: fence it and promote it, or let it follow: %w", st.Reign, act.ErrNotFenced)
	case s.Kind == plan.Create && !empty && !reigns && (st.Reign > 0 || standby || st.Upstream != ""):
		return act.ErrNotEmpty // where it never reigned it is a cluster to adopt
	case s.Kind == plan.Follow && !empty && !standby:
		return fmt.Errorf("it is a primary, or was: demote it first: %w", act.ErrRole)
	case st.Unaligned && !empty && (s.Kind == plan.Start || s.Kind == plan.Restart):
		return errUnaligned
	case st.Torn && slices.Contains([]plan.Kind{plan.Start, plan.Restart, plan.Promote, plan.Demote, plan.Follow}, s.Kind):
		return errTorn
	case s.Kind == plan.SetSync && e.process() == nil:
		return act.ErrNotRunning
	case s.Kind == plan.SetSync && standby:
		return act.ErrRole
	}
	if s.Upstream == e.o.Node || s.Upstream == "" && (s.Kind == plan.Follow || s.Kind == plan.Clone || s.Kind == plan.Rewind) {
		return fmt.Errorf("upstream %q: %w", s.Upstream, act.ErrRole)
	}
	if s.Epoch == st.Epoch {
		return nil
	}
	return e.persist(func(st *state) { st.Epoch, st.Fenced = s.Epoch, false })
}

func (e *Engine) perform(ctx context.Context, s plan.Step) error {
	e.forget()
	defer func() {
		if s.Kind != plan.Fence {
			e.forget()
		}
	}()
	switch s.Kind {
	case plan.Create:
		return e.create(ctx, s)
	case plan.Clone:
		return e.clone(ctx, s)
	case plan.Rewind:
		return e.rewind(ctx, s)
	case plan.Start:
		return e.start(ctx)
	case plan.Stop:
		return e.stop(ctx, s)
	case plan.Restart:
		e.stopProcess(ctx, syscall.SIGINT, e.o.StopTimeout)
		return e.start(ctx)
	case plan.Promote:
		return e.promote(ctx, s)
	case plan.Demote:
		return e.demote(ctx)
	case plan.Follow:
		return e.follow(ctx, s)
	case plan.Fence:
		return e.fence(ctx, s)
	case plan.SetSync:
		return e.setSync(ctx, s)
	default:
		return e.checkpoint(ctx)
	}
}

// forget drops what the files of the stopped instance said: a step may change them.
func (e *Engine) forget() {
	e.mu.Lock()
	e.down = nil
	e.mu.Unlock()
}

// Done says whether a step's effect is there already.
func (e *Engine) Done(ctx context.Context, s plan.Step) (bool, error) {
	if err := e.init(); err != nil {
		return false, err
	}
	st := e.state()
	if s.Epoch < st.Epoch {
		return false, fmt.Errorf("%s: it has epoch %d: %w", s, st.Epoch, act.ErrStale)
	}
	standby := exists(e.data("standby.signal"))
	reigns := st.Reign == s.Epoch && !standby
	switch s.Kind {
	case plan.Stop:
		return e.process() == nil, nil
	case plan.Demote:
		return standby && e.process() != nil, nil
	case plan.Fence:
		return st.Held == s.Epoch && (st.Fenced || reigns), nil
	case plan.Checkpoint:
		e.mu.Lock()
		defer e.mu.Unlock()
		return time.Since(e.saved) < 30*time.Second, nil
	case plan.Start, plan.Restart:
		return e.restarted(ctx, s.Kind == plan.Restart)
	case plan.Create, plan.Promote, plan.Clone, plan.Follow, plan.Rewind, plan.SetSync:
	default:
		return false, fmt.Errorf("%s: %w", s, act.ErrUnknown)
	}
	o, err := e.Observe(ctx)
	if err != nil || !o.Running {
		return false, err
	}
	switch s.Kind {
	case plan.Create, plan.Promote:
		return o.Role == plan.Primary && reigns && e.answers() && o.SystemID != "", nil
	case plan.SetSync:
		e.mu.Lock()
		defer e.mu.Unlock()
		return o.Role == plan.Primary && o.SyncQuorum == s.Quorum && slices.Equal(o.SyncNames, s.Names) && (s.Quorum == 0 || e.proven), nil
	}
	return st.Held == s.Epoch && o.Role == plan.Standby && o.Upstream == s.Upstream && o.Streaming, nil
}

// restarted says whether the instance runs, and with pending whether no parameter waits for a restart.
func (e *Engine) restarted(ctx context.Context, pending bool) (bool, error) {
	if e.process() == nil || !pending || !e.answers() {
		return e.process() != nil && !pending, nil
	}
	var waits bool
	err := e.query(ctx, e.o.ProbeTimeout, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_settings WHERE pending_restart)").Scan(&waits)
	})
	return err == nil && !waits, err
}

func (e *Engine) stop(ctx context.Context, s plan.Step) error {
	if s.Mode == plan.Immediate {
		e.stopProcess(ctx, syscall.SIGQUIT, 0)
	} else {
		e.stopProcess(ctx, syscall.SIGINT, e.o.StopTimeout)
	}
	return nil
}

// checkpoint writes out what a fast stop would have to.
func (e *Engine) checkpoint(ctx context.Context) error {
	if e.process() == nil {
		return act.ErrNotRunning
	}
	err := e.session(ctx, 10*time.Minute, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "CHECKPOINT")
		return err
	})
	if err == nil {
		e.mu.Lock()
		e.saved = time.Now()
		e.mu.Unlock()
	}
	return err
}

// makeStandby marks the data as a standby's: whoever starts it from now on, it takes no writes.
func (e *Engine) makeStandby() error {
	if !exists(e.data("PG_VERSION")) {
		return nil
	}
	e.mu.Lock()
	acc := e.acc
	e.mu.Unlock()
	return errors.Join(acc.writeDurably(e.data("standby.signal"), nil, 0o600), e.removeData("recovery.signal", "promote"))
}

func (e *Engine) removeData(names ...string) error {
	for _, n := range names {
		if err := os.Remove(e.data(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// poll looks until ok, often: what it waits for takes milliseconds.
func poll(ctx context.Context, ok func() (bool, error)) error {
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

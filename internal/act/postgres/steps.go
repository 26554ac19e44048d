package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/ledger"
	"github.com/backstay/backstay/internal/decide/plan"
)

// errUnaligned refuses to start what may have more than its upstream.
var errUnaligned = errors.New("a rewind or a clone was begun and not finished: rewind it, or clone it")

// Do performs a step. One at a time is under way; another waits its turn or for ctx. One of a newer epoch ends what an
// older epoch is still busy with.
func (e *Engine) Do(ctx context.Context, s plan.Step) error {
	if err := e.init(); err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	return e.ledger.Do(ctx, s)
}

// condition is what the files say: standby.signal, which the server removes itself when it is promoted.
func (e *Engine) condition() ledger.Condition {
	return ledger.Condition{Empty: !exists(e.data("PG_VERSION")), Running: e.process() != nil, Standby: exists(e.data("standby.signal"))}
}

// refuse says why a step is not for files that a rewind or a clone has left unfinished.
func refuse(s plan.Step, st ledger.State, c ledger.Condition) error {
	switch s.Kind {
	case plan.Start, plan.Restart, plan.Demote, plan.Follow:
		if st.Copying {
			return ledger.ErrCopying
		}
	}
	if st.Unaligned && !c.Empty && (s.Kind == plan.Start || s.Kind == plan.Restart) {
		return errUnaligned
	}
	return nil
}

// before forgets what the files said and ends a promotion that a dead node process may have asked for, so that it does not
// come about behind the step.
func (e *Engine) before(ctx context.Context, s plan.Step) error {
	e.sup.Adopt(false) // whose start the node process before this one did not live to see
	e.forget()
	if !e.state().Promoting || s.Kind == plan.Promote {
		return nil
	}
	if exists(e.data("standby.signal")) {
		e.stopNow(ctx)
		if exists(e.data("standby.signal")) {
			if err := e.makeStandby(); err != nil { // without the request
				return err
			}
		}
	}
	return e.persist(func(st *ledger.State) { st.Promoting = false })
}

// forget drops what the files of the stopped instance said: a step may change them.
func (e *Engine) forget() {
	e.mu.Lock()
	e.down = nil
	e.reading++
	e.mu.Unlock()
}

// Done says whether a step's effect is there already.
func (e *Engine) Done(ctx context.Context, s plan.Step) (bool, error) {
	if err := e.init(); err != nil {
		return false, err
	}
	done, err := e.ledger.Done(ctx, s)
	if !done || err != nil {
		return false, err
	}
	switch s.Kind {
	case plan.Restart:
		return e.restarted(ctx)
	case plan.Create, plan.Promote:
		return e.answers(), nil
	case plan.SetSync:
		e.mu.Lock()
		defer e.mu.Unlock()
		return s.Quorum == 0 || e.proven, nil
	}
	return true, nil
}

// restarted says whether no parameter waits for a restart.
func (e *Engine) restarted(ctx context.Context) (bool, error) {
	if !e.answers() {
		return false, nil
	}
	var waits bool
	err := e.query(ctx, e.o.ProbeTimeout, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_settings WHERE pending_restart)").Scan(&waits)
	})
	return err == nil && !waits, err
}

func (e *Engine) stop(ctx context.Context, s plan.Step) error {
	if s.Mode == plan.Immediate {
		e.stopNow(ctx)
	} else {
		e.stopFast(ctx, e.o.StopTimeout)
	}
	return nil
}

func (e *Engine) resume(ctx context.Context, _ plan.Step) error { return e.start(ctx) }

func (e *Engine) restart(ctx context.Context, _ plan.Step) error {
	e.stopFast(ctx, e.o.StopTimeout)
	return e.start(ctx)
}

// checkpoint writes out what a fast stop would have to.
func (e *Engine) checkpoint(ctx context.Context, _ plan.Step) error {
	if e.process() == nil {
		return act.ErrNotRunning
	}
	err := e.session(ctx, 10*time.Minute, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "CHECKPOINT")
		return err
	})
	if err == nil {
		e.ledger.Saved()
	}
	return err
}

// makeStandby marks the data as a standby's: whoever starts it from now on, it takes no writes.
func (e *Engine) makeStandby() error {
	if !exists(e.data("PG_VERSION")) {
		return nil
	}
	return errors.Join(e.acc.Write(e.data("standby.signal"), nil, 0o600), e.removeData("recovery.signal", "promote"))
}

func (e *Engine) removeData(names ...string) error {
	for _, n := range names {
		if err := remove(e.data(n)); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a file that need not be there.
func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

package redis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/ledger"
	"github.com/backstay/backstay/internal/decide/plan"
)

// rewind gives up what the upstream does not have, after it was put aside.
func (e *Engine) rewind(ctx context.Context, s plan.Step) error {
	if e.empty() {
		return e.clone(ctx, s)
	}
	if _, err := e.peer(s.Upstream); err != nil {
		return err
	}
	if err := e.standDown(ctx); err != nil {
		return err
	}
	if err := e.launch(ctx); err != nil { // such as an append-only file that cannot be read
		e.log.Warn("what is there does not start, and is cloned over", "error", err)
		return e.clone(ctx, s)
	}
	if err := e.turnTo(ctx, s); err != nil {
		return err
	}
	if err := e.attach(ctx, s.Upstream, true); err != nil {
		return err
	}
	if err := e.awaitStream(ctx, s); err != nil {
		return err
	}
	e.tell.Record(act.EventRewound, fmt.Sprintf("%s gave up what %s does not have, and follows it", e.o.Node, s.Upstream), "", nil)
	return nil
}

// standDown makes a standby of whatever it is.
func (e *Engine) standDown(ctx context.Context) error {
	if e.ledger.State().Standby {
		return nil
	}
	if e.running() && e.detach(ctx) != nil {
		e.sup.Kill(ctx)
	}
	return e.ledger.Update(func(st *ledger.State) { st.Standby = true })
}

// clone copies the upstream's data in place of what is there; a healthy follower is left alone.
func (e *Engine) clone(ctx context.Context, s plan.Step) error {
	upstream, err := e.peer(s.Upstream)
	if err != nil {
		return err
	}
	if done, err := e.Done(ctx, s); err == nil && done {
		return nil
	}
	if st, f := e.ledger.State(), e.facts(); e.running() && st.Upstream == s.Upstream && st.Held == s.Epoch && f.upstream() == upstream && (f.linkUp || f.syncing) {
		return e.awaitStream(ctx, s) // it is at it already
	}
	if _, err := e.lookAt(ctx, upstream); err != nil {
		return fmt.Errorf("%s cannot be copied from: %w", s.Upstream, err)
	}
	if err := e.standDown(ctx); err != nil {
		return err
	}
	if !e.empty() {
		if e.running() {
			e.stop(ctx)
		}
		if err := e.rescue("a clone was ordered"); err != nil {
			e.log.Warn("what the clone replaces could not be put aside", "error", err)
		}
	}
	e.sup.Kill(ctx)
	err = e.ledger.Update(func(st *ledger.State) { st.Fenced, st.Standby, st.Upstream, st.Copying = false, true, s.Upstream, true })
	if err == nil {
		err = errors.Join(os.RemoveAll(e.data("appendonlydir")), os.RemoveAll(e.data("dump.rdb")))
	}
	if err == nil {
		err = e.launch(ctx)
	}
	if err == nil {
		err = e.attach(ctx, s.Upstream, true)
	}
	if err == nil {
		err = e.awaitStream(ctx, s)
	}
	if err != nil {
		return err
	}
	e.tell.Record(act.EventCloned, fmt.Sprintf("%s has a copy of the data of %s", e.o.Node, s.Upstream), "", nil)
	return nil
}

// awaitStream waits until what the upstream has is here, and on disk. It gives up where nothing has moved for a while.
func (e *Engine) awaitStream(ctx context.Context, s plan.Step) error {
	const patience = 30 * time.Second
	moved, last := time.Now(), int64(-1)
	return act.Poll(ctx, func() (bool, error) {
		if !e.running() {
			return false, errors.New("Redis ended while it copied")
		}
		if err := e.refresh(ctx); err != nil {
			return false, nil
		}
		e.tend()
		f := e.facts()
		if f.linkUp && !e.ledger.State().Copying {
			return true, nil
		}
		if f.copied != last || f.loading || f.rewriting {
			moved, last = time.Now(), f.copied
		}
		e.ledger.SetBusy(fmt.Sprintf("%s %d%%", s.Kind, f.copied))
		if time.Since(moved) > patience {
			return false, fmt.Errorf("nothing came from %s for %v: %s", s.Upstream, patience, e.sup.LastWords())
		}
		return false, nil
	})
}

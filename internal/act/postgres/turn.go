package postgres

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/decide/plan"
)

// errTorn refuses what needs whole files.
var errTorn = errors.New("a rewind was begun and not finished, so the files are of no use: clone it")

// errUnaligned refuses to start what may have more than its upstream.
var errUnaligned = errors.New("a rewind or a clone was begun and not finished: rewind it, or clone it")

// An underway step gives way to one of a newer epoch.
type underway struct {
	epoch  uint64
	cancel context.CancelCauseFunc
}

// Do performs a step. One at a time is under way; another waits its turn or for ctx. One of a newer epoch ends what an
// older epoch is still busy with.
func (e *Engine) Do(ctx context.Context, s plan.Step) error {
	if err := e.init(); err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := e.takeTurn(ctx, s); err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	defer e.passTurn()
	e.mu.Lock()
	e.step = &underway{s.Epoch, cancel}
	closed := e.closed
	e.mu.Unlock()
	if closed {
		return fmt.Errorf("%s: %w", s, errClosed)
	}
	if err := e.admit(s); err != nil {
		if s.Kind == plan.Fence && !errors.Is(err, act.ErrStale) { // what cannot be promised can still be done
			e.stopProcess(ctx, syscall.SIGQUIT, 0)
			err = fmt.Errorf("the instance was stopped, but is not fenced: %w", err)
		}
		return fmt.Errorf("%s: %w", s, err)
	}
	e.setBusy(string(s.Kind))
	defer e.setBusy("")
	began := time.Now()
	err := e.callOff(ctx, s)
	if err == nil {
		err = e.perform(ctx, s)
	}
	if err != nil && errors.Is(context.Cause(ctx), act.ErrStale) {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	if err == nil {
		err = e.hold(s)
	}
	e.notify()
	e.log.Debug("step", "step", s.String(), "took", time.Since(began), "error", err)
	if err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	return nil
}

// callOff ends a promotion that a dead node process may have asked for, so that it does not come about behind the step.
func (e *Engine) callOff(ctx context.Context, s plan.Step) error {
	if !e.state().Promoting || s.Kind == plan.Promote {
		return nil
	}
	if exists(e.data("standby.signal")) {
		e.stopProcess(ctx, syscall.SIGQUIT, 0)
		if exists(e.data("standby.signal")) {
			if err := e.makeStandby(); err != nil { // without the request
				return err
			}
		}
	}
	return e.persist(func(st *state) { st.Promoting = false })
}

func (e *Engine) takeTurn(ctx context.Context, s plan.Step) error {
	for {
		e.mu.Lock()
		closed := e.closed
		if e.step != nil && e.step.epoch < s.Epoch {
			e.step.cancel(act.ErrStale)
		}
		e.mu.Unlock()
		if closed {
			return errClosed
		}
		again := time.NewTimer(100 * time.Millisecond) // the turn may have gone to another of an older epoch
		select {
		case e.turn <- struct{}{}:
			again.Stop()
			return nil
		case <-ctx.Done():
			again.Stop()
			return ctx.Err()
		case <-again.C:
		}
	}
}

func (e *Engine) passTurn() {
	e.mu.Lock()
	e.step = nil
	e.mu.Unlock()
	<-e.turn
}

// hold shows the step's epoch where the step has made it good.
func (e *Engine) hold(s plan.Step) error {
	switch s.Kind {
	case plan.Create, plan.Clone, plan.Promote, plan.Demote, plan.Follow, plan.Rewind, plan.Fence:
		if e.state().Held != s.Epoch {
			return e.persist(func(st *state) { st.Held = s.Epoch })
		}
	}
	return nil
}

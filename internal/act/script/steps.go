package script

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/ledger"
	"github.com/backstay/backstay/internal/decide/plan"
)

// Do performs a step by its command, and looks afterwards.
func (e *Engine) Do(ctx context.Context, s plan.Step) error {
	if err := e.init(); err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	if _, at := e.last(); at.IsZero() { // what is let through depends on what there is
		if err := e.look(ctx); err != nil && s.Kind != plan.Fence && s.Kind != plan.Stop {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return e.ledger.Do(ctx, s)
}

// steps are the commands for each kind, with a look afterwards.
func (e *Engine) steps() ledger.Steps {
	steps := ledger.Steps{
		plan.Create: e.create, plan.Promote: e.promote, plan.Start: e.restart, plan.Stop: e.stop, plan.Fence: e.fence, plan.Checkpoint: e.checkpoint,
		plan.Clone: e.copy, plan.Rewind: e.copy,
		plan.Restart: func(ctx context.Context, s plan.Step) error {
			if err := e.stop(ctx, s); err != nil {
				return err
			}
			return e.restart(ctx, s)
		},
		plan.Demote: func(ctx context.Context, s plan.Step) error {
			stopped, err := e.silence(ctx, s)
			if err != nil {
				return err
			}
			if err := e.ledger.Update(func(st *ledger.State) { st.Standby, st.Upstream = true, "" }); err != nil || stopped {
				return err
			}
			return e.restart(ctx, s) // it may have died before
		},
		plan.Follow: func(ctx context.Context, s plan.Step) error {
			if e.isEmpty() {
				return errors.New("there is no data that could follow: clone it")
			}
			return e.follow(ctx, s, e.o.Commands.Follow, e.o.Timeout)
		},
		plan.SetSync: func(context.Context, plan.Step) error { return nil }, // the ledger refused a set, without one there is nothing to do
	}
	for kind, perform := range steps {
		steps[kind] = func(ctx context.Context, s plan.Step) error {
			err := perform(ctx, s)
			if seen := e.look(ctx); err == nil && seen != nil && s.Kind != plan.Stop && s.Kind != plan.Fence {
				err = seen
			}
			return err
		}
	}
	return steps
}

func (e *Engine) create(ctx context.Context, s plan.Step) error {
	if seen, _ := e.last(); !seen.Empty && e.ledger.State().Reigns(s.Epoch) {
		return e.promote(ctx, s)
	}
	if len(e.o.Commands.Create) > 0 {
		if _, err := e.run(ctx, 0, e.o.Commands.Create, s); err != nil {
			return err
		}
		return e.ledger.Update(func(st *ledger.State) { st.Reign, st.Standby, st.Upstream = s.Epoch, false, "" })
	}
	return e.promote(ctx, s)
}

func (e *Engine) promote(ctx context.Context, s plan.Step) error {
	seen, _ := e.last()
	if seen.running() && seen.Role == plan.Primary && e.ledger.State().Reigns(s.Epoch) {
		return nil
	}
	if seen.Empty && s.Kind == plan.Promote {
		return errors.New("there is no data to promote: create or clone it")
	}
	if err := e.start(ctx, s); err != nil {
		return err
	}
	if err := e.ledger.Update(func(st *ledger.State) { st.Reign, st.Standby, st.Upstream = s.Epoch, false, "" }); err != nil {
		return err
	}
	began := time.Now()
	if _, err := e.run(ctx, e.o.Timeout, e.o.Commands.Promote, s); err != nil {
		// It may have become a primary all the same, or do so later: it must not without anybody knowing.
		if _, calmed := e.silence(context.WithoutCancel(ctx), plan.Step{Kind: plan.Fence, Epoch: s.Epoch, Mode: plan.Immediate}); calmed != nil {
			err = errors.Join(err, fmt.Errorf("and it could not be demoted: %w", calmed))
		}
		return err
	}
	e.tell.Record(act.EventPromoted, fmt.Sprintf("%s is the primary of epoch %d", e.o.Node, s.Epoch),
		fmt.Sprintf("promoted in %v", time.Since(began).Round(time.Millisecond)), map[string]any{"epoch": s.Epoch})
	return nil
}

// start runs what does not run; without a command for that it is taken to run by itself.
func (e *Engine) start(ctx context.Context, s plan.Step) error {
	if seen, _ := e.last(); seen.running() {
		return nil
	}
	if len(e.o.Commands.Start) == 0 {
		if s.Kind == plan.Start || s.Kind == plan.Restart {
			return errors.New("it does not run, and there is no command to start it: start it by hand, or give the engine one")
		}
		return nil
	}
	s.Upstream = e.ledger.State().Upstream
	_, err := e.run(ctx, e.o.Timeout, e.o.Commands.Start, s)
	return err
}

// restart starts anew what was just stopped; what was primary is promoted, as a start need not do that.
func (e *Engine) restart(ctx context.Context, s plan.Step) error {
	if err := e.look(ctx); err != nil {
		return err
	}
	if err := e.start(ctx, s); err != nil {
		return err
	}
	st := e.ledger.State()
	if err := e.look(ctx); err != nil || st.Standby || st.Reign != s.Epoch {
		return err
	}
	return e.promote(ctx, s)
}

// stop ends it; without a command for that it takes no writes afterwards, and follows nobody.
func (e *Engine) stop(ctx context.Context, s plan.Step) error {
	if len(e.o.Commands.Stop) == 0 {
		_, err := e.run(ctx, e.o.Timeout, e.o.Commands.Demote, s)
		return err
	}
	_, err := e.run(ctx, e.o.Timeout, e.o.Commands.Stop, s)
	return err
}

// silence has the instance take no writes and follow nobody; where the command for that fails it is stopped, and stays so.
func (e *Engine) silence(ctx context.Context, s plan.Step) (stopped bool, err error) {
	words, timeout := e.o.Commands.Demote, e.o.Timeout
	if s.Kind == plan.Fence {
		timeout = e.o.FenceTimeout
		if len(e.o.Commands.Fence) > 0 {
			words = e.o.Commands.Fence
		}
	}
	_, err = e.run(ctx, timeout, words, s)
	if err == nil || len(e.o.Commands.Stop) == 0 {
		return false, err
	}
	s.Mode = plan.Immediate
	if _, failed := e.run(context.WithoutCancel(ctx), timeout, e.o.Commands.Stop, s); failed != nil {
		return false, errors.Join(err, failed)
	}
	e.tell.Record(act.EventForced, fmt.Sprintf("%s could not be demoted and was stopped", e.o.Node), err.Error(), nil)
	return true, nil
}

func (e *Engine) fence(ctx context.Context, s plan.Step) error {
	if e.ledger.State().Reigns(s.Epoch) {
		return nil // the primary of this very epoch
	}
	began := time.Now()
	empty := e.isEmpty()
	if !empty {
		if _, err := e.silence(ctx, s); err != nil {
			return err
		}
	}
	if err := e.ledger.Update(func(st *ledger.State) { st.Fenced, st.Standby, st.Upstream = true, st.Standby || !empty, "" }); err != nil {
		return err
	}
	e.tell.Record(act.EventFenced, fmt.Sprintf("%s takes nothing older than epoch %d", e.o.Node, s.Epoch), "", map[string]any{"took": time.Since(began), "epoch": s.Epoch})
	return nil
}

// follow runs a command that makes a standby of the upstream.
func (e *Engine) follow(ctx context.Context, s plan.Step, words []string, timeout time.Duration) error {
	if e.peer(s.Upstream) == "" {
		return fmt.Errorf("%q is not another node of the service", s.Upstream)
	}
	if o, _ := e.last(); o.running() && o.Streaming && !o.Empty && e.ledger.State().Upstream == s.Upstream && e.ledger.State().Held == s.Epoch {
		return nil
	}
	if err := e.ledger.Update(func(st *ledger.State) { st.Fenced, st.Standby, st.Upstream = false, true, s.Upstream }); err != nil {
		return err
	}
	_, err := e.run(ctx, timeout, words, s)
	return err
}

// copy is Clone and Rewind: each by its own command, or by the next simpler one.
func (e *Engine) copy(ctx context.Context, s plan.Step) error {
	c := e.o.Commands
	if !e.ledger.State().Standby && !e.isEmpty() {
		if _, err := e.silence(ctx, s); err != nil {
			return err
		}
	}
	words := c.Follow
	if len(c.Clone) > 0 {
		words = c.Clone
	}
	if s.Kind == plan.Rewind && len(c.Rewind) > 0 && !e.isEmpty() {
		words = c.Rewind
	}
	return e.follow(ctx, s, words, 0)
}

func (e *Engine) isEmpty() bool {
	seen, _ := e.last()
	return seen.Empty
}

func (e *Engine) checkpoint(ctx context.Context, s plan.Step) error {
	if seen, _ := e.last(); !seen.running() {
		return act.ErrNotRunning
	}
	if len(e.o.Commands.Checkpoint) == 0 {
		return nil
	}
	_, err := e.run(ctx, e.o.Timeout, e.o.Commands.Checkpoint, s)
	return err
}

// Done says whether a step's effect is there already, as a fresh look shows it.
func (e *Engine) Done(ctx context.Context, s plan.Step) (bool, error) {
	if err := e.init(); err != nil {
		return false, err
	}
	if s.Kind != plan.Fence && s.Kind != plan.Checkpoint {
		if err := e.look(ctx); err != nil {
			return false, err
		}
	}
	done, err := e.ledger.Done(ctx, s)
	o := e.observation(e.last())
	switch s.Kind {
	case plan.Stop:
		done = err == nil && (done || len(e.o.Commands.Stop) == 0 && !o.Writable)
	case plan.Demote:
		done = done && !o.Writable
	case plan.Create, plan.Promote:
		done = done && o.Writable
	}
	return done, err
}

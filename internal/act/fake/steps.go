package fake

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/decide/plan"
)

// perform does an admitted step. Called with the lock held, which it lets go of while work takes its time.
func (e *Engine) perform(ctx context.Context, s plan.Step) error {
	switch s.Kind {
	case plan.Create:
		return e.create(ctx, s)
	case plan.Clone, plan.Rewind:
		return e.copy(ctx, s)
	case plan.Start:
		return e.start(ctx)
	case plan.Stop:
		return e.stop(ctx, s.Mode == plan.Immediate)
	case plan.Restart:
		return errors.Join(e.stop(ctx, false), e.start(ctx))
	case plan.Promote:
		return e.promote(ctx, s)
	case plan.Demote:
		return e.demote(ctx)
	case plan.Follow:
		return e.follow(ctx, s)
	case plan.Fence:
		return e.fence(s)
	case plan.SetSync:
		return e.setSync(s)
	default: // Checkpoint
		if !e.in.running {
			return act.ErrNotRunning
		}
		e.saved = true
		return e.take(ctx, e.w.o.Stop)
	}
}

func (e *Engine) create(ctx context.Context, s plan.Step) error {
	in := e.in
	if in.origin != "" {
		return e.start(ctx)
	}
	if in.full {
		return ErrFull
	}
	if err := e.take(ctx, e.w.o.Create); err != nil {
		return err
	}
	e.w.serial++
	in.origin, in.timeline, in.reign = fmt.Sprintf("origin-%d", e.w.serial), 1, s.Epoch
	in.append("")
	in.begin()
	return nil
}

// copy is Clone and Rewind: afterwards the instance has what its upstream has, and follows it.
func (e *Engine) copy(ctx context.Context, s plan.Step) error {
	in, from := e.in, e.w.instance(s.Upstream)
	if in.full {
		return ErrFull
	}
	if s.Upstream == in.node || s.Upstream == "" {
		return fmt.Errorf("upstream %q: %w", s.Upstream, act.ErrRole)
	}
	took := e.w.o.Clone
	if s.Kind == plan.Rewind && in.origin != "" {
		if in.origin != from.origin && from.origin != "" {
			return act.ErrForeign
		}
		took = e.w.o.Rewind
	}
	in.standby, in.upstream, in.fenced = true, s.Upstream, false // a crash on the way must not leave a primary
	in.end()
	for range 2 { // the upstream is needed from the beginning to the end
		if problem := e.w.hinders(&stream{from: from, to: &Instance{node: in.node, origin: from.origin}}); problem != "" {
			return errors.New(problem)
		}
		if err := e.take(ctx, took/2); err != nil {
			return err
		}
	}
	if lost := values(give(from, in)); len(lost) > 0 {
		in.rescued = append(in.rescued, lost)
	}
	in.begin()
	return nil
}

func (e *Engine) start(ctx context.Context) error {
	in := e.in
	if in.running {
		return nil
	}
	if in.origin == "" {
		return errors.New("there is no data to start")
	}
	if err := e.take(ctx, e.w.o.Start); err != nil {
		return err
	}
	in.begin()
	return nil
}

// stop ends the process; a fast stop of a primary lets its standbys have all there is first.
func (e *Engine) stop(ctx context.Context, immediate bool) error {
	if e.in.running && !immediate {
		e.in.close()
		if err := e.take(ctx, e.w.o.Stop); err != nil {
			return err
		}
	}
	e.in.end()
	return nil
}

func (e *Engine) promote(ctx context.Context, s plan.Step) error {
	in := e.in
	if in.origin == "" {
		return errors.New("there is no data to promote")
	}
	if err := e.start(ctx); err != nil || !in.standby {
		return err
	}
	if err := e.take(ctx, e.w.o.Promote); err != nil {
		return err
	}
	if !in.running || in.hung {
		return act.ErrNotRunning
	}
	if in.full {
		return ErrFull
	}
	e.w.drop(in)
	in.standby, in.upstream, in.reign = false, "", s.Epoch
	in.names, in.quorum = slices.Clone(s.Names), s.Quorum
	in.timeline++
	in.append("")
	in.tell()
	return nil
}

func (e *Engine) demote(ctx context.Context) error {
	in := e.in
	if in.origin == "" {
		return errors.New("there is no data to demote")
	}
	if !in.standby {
		if err := e.stop(ctx, in.hung); err != nil {
			return err
		}
		in.standby, in.upstream = true, ""
	}
	return e.start(ctx)
}

func (e *Engine) follow(ctx context.Context, s plan.Step) error {
	in := e.in
	switch {
	case in.origin == "":
		return errors.New("there is no data that could follow: clone it")
	case !in.standby:
		return fmt.Errorf("it is a primary, or was: demote it first: %w", act.ErrRole)
	case s.Upstream == in.node || s.Upstream == "":
		return fmt.Errorf("upstream %q: %w", s.Upstream, act.ErrRole)
	}
	in.fenced = false
	if in.upstream != s.Upstream || in.stream == nil || in.held != s.Epoch {
		e.w.drop(in)
		in.upstream = s.Upstream
		e.w.connect(in)
	}
	return e.start(ctx)
}

// fence is quick: it must work on a machine that is nearly gone.
func (e *Engine) fence(s plan.Step) error {
	in := e.in
	if in.reigns(s.Epoch) {
		return nil // the primary of this very epoch
	}
	if !in.standby && in.origin != "" {
		in.end()
	}
	if e.w.o.Leaky && in.standby {
		in.fenced = true
		return nil
	}
	e.w.drop(in)
	in.standby, in.upstream, in.fenced = in.origin != "", "", true
	in.tell()
	return nil
}

func (e *Engine) setSync(s plan.Step) error {
	in := e.in
	switch {
	case !in.running:
		return act.ErrNotRunning
	case in.standby:
		return act.ErrRole
	case in.hung:
		return errors.New("the instance does not answer")
	}
	in.names, in.quorum = slices.Clone(s.Names), s.Quorum
	in.tell()
	return nil
}

package fake

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/decide/plan"
)

// An Engine is one node process's hold on its instance.
type Engine struct {
	w       *World
	in      *Instance
	changed chan struct{}
	turn    chan struct{} // one step at a time
	dead    chan struct{}

	// Guarded by the world's lock.
	busy      string
	lastWrite time.Time
	saved     bool // a checkpoint was made in this life
}

func (e *Engine) notify() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// die makes every later call fail. Called with the lock held.
func (e *Engine) die() {
	select {
	case <-e.dead:
	default:
		close(e.dead)
	}
}

func (e *Engine) alive() error {
	select {
	case <-e.dead:
		return ErrDead
	default:
		return nil
	}
}

// Changed has a value when something happened that is worth a look.
func (e *Engine) Changed() <-chan struct{} { return e.changed }

// Run waits for ctx to end and then stops the instance, unless this engine's node process died before.
func (e *Engine) Run(ctx context.Context) error {
	select {
	case <-e.dead:
		return ErrDead
	case <-ctx.Done():
	}
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	if e.alive() == nil {
		e.die()
		e.in.end()
	}
	return nil
}

// Observe says what the instance looks like now.
func (e *Engine) Observe(context.Context) (plan.Observation, error) {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	if err := e.alive(); err != nil {
		return plan.Observation{}, err
	}
	in, now := e.in, time.Now()
	o := plan.Observation{
		Node: in.node, Time: now, Running: in.running, Role: in.role(), Writable: in.writable(), Empty: in.origin == "",
		SystemID: in.origin, Timeline: in.timeline, Position: in.position(), Epoch: in.held, Busy: e.busy,
	}
	if in.running {
		o.Started = in.started
	}
	if in.standby {
		o.Upstream, o.Applied = in.upstream, o.Position
		o.Streaming = in.running && in.stream != nil && in.stream.up
		if in.stream != nil {
			o.Problem = in.stream.problem
		}
	}
	if o.Role == plan.Primary {
		o.SyncNames, o.SyncQuorum, o.Standbys = slices.Clone(in.names), in.quorum, in.downstreams()
		if o.Writable {
			e.lastWrite = now
		}
		o.LastWrite = e.lastWrite
	}
	switch {
	case in.running && in.hung:
		o.Problem = "the instance does not answer"
	case in.running && in.full:
		o.Problem = "no space left on device"
	}
	return o, nil
}

// Do performs a step. One at a time is under way; the others wait their turn or for ctx.
func (e *Engine) Do(ctx context.Context, s plan.Step) error {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-e.dead:
		return ErrDead
	case <-ctx.Done():
		return ctx.Err()
	}
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	if err := e.admit(s); err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	in := e.in
	e.busy = string(s.Kind)
	defer func() { e.busy = "" }()
	if err := e.perform(ctx, s); err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	switch s.Kind {
	case plan.Create, plan.Clone, plan.Promote, plan.Demote, plan.Follow, plan.Rewind, plan.Fence:
		in.held = s.Epoch
	}
	return nil
}

// admit refuses what must not be done, and persists the epoch of what may.
func (e *Engine) admit(s plan.Step) error {
	in := e.in
	if err := e.alive(); err != nil {
		return err
	}
	if !slices.Contains(plan.EngineKinds, s.Kind) {
		return act.ErrUnknown
	}
	if s.Epoch < in.epoch {
		return fmt.Errorf("epoch %d: %w", in.epoch, act.ErrStale)
	}
	switch reigns := in.reign == s.Epoch; {
	case s.Kind == plan.Promote && !reigns && (!in.fenced || in.epoch != s.Epoch):
		return act.ErrNotFenced
	case s.Kind == plan.Start && in.origin != "" && !in.standby && !reigns:
		return act.ErrNotFenced
	case s.Kind == plan.Create && in.origin != "" && !reigns:
		return act.ErrNotEmpty
	}
	if s.Epoch > in.epoch {
		in.epoch, in.fenced = s.Epoch, false
	}
	return nil
}

// take lets go of the lock for as long as a piece of work takes.
func (e *Engine) take(ctx context.Context, d time.Duration) error {
	e.w.mu.Unlock()
	defer e.w.mu.Lock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return e.alive()
	case <-e.dead:
		return ErrDead
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Done says whether a step's effect is there already.
func (e *Engine) Done(_ context.Context, s plan.Step) (bool, error) {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	in := e.in
	if err := e.alive(); err != nil {
		return false, err
	}
	if s.Epoch < in.epoch {
		return false, fmt.Errorf("%s: epoch %d: %w", s, in.epoch, act.ErrStale)
	}
	primary := in.running && !in.standby && in.origin != ""
	follows := in.running && in.standby && in.upstream == s.Upstream && in.stream != nil && in.stream.up
	switch s.Kind {
	case plan.Create, plan.Promote:
		return primary && in.reign == s.Epoch, nil
	case plan.Clone, plan.Follow, plan.Rewind:
		return follows && in.held == s.Epoch, nil
	case plan.Start, plan.Restart:
		return in.running, nil
	case plan.Stop:
		return !in.running, nil
	case plan.Demote:
		return in.running && in.standby, nil
	case plan.Fence:
		return in.held == s.Epoch && (in.fenced || in.reigns(s.Epoch)), nil
	case plan.SetSync:
		return primary && in.quorum == s.Quorum && slices.Equal(in.names, s.Names), nil
	case plan.Checkpoint:
		return e.saved, nil
	}
	return false, fmt.Errorf("%s: %w", s, act.ErrUnknown)
}

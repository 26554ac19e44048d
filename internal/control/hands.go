package control

import (
	"context"
	"errors"
	"time"

	"github.com/backstay/backstay/internal/decide/plan"
)

// urgency orders what wants an engine: the more urgent ends what is less so.
type urgency int

const (
	urgencyNone   urgency = iota
	urgencyCare           // looking after the own instance
	urgencyTask           // a plan
	urgencyReflex         // stopping what has no authority
)

// A job is a step that is to be done on this node's engine.
type job struct {
	urgency urgency
	step    plan.Step
	task    markKey // of a plan
	anew    bool    // even where the effect is there already
	after   func(outcome)
}

// An outcome is how a job ended, with what the instance looked like after a task that was done.
type outcome struct {
	err         error
	observation plan.Observation
}

// hands do one job at a time.
type hands struct {
	job    *job
	cancel context.CancelFunc
	next   *job
}

func (h *hands) busyWith(at urgency) bool {
	return h.job != nil && h.job.urgency >= at || h.next != nil && h.next.urgency >= at
}

// doing says whether a task is under way or next.
func (h *hands) doing(k markKey) bool {
	return h.job != nil && h.job.urgency == urgencyTask && h.job.task == k ||
		h.next != nil && h.next.urgency == urgencyTask && h.next.task == k
}

// use gives a job to the hands; what is less urgent is ended for it.
func (u *unit) use(j job) {
	h := &u.hands
	if h.job == nil {
		u.begin(j)
		return
	}
	if h.job.urgency >= j.urgency || h.next != nil && h.next.urgency >= j.urgency {
		return
	}
	h.next = &j
	h.cancel()
}

func (u *unit) begin(j job) {
	h := &u.hands
	ctx, cancel := context.WithCancel(u.ctx)
	h.job, h.cancel = &j, cancel
	u.beside(func(context.Context) func() {
		u.c.o.gate()
		var out outcome
		out.err = u.perform(ctx, j)
		began := time.Now()
		if out.err == nil && j.urgency == urgencyTask {
			out.observation, out.err = u.engine.Observe(ctx)
		}
		cancel()
		return func() {
			h.job = nil
			if out.err == nil && j.urgency == urgencyTask {
				u.see(out.observation, nil, began)
			}
			j.after(out)
			if h.next != nil {
				next := *h.next
				h.next = nil
				u.begin(next)
			}
		}
	})
}

// perform does a step unless its effect is there, and looks whether it is.
func (u *unit) perform(ctx context.Context, j job) error {
	s := j.step
	if repeats(s.Kind) {
		return u.engine.Do(ctx, s)
	}
	if done, err := u.engine.Done(ctx, s); err != nil || done && !j.anew {
		return err
	}
	if err := u.engine.Do(ctx, s); err != nil {
		return err
	}
	done, err := u.engine.Done(ctx, s)
	for tries := 0; err == nil && !done && tries < 50; tries++ { // such as a stream that comes up a moment later
		select {
		case <-time.After(u.svc.Heartbeat / 2):
		case <-ctx.Done():
			return ctx.Err()
		}
		done, err = u.engine.Done(ctx, s)
	}
	if err == nil && !done {
		err = errors.New("it was done and has no effect")
	}
	return err
}

// repeats says of which steps the effect cannot be asked for: what was done before does not count.
func repeats(k plan.Kind) bool {
	return k == plan.Checkpoint || k == plan.Restart || k == plan.Stop
}

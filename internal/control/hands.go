package control

import (
	"context"
	"errors"
	"slices"
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
	var until time.Time
	if opens(j.step.Kind) {
		contacts, _ := u.c.look()
		u.asked = u.asked || makesPrimary(j.step.Kind)
		u.route(contacts)
		until = u.authorityUntil(contacts)
	}
	u.beside(func(context.Context) func() {
		u.c.o.gate()
		var out outcome
		if opens(j.step.Kind) { // from here on this process may hang, and what it began comes about
			u.c.o.Guard(u.svc.Name)
		}
		if makesPrimary(j.step.Kind) && !time.Now().Before(until) {
			out.err = errLapsed
		} else {
			out.err = u.perform(ctx, j)
		}
		began := time.Now()
		if out.err == nil && j.urgency == urgencyTask {
			out.observation, out.err = u.engine.Observe(ctx)
		}
		cancel()
		return func() {
			h.job, u.worked = nil, began
			if out.err == nil && makesStandby(j.step.Kind) {
				u.asked = false
			}
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

// errLapsed keeps a node from making its instance a primary when the lease that it won for that is over.
var errLapsed = errors.New("this node's authority was over before it began")

// makesPrimary says which steps have the instance take writes.
func makesPrimary(k plan.Kind) bool { return k == plan.Promote || k == plan.Create }

// opens says which steps may have the instance take writes; what is started goes on as what it was.
func opens(k plan.Kind) bool { return makesPrimary(k) || k == plan.Start || k == plan.Restart }

// makesStandby says after which steps the instance takes no writes, whatever it was asked for before.
func makesStandby(k plan.Kind) bool {
	return slices.Contains([]plan.Kind{plan.Stop, plan.Demote, plan.Follow, plan.Rewind, plan.Clone, plan.Fence}, k)
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

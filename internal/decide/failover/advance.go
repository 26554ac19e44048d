package failover

import (
	"fmt"
	"time"

	"github.com/backstay/backstay/internal/decide/plan"
)

// advance is one round of carrying a plan on.
type advance struct {
	v     View
	s     State
	p     *Progress
	age   time.Duration // of the group's turn
	notes []Note
	moved bool
}

// Advance carries the plan of the view's record on as far as it goes now: it takes in what nodes say of their tasks, and
// does the runner's own steps whose turn it is. It returns the record as it should become, what to tell people before,
// and whether it differs. It is for the plan's runner; whoever else comes to the same is stopped by the compare-and-swap.
func Advance(v View) (State, []Note, bool) {
	if v.State == nil || v.State.Plan == nil {
		return State{}, nil, false
	}
	a := &advance{v: v, s: v.State.Clone(), age: v.GroupAge}
	a.p = a.s.Plan
	a.takeMarks()
	a.s.noteOpened(v)
	for a.step() {
		a.moved = true
	}
	return a.s, a.notes, a.moved
}

// takeMarks takes in the nodes' words on their tasks.
func (a *advance) takeMarks() {
	for i := range a.p.Tasks {
		t := &a.p.Tasks[i]
		r, ok := a.v.heard(t.Node)
		if t.Done || t.Node == "" || !ok {
			continue
		}
		for _, m := range r.Marks {
			if m.Plan == a.p.ID && m.Task == i && m.Epoch == t.Epoch {
				a.moved = t.Take(m, a.v.Now) || a.moved
			}
		}
		if t.Kind == plan.Stop && t.Done && t.Position == 0 { // an engine that cannot tell where a stopped instance is
			t.Kind, t.Mode, t.Done = plan.Demote, "", false
		}
	}
}

// Take makes a mark part of a task; it says whether that changed anything.
func (t *Task) Take(m Mark, now time.Time) bool {
	switch {
	case t.Done || !m.Done && m.Error == t.Error:
		return false
	case m.Done:
		t.Done, t.At, t.By, t.Error = true, now, t.Node, ""
		t.Position, t.Timeline, t.SystemID = m.Position, m.Timeline, m.SystemID
	default:
		t.Error = m.Error
	}
	return true
}

// step does one thing; false when nothing can be done now.
func (a *advance) step() bool {
	if a.p == nil {
		return false
	}
	open, any := false, false
	for i := range a.p.Tasks {
		t := &a.p.Tasks[i]
		if t.Group != a.p.Group {
			continue
		}
		any = true
		if t.Done || t.Optional && a.goesWithout(t) {
			continue
		}
		if t.Node == "" && a.own(i) {
			return true
		}
		open = true
	}
	switch {
	case !any: // behind the last
		a.s.Plan, a.p = nil, nil
		return true
	case open:
		return false
	}
	a.p.Group++
	a.age = 0
	return true
}

// goesWithout says whether an optional task is not waited for any longer.
func (a *advance) goesWithout(t *Task) bool {
	if t.Error != "" || a.v.suspected(t.Node) {
		return true
	}
	if t.Kind == plan.Fence {
		return a.age > a.v.Service.Suspicion
	}
	return a.age > a.v.Service.CatchUp
}

// own does a runner's step if its time has come.
func (a *advance) own(i int) bool {
	p, t, done := a.p, &a.p.Tasks[i], false
	switch t.Kind {
	case plan.Hold:
		if !a.s.Hold {
			a.note(NoteHold, "", "Clients of %s wait", a.s.Service)
			a.s.Hold, a.moved = true, true
		}
		done = a.quiet()
	case plan.Release:
		a.s.Hold, done = false, true
	case plan.Revoke:
		done = a.revoke()
	case plan.Await:
		done = a.await(t)
	case plan.Elect:
		done = a.elect(t)
	case plan.Grant:
		done = a.grant()
	case plan.Record:
		done = a.record(t)
	}
	if done {
		t = &p.Tasks[i] // an election lays the tasks anew
		t.Done, t.At, t.By = true, a.v.Now, a.v.Self
		if p.Times == nil {
			p.Times = map[string]time.Time{}
		}
		p.Times[string(t.Kind)] = a.v.Now
	}
	return done
}

// quiet says whether what clients have begun is done on every node, as far as nodes are heard; after a while that does not matter
// any more.
func (a *advance) quiet() bool {
	for _, n := range a.v.Service.Voters {
		if r, ok := a.v.heard(n); ok && !a.v.suspected(n) && r.Quiet != a.p.ID && a.age <= a.v.Service.Settle {
			return false
		}
	}
	return true
}

func (a *advance) note(kind, member, format string, args ...any) {
	a.notes = append(a.notes, Note{Kind: kind, Member: member, Text: fmt.Sprintf(format, args...)})
}

// revoke makes the epoch that the lease was raised to the service's; the old primary is none from here on.
func (a *advance) revoke() bool {
	l := a.v.Lease
	if a.v.Deposed != a.p.ID || l.Epoch <= a.s.Epoch || l.Holder != "" {
		return false
	}
	a.note(NoteRevoked, a.s.Primary, "Epoch %d of %s is over, %d begins", a.s.Epoch, a.s.Service, l.Epoch)
	a.s.Epoch, a.s.Primary, a.s.Elected = l.Epoch, "", ""
	switch a.p.Kind {
	case PlanCreate:
		a.s.Elected = a.p.Target
	case PlanFailover: // who was aligned when the plan was made, and has followed nobody else since
		a.s.InLine = join(a.s.InLine, a.p.InLine)
	}
	for i := range a.p.Tasks {
		if t := &a.p.Tasks[i]; t.Group > a.p.Group {
			t.Epoch = a.s.Epoch
		}
	}
	return true
}

// await looks whether the target has what the one before has; after a while it does not matter any more: the election
// takes whoever has most.
func (a *advance) await(t *Task) bool {
	target, at := a.p.Target, t.Position
	if t.Upstream != "" {
		target = a.s.Elected
	}
	if handed := a.p.handedOver(); t.Upstream == "" {
		at = handed.Position
	}
	if r, ok := a.v.heard(target); ok && r.Observed && r.Observation.Position >= at {
		return true
	}
	if t.Upstream == "" && (a.age > a.v.Service.CatchUp || a.v.suspected(target)) {
		t.Error = fmt.Sprintf("%s did not get to %d in time", target, at)
		return true
	}
	return false
}

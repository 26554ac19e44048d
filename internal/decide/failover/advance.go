package failover

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/decide/plan"
)

// A Note is what a runner is about to do, for the event log.
type Note struct {
	Kind, Member, Text, Evidence string
}

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
		a.s.Hold, done = true, true
		a.note("failover.hold", "", "Clients of %s wait", a.s.Service)
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

func (a *advance) note(kind, member, format string, args ...any) {
	a.notes = append(a.notes, Note{Kind: kind, Member: member, Text: fmt.Sprintf(format, args...)})
}

// revoke makes the epoch that the lease was raised to the service's; the old primary is none from here on.
func (a *advance) revoke() bool {
	l := a.v.Lease
	if a.v.Deposed != a.p.ID || l.Epoch <= a.s.Epoch || l.Holder != "" {
		return false
	}
	a.note("failover.revoked", a.s.Primary, "Epoch %d of %s is over, %d begins", a.s.Epoch, a.s.Service, l.Epoch)
	a.s.Epoch, a.s.Primary, a.s.Elected = l.Epoch, "", ""
	if a.p.Kind == PlanCreate {
		a.s.Elected = a.p.Target
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

// elect chooses of the fenced the one with everything, and lays down what it is to keep as primary.
func (a *advance) elect(t *Task) bool {
	fenced := fencedOf(a.v, &a.s)
	eligible := slices.DeleteFunc(slices.Clone(fenced), func(c Candidate) bool { return !c.InLine && !a.p.Forced })
	covered := a.s.Covered(names(fenced))
	if len(eligible) == 0 || !covered && a.v.Service.Protection != MaxPerformance && !a.p.Forced {
		why := "waiting: " + a.s.arithmetic(names(fenced))
		if len(eligible) == 0 {
			why = "waiting: no member that could be promoted is fenced"
		}
		changed := t.Error != why
		t.Error, a.moved = why, a.moved || changed
		return false
	}
	if a.p.Forced && a.p.Target != "" {
		if i := slices.IndexFunc(eligible, func(c Candidate) bool { return c.Node == a.p.Target }); i >= 0 {
			eligible = eligible[i : i+1]
		}
	}
	if why := a.behind(eligible); why != "" {
		changed := t.Error != why
		t.Error, a.moved = why, a.moved || changed
		return false
	}
	zone := ""
	if m, ok := a.v.Service.Member(a.s.Last); ok {
		zone = m.Zone
	}
	eligible = a.prefer(eligible)
	top := slices.MinFunc(eligible, func(x, y Candidate) int { return better(x, y, a.p.Target, zone) })
	chosen := a.standIn(top, eligible, zone)
	t.Error = ""
	a.s.Elected = chosen.Node
	a.lay(chosen, top, fenced)
	a.notes = append(a.notes, Note{Kind: "failover.elected", Member: chosen.Node,
		Text:     fmt.Sprintf("%s is to be the primary of %s at epoch %d, with position %d", chosen.Node, a.s.Service, a.s.Epoch, top.Position),
		Evidence: positions(fenced) + "; " + a.s.arithmetic(names(fenced))})
	return true
}

// behind says why an asynchronous switchover waits: a planned change loses nothing as long as the one that handed over may
// still be had.
func (a *advance) behind(eligible []Candidate) string {
	handed := a.p.handedOver()
	if a.p.Kind != PlanSwitchover || a.v.Service.Protection != MaxPerformance || handed.Position == 0 {
		return ""
	}
	for _, c := range eligible {
		if c.Position >= handed.Position {
			return ""
		}
	}
	if voters, _ := a.v.suspicions(handed.Node); len(voters) >= a.v.majority() {
		return ""
	}
	return fmt.Sprintf("waiting: %s handed over at %d, and no fenced member has that much", handed.Node, handed.Position)
}

// prefer leaves out whom one would rather not promote, as long as the others must have every acknowledged write too: who
// cannot be reached any more, is declared so, or has a problem, and the primary whose failure this is about.
func (a *advance) prefer(eligible []Candidate) []Candidate {
	for _, avoid := range []func(c Candidate) bool{
		func(c Candidate) bool { return a.v.suspected(c.Node) },
		func(c Candidate) bool { return c.NoFailover && c.Node != a.p.Target },
		func(c Candidate) bool { return a.v.Nodes[c.Node].Report.Observation.Problem != "" },
		func(c Candidate) bool { return a.p.Kind == PlanFailover && c.Node == a.p.From },
	} {
		rest := slices.DeleteFunc(slices.Clone(eligible), avoid)
		if len(rest) > 0 && (a.s.Covered(names(rest)) || a.p.Forced || a.v.Service.Protection == MaxPerformance && a.noneAhead(rest, eligible)) {
			eligible = rest
		}
	}
	return eligible
}

// noneAhead says whether nobody has more than the best of some: where nothing is guaranteed, nothing is to be given up
// for a preference.
func (a *advance) noneAhead(some, all []Candidate) bool {
	most := func(cs []Candidate) (p uint64) {
		for _, c := range cs {
			p = max(p, c.Position)
		}
		return p
	}
	return most(some) >= most(all)
}

// standIn replaces a member that must not be promoted by the best that may; it gets the rest from the former first.
func (a *advance) standIn(top Candidate, eligible []Candidate, zone string) Candidate {
	if !top.NoFailover || top.Node == a.s.Last || top.Node == a.p.Target {
		return top
	}
	may := slices.DeleteFunc(slices.Clone(eligible), func(c Candidate) bool { return c.NoFailover || c.Timeline != top.Timeline })
	if len(may) == 0 {
		return top // better one that should not than none
	}
	return slices.MinFunc(may, func(x, y Candidate) int { return better(x, y, a.p.Target, zone) })
}

// lay fills in the rest of the plan for the member that is to be promoted.
func (a *advance) lay(chosen, top Candidate, fenced []Candidate) {
	var inLine []string
	for _, c := range fenced {
		if c.Node != chosen.Node && c.InLine && c.Timeline == top.Timeline && c.Position <= top.Position {
			inLine = append(inLine, c.Node)
		}
	}
	if chosen.Node == a.s.Last { // who was in line with it still is, fenced or not
		inLine = slices.DeleteFunc(slices.Clone(a.s.InLine), func(n string) bool { return n == chosen.Node })
	}
	slices.Sort(inLine)
	a.p.InLine, a.p.Next = inLine, Guarantee{Names: inLine, Quorum: quorumFor(a.v.Service.Quorum, len(inLine))}
	switch {
	case a.v.Service.Protection == MaxPerformance, len(inLine) == 0 && a.v.Service.Protection != MaxProtection:
		a.p.Next = Guarantee{}
	case len(inLine) == 0:
		a.p.Next = Guarantee{Quorum: 1}
	}
	step := func(kind plan.Kind, group int) Task {
		return Task{Step: plan.Step{Kind: kind, Service: a.s.Service, Node: chosen.Node, Epoch: a.s.Epoch}, Group: group}
	}
	var tasks []Task
	for _, t := range a.p.Tasks {
		if t.Group <= a.p.Group {
			tasks = append(tasks, t)
		}
	}
	g := a.p.Group + 1
	if chosen.Node != top.Node {
		follow, await, fence := step(plan.Follow, g), step(plan.Await, g+1), step(plan.Fence, g+2)
		follow.Upstream, await.Upstream, await.Node, await.Position = top.Node, top.Node, "", top.Position
		tasks = append(tasks, follow, await, fence)
		g += 3
	}
	promote, grant := step(plan.Promote, g), step(plan.Grant, g+1)
	promote.Names, promote.Quorum = inForce(a.p.Next, chosen.Node)
	promote.Why = fmt.Sprintf("it has position %d, and acknowledges with %s", top.Position, a.p.Next)
	grant.Node, grant.Why = "", "record the new primary and let clients go on"
	a.p.Tasks = append(tasks, promote, grant)
}

func positions(all []Candidate) string {
	var parts []string
	for _, c := range all {
		parts = append(parts, fmt.Sprintf("%s %d (timeline %d)", c.Node, c.Position, c.Timeline))
	}
	return "fenced are " + strings.Join(parts, ", ")
}

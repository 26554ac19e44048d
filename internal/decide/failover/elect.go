package failover

import (
	"fmt"
	"slices"
	"strings"

	"github.com/backstay/backstay/internal/decide/plan"
)

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
	last, _ := a.v.Service.Member(a.s.Last)
	eligible = a.prefer(eligible)
	top := slices.MinFunc(eligible, func(x, y Candidate) int { return better(x, y, a.p.Target, last) })
	chosen := a.standIn(top, eligible, last)
	t.Error = ""
	a.s.Elected = chosen.Node
	a.lay(chosen, top, fenced)
	a.s.Tried = join(a.s.Tried, []string{chosen.Node})
	a.notes = append(a.notes, Note{Kind: NoteElected, Member: chosen.Node,
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
// cannot be reached any more, is declared so (nofailover, async), or has a problem, and the primary whose failure this is about.
func (a *advance) prefer(eligible []Candidate) []Candidate {
	for _, avoid := range []struct {
		unfit bool // it would be in vain to elect him: by force, what he alone has is given up
		him   func(c Candidate) bool
	}{
		{true, func(c Candidate) bool { return a.v.suspected(c.Node) }},
		{false, func(c Candidate) bool { return c.NoFailover && c.Node != a.p.Target }},
		{false, func(c Candidate) bool { return c.Async && c.Node != a.p.Target }},
		{true, func(c Candidate) bool { return a.v.Nodes[c.Node].Report.Observation.Problem != "" }},
		{false, func(c Candidate) bool { return a.p.Kind == PlanFailover && c.Node == a.p.From }},
	} {
		rest := slices.DeleteFunc(slices.Clone(eligible), avoid.him)
		costless := (a.p.Forced || a.v.Service.Protection == MaxPerformance) && a.noneAhead(rest, eligible)
		if len(rest) > 0 && (a.s.Covered(names(rest)) || costless || a.p.Forced && avoid.unfit) {
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
func (a *advance) standIn(top Candidate, eligible []Candidate, last Member) Candidate {
	if !top.NoFailover || top.Node == a.s.Last || top.Node == a.p.Target {
		return top
	}
	may := slices.DeleteFunc(slices.Clone(eligible), func(c Candidate) bool { return c.NoFailover || c.Timeline != top.Timeline })
	if len(may) == 0 {
		return top // better one that should not than none
	}
	return slices.MinFunc(may, func(x, y Candidate) int { return better(x, y, a.p.Target, last) })
}

// lay fills in the rest of the plan for the member that is to be promoted.
func (a *advance) lay(chosen, top Candidate, fenced []Candidate) {
	var inLine []string
	for _, c := range fenced {
		tried := slices.Contains(a.s.Tried, c.Node) // two promotions may have the same timeline
		if c.Node != chosen.Node && c.InLine && !tried && c.Timeline == top.Timeline && c.Position <= top.Position {
			inLine = append(inLine, c.Node)
		}
	}
	if chosen.Node == a.s.Last { // who was in line with it still is, fenced or not, unless it may have been promoted meanwhile
		inLine = join(inLine, slices.DeleteFunc(slices.Clone(a.s.InLine), func(n string) bool {
			return n == chosen.Node || slices.Contains(a.s.Tried, n) || slices.ContainsFunc(fenced, func(c Candidate) bool { return c.Node == n })
		}))
	}
	slices.Sort(inLine)
	a.p.InLine, a.p.Next = inLine, a.v.Service.guarantee(inLine)
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
	promote.Why = fmt.Sprintf("it has position %d, and acknowledges %s", top.Position, a.p.Next.needs())
	grant.Node, grant.Why = "", "record the new primary and let clients go on"
	tasks = append(tasks, promote, grant)
	a.p.Tasks = tasks
}

func positions(all []Candidate) string {
	var parts []string
	for _, c := range all {
		parts = append(parts, fmt.Sprintf("%s %d (timeline %d)", c.Node, c.Position, c.Timeline))
	}
	return "fenced are " + strings.Join(parts, ", ")
}

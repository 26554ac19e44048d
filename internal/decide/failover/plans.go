package failover

import (
	"fmt"
	"slices"

	"github.com/backstay/backstay/internal/decide/plan"
)

// Lapsed is the mode of a Revoke that has to wait until the lease has run out.
const Lapsed = "lapsed"

// builder lays out tasks in groups.
type builder struct {
	tasks []Task
	group int
}

func (b *builder) add(optional bool, s plan.Step) {
	b.tasks = append(b.tasks, Task{Step: s, Group: b.group, Optional: optional})
}

func (b *builder) next() { b.group++ }

// takeover adds the part that all changes of primary have in common: revoke, fence, elect, promote, grant.
func (b *builder) takeover(f *facts, mode string) {
	b.add(false, plan.Step{Kind: plan.Revoke, Mode: mode, Why: revokeWhy(f, mode)})
	b.next()
	for _, m := range f.v.Service.Members {
		if f.involved(m.Node) {
			b.add(true, plan.Step{Kind: plan.Fence, Node: m.Node, Why: "nothing older is confirmed by it from now on"})
		}
	}
	b.next()
	b.add(false, plan.Step{Kind: plan.Elect, Why: "of the fenced, the one with everything"})
	b.next()
	b.add(false, plan.Step{Kind: plan.Promote})
	b.next()
	b.add(false, plan.Step{Kind: plan.Grant, Why: "record the new primary and let clients go on"})
}

func revokeWhy(f *facts, mode string) string {
	if mode == Lapsed {
		return "once the lease has lapsed"
	}
	if f.s.Last == "" {
		return "the first epoch"
	}
	return fmt.Sprintf("%s is primary no more", f.s.Last)
}

// involved says whether a member can confirm writes, or be elected.
func (f *facts) involved(node string) bool {
	if node == f.s.Last || slices.Contains(f.s.InLine, node) || slices.Contains(f.s.Sync.Names, node) || f.isForced() || f.v.aligned(node) {
		return true
	}
	return slices.ContainsFunc(f.s.Before, func(g Guarantee) bool { return slices.Contains(g.Names, node) })
}

func failoverPlan(f *facts) *Progress {
	b := &builder{}
	mode := ""
	if f.mustLapse() {
		mode = Lapsed
		if _, ok := f.v.heard(f.s.Primary); ok { // so that it gives the lease back
			b.add(true, plan.Step{Kind: plan.Stop, Mode: plan.Immediate, Node: f.s.Primary, Epoch: f.s.Epoch, Why: "it is to be replaced"})
			b.next()
		}
	}
	b.takeover(f, mode)
	p := &Progress{Kind: PlanFailover, From: f.s.Last, Tasks: b.tasks, Voters: f.voters}
	for _, m := range f.v.Service.Members {
		if f.v.aligned(m.Node) {
			p.InLine = append(p.InLine, m.Node)
		}
	}
	slices.Sort(p.InLine)
	return p
}

// againPlan replaces a plan that cannot be finished: a new epoch, a new election.
func againPlan(f *facts) *Progress {
	p := failoverPlan(f)
	if old := f.s.Plan; old != nil {
		p.Target, p.Forced = old.Target, old.Forced
		if old.Kind == PlanCreate && f.s.Last == "" {
			return remake(f, old)
		}
	}
	return p
}

// remake begins a creation anew, on the same member: what it has made so far is what there is.
func remake(f *facts, old *Progress) *Progress {
	b := &builder{}
	b.add(false, plan.Step{Kind: plan.Revoke, Why: "begin again"})
	b.next()
	b.first(f, old.Target)
	return &Progress{Kind: PlanCreate, Target: old.Target, Next: old.Next, Tasks: b.tasks}
}

func (b *builder) first(f *facts, target string) {
	names, quorum := inForce(firstSync(f), target)
	if r, ok := f.v.heard(target); !ok || r.Observation.Empty {
		b.add(false, plan.Step{Kind: plan.Create, Node: target})
		b.next()
	}
	b.add(false, plan.Step{Kind: plan.Fence, Node: target})
	b.next()
	b.add(false, plan.Step{Kind: plan.Promote, Node: target, Names: names, Quorum: quorum})
	b.next()
	if quorum > 0 { // Promote of what was just created has nothing to do
		b.add(false, plan.Step{Kind: plan.SetSync, Node: target, Names: names, Quorum: quorum})
		b.next()
	}
	b.add(false, plan.Step{Kind: plan.Grant, Why: "record the first primary"})
}

func forcedPlan(f *facts) *Progress {
	p := failoverPlan(f)
	p.Forced, p.Target = true, f.s.Wish.To
	for i := range p.Tasks {
		if t := &p.Tasks[i]; t.Kind == plan.Revoke {
			t.Mode, t.Why = Lapsed, revokeWhy(f, Lapsed)
		}
	}
	return p
}

func switchoverPlan(f *facts, target string) *Progress {
	b := &builder{}
	b.add(true, plan.Step{Kind: plan.Checkpoint, Node: f.s.Primary, Epoch: f.s.Epoch, Why: "so that stepping down is quick"})
	b.next()
	b.add(false, plan.Step{Kind: plan.Hold, Why: "clients wait"})
	b.next()
	b.add(false, plan.Step{Kind: plan.Stop, Mode: plan.Fast, Node: f.s.Primary, Epoch: f.s.Epoch, Why: "take no more writes, give the standbys all there is"})
	b.next()
	b.add(false, plan.Step{Kind: plan.Await, Why: fmt.Sprintf("until %s has all that %s has, for at most %v; else %s goes on", target, f.s.Primary, f.v.Service.CatchUp, f.s.Primary)})
	b.next()
	b.takeover(f, "")
	return &Progress{Kind: PlanSwitchover, From: f.s.Primary, Target: target, Tasks: b.tasks}
}

func wishedPlan(f *facts) *Progress { return switchoverPlan(f, f.successor(f.s.Wish.To)) }

func leavingPlan(f *facts) *Progress { return switchoverPlan(f, f.successor("")) }

// successor is the standby that a switchover goes to: the one asked for, else the best that is in line and streams.
func (f *facts) successor(asked string) string {
	primary := f.v.Nodes[f.s.Primary].Report.Observation
	own, _ := f.v.Service.Member(f.s.Primary)
	var all []Candidate
	for _, m := range f.v.Service.Members {
		r, heard := f.v.heard(m.Node)
		at, up := streams(primary, m.Node)
		switch {
		case m.Node == f.s.Primary, !heard, !up, f.v.suspected(m.Node), !slices.Contains(f.s.InLine, m.Node), r.Leaving:
		case asked != "" && m.Node != asked, asked == "" && m.NoFailover, primary.Position > at+f.v.Service.MaxLag:
		default:
			all = append(all, Candidate{Member: m, InLine: true})
		}
	}
	if len(all) == 0 {
		return ""
	}
	return slices.MinFunc(all, func(a, b Candidate) int { return better(a, b, asked, own) }).Node
}

func (f *facts) isSwitch() bool {
	return f.s.Wish != nil && f.s.Wish.Kind == WishSwitchover && f.s.Plan.yields()
}

func (f *facts) badWish() bool {
	if !f.isSwitch() {
		return f.badCare()
	}
	to := f.s.Wish.To
	switch {
	case to == f.s.Primary:
		return f.say("%s is the primary already", to)
	case f.successor(to) != "":
		return false
	case to == "":
		return f.say("no standby can take over: %s", f.candidacies())
	}
	return f.say("%s cannot take over: %s", to, f.candidacies())
}

// badCare finds a wish about a node's own instance that the node will not fulfil.
func (f *facts) badCare() bool {
	w := f.s.Wish
	if w == nil || !f.s.Plan.yields() {
		return false
	}
	_, member := f.v.Service.Member(w.To)
	r, heard := f.v.heard(w.To)
	switch {
	case w.Kind != WishReinit && w.Kind != WishRestart:
		return false
	case !member:
		return f.say("%q has no instance of the service", w.To)
	case w.Kind == WishReinit && w.To == f.s.Primary:
		return f.say("%s is the primary: nothing is newer than its data", w.To)
	case w.Kind == WishRestart && (!heard || f.v.suspected(w.To)):
		return f.say("%s is not heard", w.To)
	case w.Kind == WishRestart && r.Observed && r.Observation.Empty:
		return f.say("%s has no data to start with", w.To)
	}
	return false
}

func (f *facts) restartAsked() bool {
	return f.s.Primary != "" && f.toRestart(f.s.Primary) && f.s.Plan.yields() && f.successor("") != "" &&
		f.say("%s asked for it; %s can take over", f.s.Wish.By, f.successor(""))
}

func (f *facts) wished() bool {
	return f.isSwitch() && f.say("%s asked for it; %s is in line and streams", f.s.Wish.By, f.successor(f.s.Wish.To))
}

func (f *facts) leaving() bool {
	r, ok := f.v.heard(f.s.Primary)
	if !ok || !r.Leaving || !f.s.Plan.yields() || f.successor("") == "" {
		return false
	}
	return f.say("%s is shutting down in good order; %s can take over", f.s.Primary, f.successor(""))
}

func syncPlan(f *facts) *Progress {
	next, inLine := f.desired()
	names, quorum := inForce(next, f.s.Primary)
	b := &builder{}
	b.add(false, plan.Step{Kind: plan.Record, Why: fmt.Sprintf("%s, and as long as needed also what was before", next)})
	b.next()
	b.add(false, plan.Step{Kind: plan.SetSync, Node: f.s.Primary, Epoch: f.s.Epoch, Names: names, Quorum: quorum})
	b.next()
	b.add(false, plan.Step{Kind: plan.Record, Mode: settle, Why: "once enough of them have what was written before"})
	return &Progress{Kind: PlanSync, Tasks: b.tasks, Next: next, InLine: inLine}
}

// settle is the mode of the Record that drops the older guarantees.
const settle = "settle"

func settlePlan(f *facts) *Progress {
	b := &builder{}
	b.add(false, plan.Step{Kind: plan.Record, Mode: settle, Why: "enough have what was written before"})
	return &Progress{Kind: PlanSync, Tasks: b.tasks, Next: f.s.Sync, InLine: f.s.InLine}
}

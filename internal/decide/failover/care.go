package failover

import (
	"fmt"
	"slices"
	"strings"

	"github.com/backstay/backstay/internal/decide/plan"
)

// RestartInPlace says whether a primary whose instance ended is to be started again where it is, rather than replaced:
// when no standby could take over, or when the last failover was a moment ago.
func RestartInPlace(v View) bool { return restartWhy(v) != "" }

func restartWhy(v View) string {
	if v.State == nil || v.State.Primary == "" {
		return ""
	}
	f := &facts{v: v, s: *v.State}
	others := f.others()
	switch {
	case f.asynchronous() && len(others) == 0, !f.asynchronous() && !f.s.Covered(others):
		return fmt.Sprintf("and no standby can take over: [%s] are not enough", strings.Join(others, " "))
	case f.toRestart(f.s.Primary):
		return "and an operator asked for its restart"
	case f.s.Failovers > 0 && v.EpochAge < v.Service.HoldDown:
		return fmt.Sprintf("and the last change of primary was only %v ago", v.EpochAge)
	}
	return ""
}

// A careRule is a row of the table by which a node looks after its own instance.
type careRule struct {
	name    string
	applies func(f *facts) bool
	step    func(f *facts) *plan.Step
}

// Rules by which a node does what an operator asked for: its wish is fulfilled by their step.
const (
	CareReinit  = "to be made anew"
	CareRestart = "to be started again"
)

// careRules are asked in order; the first that applies decides. Those with a step order it.
var careRules = []careRule{
	{"nothing is agreed", func(f *facts) bool { return !f.v.StateKnown || f.v.State == nil }, nil},
	{"not a member", func(f *facts) bool { _, ok := f.v.Service.Member(f.v.Self); return !ok || !f.own().Observed }, nil},
	{"paused by an operator", func(f *facts) bool { return f.s.Paused }, nil},
	{"a plan is under way", func(f *facts) bool { return !f.s.Plan.yields() }, nil},
	{"there is no primary", func(f *facts) bool { return f.s.Primary == "" }, nil},

	{"the primary's instance ended: start it in place", (*facts).careRestart, startStep},
	{CareRestart, (*facts).careRestartPrimary, restartStep},
	{"it is the primary", func(f *facts) bool { return f.s.Primary == f.v.Self }, nil},

	{"the record is older than the instance", func(f *facts) bool { return f.own().Observation.Epoch > f.s.Epoch }, nil},
	{"data of another origin: empty it by hand", (*facts).careForeign, nil},
	{CareRestart, (*facts).careRestartStandby, restartStep},
	{"the primary is not there to copy from", (*facts).carePrimaryAway, nil},
	{"without data: copy its upstream's", (*facts).careClone, upstreamStep(plan.Clone)},
	{"without data, but still counted on", func(f *facts) bool { return f.own().Observation.Empty }, nil},
	{"in line: follow the primary", (*facts).careFollow, upstreamStep(plan.Follow)},
	{"in line: start", (*facts).careStart, startStep},
	{"in line", (*facts).careInLine, nil},
	{CareReinit, (*facts).careReinit, upstreamStep(plan.Clone)},
	{"it follows the primary", (*facts).careFollows, nil},
	{"it followed this primary before it ended: start", (*facts).careResume, startStep},
	{"it cascades, and another upstream is better: follow that", (*facts).careRepoint, upstreamStep(plan.Follow)},
	{"not in line: give up what the primary does not have, and follow", func(*facts) bool { return true }, primaryStep(plan.Rewind)},
}

// Care says what this node should do about its own instance: a step, or nothing, and which rule said so. The decision's
// plan has at most one task.
func Care(v View) Decision {
	f := &facts{v: v}
	if v.State != nil {
		f.s = *v.State
	}
	for _, r := range careRules {
		f.evidence = ""
		if !r.applies(f) {
			continue
		}
		if r.step == nil {
			return Decision{Verdict: Hold, Rule: r.name, Evidence: f.evidence}
		}
		s := r.step(f)
		s.Service, s.Node, s.Epoch, s.Why = v.Service.Name, v.Self, f.s.Epoch, r.name
		return Decision{Verdict: Act, Rule: r.name, Evidence: f.evidence, Plan: &Progress{Kind: "care", Service: s.Service, Rule: r.name, Tasks: []Task{{Step: *s}}}}
	}
	panic("the last rule always applies")
}

// own is this node's report of its own instance.
func (f *facts) own() Report { return f.v.Nodes[f.v.Self].Report }

func (f *facts) careRestart() bool {
	o := f.own().Observation
	if f.s.Primary != f.v.Self || o.Running || o.Empty || !f.v.Lease.Mine || f.v.Lease.Epoch != f.s.Epoch || o.Epoch > f.s.Epoch {
		return false
	}
	if why := restartWhy(f.v); why != "" {
		return f.say("its process is gone %s", why)
	}
	return f.own().Idle > f.v.Service.Patience && f.say("its process is gone and nobody has taken over for %v", f.own().Idle)
}

// toRestart says whether an operator wants the member's instance started again.
func (f *facts) toRestart(node string) bool {
	return f.s.Wish != nil && f.s.Wish.Kind == WishRestart && f.s.Wish.To == node
}

// careRestartPrimary: where nobody could take over meanwhile, and else not before somebody has.
func (f *facts) careRestartPrimary() bool {
	return f.s.Primary == f.v.Self && f.toRestart(f.v.Self) && f.own().Observation.Running && f.v.Lease.Mine && f.successor("") == "" &&
		f.say("%s asked for it, and no standby can take over", f.s.Wish.By)
}

func (f *facts) careRestartStandby() bool {
	o := f.own().Observation
	return f.toRestart(f.v.Self) && o.Running && o.Role == plan.Standby && f.say("%s asked for it", f.s.Wish.By)
}

func restartStep(*facts) *plan.Step { return &plan.Step{Kind: plan.Restart} }

func startStep(*facts) *plan.Step { return &plan.Step{Kind: plan.Start} }

func upstreamStep(k plan.Kind) func(f *facts) *plan.Step {
	return func(f *facts) *plan.Step { return &plan.Step{Kind: k, Upstream: f.upstream()} }
}

// primaryStep is a step towards the primary itself, whose data is what counts.
func primaryStep(k plan.Kind) func(f *facts) *plan.Step {
	return func(f *facts) *plan.Step { return &plan.Step{Kind: k, Upstream: f.s.Primary} }
}

func (f *facts) careForeign() bool {
	o := f.own().Observation
	return !o.Empty && f.s.SystemID != "" && o.SystemID != "" && o.SystemID != f.s.SystemID &&
		f.say("it has %s, the service is %s", o.SystemID, f.s.SystemID)
}

func (f *facts) carePrimaryAway() bool {
	r, ok := f.v.heard(f.s.Primary)
	return (!ok || !r.Observed || !r.Observation.Running || r.Observation.Role != plan.Primary || r.Observation.Epoch < f.s.Epoch) && f.say("%s", f.s.Primary)
}

// counted says whether an election may rely on the member's data, so that it must not be given up. Who is not in line is
// not elected and covers nothing, whatever guarantee has its name.
func (f *facts) counted() bool { return slices.Contains(f.s.InLine, f.v.Self) }

func (f *facts) careClone() bool { return f.own().Observation.Empty && !f.counted() }

func (f *facts) following() bool {
	o := f.own().Observation
	return o.Upstream == f.upstream() && o.Epoch == f.s.Epoch
}

func (f *facts) careFollow() bool {
	o := f.own().Observation
	return slices.Contains(f.s.InLine, f.v.Self) && !f.following() && f.say("it follows %q at epoch %d", o.Upstream, o.Epoch)
}

func (f *facts) careStart() bool {
	return slices.Contains(f.s.InLine, f.v.Self) && !f.own().Observation.Running
}

func (f *facts) careInLine() bool { return f.counted() }

func (f *facts) careReinit() bool { return f.leavesLine(f.v.Self) }

// resumeTries is how often an instance is started before it is taken to need more than that.
const resumeTries = 3

// careResume: all that the instance has is from this very primary, so there is nothing to be given up.
func (f *facts) careResume() bool {
	return !f.own().Observation.Running && f.following() && f.v.Tries < resumeTries
}

func (f *facts) careFollows() bool {
	o := f.own().Observation
	n := f.v.Nodes[f.v.Self]
	return o.Running && f.following() && (o.Streaming || n.Away < 4*f.v.Service.Patience)
}

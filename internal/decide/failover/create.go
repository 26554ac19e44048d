package failover

import (
	"slices"
	"strings"

	"github.com/backstay/backstay/internal/decide/plan"
)

func (f *facts) isNew() bool { return f.v.State == nil }

func (f *facts) newEmpty() bool { return f.isNew() && f.say("all members are empty") }

func (f *facts) newUnheard() bool {
	if !f.isNew() {
		return false
	}
	var missing []string
	for _, m := range f.v.Service.Members {
		if r, ok := f.v.heard(m.Node); !ok || !r.Observed {
			missing = append(missing, m.Node)
		}
	}
	return len(missing) > 0 && f.say("nothing is known of the data on [%s]", strings.Join(missing, " "))
}

// origins maps the origins of the data that members have to those members.
func (f *facts) origins() map[string][]string {
	all := map[string][]string{}
	for _, m := range f.v.Service.Members {
		if r, ok := f.v.heard(m.Node); ok && r.Observed && !r.Observation.Empty {
			all[r.Observation.SystemID] = append(all[r.Observation.SystemID], m.Node)
		}
	}
	return all
}

func (f *facts) newMixed() bool {
	if !f.isNew() {
		return false
	}
	all := f.origins()
	if len(all) > 1 {
		var parts []string
		for id, nodes := range all {
			parts = append(parts, id+" on "+strings.Join(nodes, " "))
		}
		slices.Sort(parts)
		return f.say("%s: empty the members whose data is not wanted", strings.Join(parts, ", "))
	}
	if p := f.primaries(); len(p) > 1 {
		return f.say("[%s] all run as primaries: stop those whose data is not wanted", strings.Join(p, " "))
	}
	return false
}

func (f *facts) primaries() []string {
	var all []string
	for _, m := range f.v.Service.Members {
		if r, ok := f.v.heard(m.Node); ok && r.Observed && r.Observation.Running && r.Observation.Role == plan.Primary {
			all = append(all, m.Node)
		}
	}
	return all
}

func (f *facts) newAdopt() bool {
	return f.isNew() && len(f.origins()) == 1 && f.say("the newest data is on %s", f.adopted())
}

// adopted is the member whose data a new service begins with: the running primary, else who has the newest.
func (f *facts) adopted() string {
	if p := f.primaries(); len(p) == 1 {
		return p[0]
	}
	var all []Candidate
	for _, m := range f.v.Service.Members {
		if r, ok := f.v.heard(m.Node); ok && r.Observed && !r.Observation.Empty {
			all = append(all, Candidate{Member: m, Position: r.Observation.Position, Timeline: r.Observation.Timeline})
		}
	}
	return slices.MinFunc(all, func(a, b Candidate) int { return better(a, b, "", Member{}) }).Node
}

// firstSync is what a first primary keeps before it has standbys.
func firstSync(f *facts) Guarantee {
	if f.v.Service.Protection == MaxProtection {
		return Guarantee{Quorum: 1}
	}
	return Guarantee{}
}

func adoptPlan(f *facts) *Progress { return firstPlan(f, f.adopted()) }

func createPlan(f *facts) *Progress {
	var all []Candidate
	for _, m := range f.v.Service.Members {
		all = append(all, Candidate{Member: m})
	}
	return firstPlan(f, slices.MinFunc(all, func(a, b Candidate) int { return better(a, b, "", Member{}) }).Node)
}

func firstPlan(f *facts, target string) *Progress {
	b := &builder{}
	b.add(false, plan.Step{Kind: plan.Revoke, Why: "the first epoch"})
	b.next()
	b.first(f, target)
	return &Progress{Kind: PlanCreate, Target: target, Next: firstSync(f), Tasks: b.tasks}
}

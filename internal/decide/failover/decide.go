package failover

import (
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/decide/plan"
)

// A Verdict says of what kind a decision is.
type Verdict string

// Verdicts.
const (
	Hold   Verdict = "hold"    // nothing is to be done
	Wait   Verdict = "wait"    // something may have to be done, not yet
	Ask    Verdict = "ask"     // a person has to decide
	Refuse Verdict = "refuse"  // what an operator wished cannot be had
	Act    Verdict = "act"     // Plan is to begin
	GiveUp Verdict = "give up" // the plan under way is not needed any more, and has changed nothing yet
)

// A Decision is what is to be done, which rule said so, and from which facts.
type Decision struct {
	Verdict  Verdict   `json:"verdict"`
	Rule     string    `json:"rule"`
	Evidence string    `json:"evidence"`
	Plan     *Progress `json:"plan,omitempty"`
}

// String is the decision as people read it: the verdict, the rule, the evidence and the dry run of its plan.
func (d Decision) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", d.Verdict, d.Rule)
	if d.Evidence != "" {
		fmt.Fprintf(&b, "\n  because %s", d.Evidence)
	}
	if d.Plan != nil {
		b.WriteString("\n" + d.Plan.String())
	}
	return b.String()
}

// String is the plan as people read it, a line for each step, with what became of it.
func (p *Progress) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plan %s (%s)", p.ID, p.Kind)
	for _, t := range p.Tasks {
		mark := " "
		switch {
		case t.Done:
			mark = "x"
		case t.Error != "":
			mark = "!"
		case t.Group == p.Group:
			mark = ">"
		}
		fmt.Fprintf(&b, "\n  [%s] %d. %s", mark, t.Group+1, t.text())
		if t.Error != "" && !t.Done {
			fmt.Fprintf(&b, " (%s)", t.Error)
		}
	}
	return b.String()
}

func (t Task) text() string {
	if t.Node != "" || t.Kind == plan.Promote {
		s := t.Step
		if s.Node == "" {
			s.Node = "the elected"
		}
		return strings.Replace(s.String(), "epoch 0", "the next epoch", 1)
	}
	text := string(t.Kind) + " " + t.Service
	if t.Why != "" {
		text += ": " + t.Why
	}
	return text
}

// A rule is a row of the table: when it holds it decides, and its name is the reason people see.
type rule struct {
	name    string
	applies func(f *facts) bool
	verdict Verdict
	plan    func(f *facts) *Progress
}

// rules are asked in order; the first that applies decides.
var rules = []rule{
	{"the store was not read yet", (*facts).blind, Wait, nil},
	{"paused by an operator", (*facts).paused, Hold, nil},

	{"new service: not every member was heard", (*facts).newUnheard, Wait, nil},
	{"new service: members have data of different origin", (*facts).newMixed, Ask, nil},
	{"new service: a member has data already", (*facts).newAdopt, Act, adoptPlan},
	{"new service", (*facts).newEmpty, Act, createPlan},

	{"an operator accepts the loss", (*facts).forced, Act, forcedPlan},
	{"the epoch of the plan is spent", (*facts).overtaken, Act, againPlan},
	{"the elected member is lost", (*facts).electedLost, Act, againPlan},
	{"the primary was lost during the switchover", (*facts).switchLost, Act, againPlan},
	{"the primary is well again", (*facts).recovered, GiveUp, nil},
	{"a plan is under way", (*facts).underway, Hold, nil},

	{"too early to tell", (*facts).unsure, Wait, nil},
	{"restarting it in place is expected to be faster", (*facts).restarts, Wait, nil},
	{"hold-down after the last failover", (*facts).heldDown, Wait, nil},
	{"flapping: too many failovers in a short time", (*facts).flapping, Ask, nil},
	{"would lose acknowledged writes", (*facts).wouldLose, Ask, nil},
	{"no member may be promoted", (*facts).noCandidate, Ask, nil},
	{"the old primary may still acknowledge", (*facts).leaseHeld, Wait, nil},
	{"safe to fail over", (*facts).down, Act, failoverPlan},

	{"what was asked for is not possible", (*facts).badWish, Refuse, nil},
	{"an operator asked for a switchover", (*facts).wished, Act, wishedPlan},
	{"the primary is to be started again: another takes over first", (*facts).restartAsked, Act, leavingPlan},
	{"the primary's node is leaving", (*facts).leaving, Act, leavingPlan},

	{"the synchronous set is to change", (*facts).syncChanges, Act, syncPlan},
	{"older writes are settled in the new set", (*facts).settles, Act, settlePlan},
	{"the primary is serving", func(*facts) bool { return true }, Hold, nil},
}

// Decide asks the rules.
func Decide(v View) Decision {
	f := &facts{v: v}
	if v.State != nil {
		f.s = *v.State
		f.look()
	}
	for _, r := range rules {
		f.evidence = ""
		if !r.applies(f) {
			continue
		}
		d := Decision{Verdict: r.verdict, Rule: r.name, Evidence: f.evidence}
		if r.plan != nil {
			d.Plan = r.plan(f)
			d.Plan.ID, d.Plan.Service, d.Plan.Rule, d.Plan.Evidence = v.ID, v.Service.Name, r.name, f.evidence
			d.Plan.Runner, d.Plan.Created = v.Self, v.Now
			if n, ok := v.Nodes[d.Plan.From]; ok && !n.Heard && n.Report.Node != "" {
				d.Plan.Times = map[string]time.Time{"last_heard": v.Now.Add(-n.Ago)}
			}
			for i := range d.Plan.Tasks {
				d.Plan.Tasks[i].Service = v.Service.Name
			}
		}
		return d
	}
	panic("the last rule always applies")
}

package failover

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// An Explanation is what is thought of a service, for programs.
type Explanation struct {
	Service    string        `json:"service"`
	Seer       string        `json:"as_seen_by"`
	Primary    string        `json:"primary,omitempty"`
	Last       string        `json:"last,omitempty"`
	Epoch      uint64        `json:"epoch"`
	Revision   int64         `json:"revision"`
	Protection string        `json:"protection"`           // declared
	Agreed     Guarantee     `json:"agreed"`               // what writes wait for
	Older      []Guarantee   `json:"older,omitempty"`      // what earlier writes waited for, which are not settled yet
	Downgraded bool          `json:"downgraded,omitempty"` // it was agreed to go on without standbys
	Paused     bool          `json:"paused,omitempty"`
	PausedFor  string        `json:"paused_for,omitempty"`
	Lease      Lease         `json:"lease"`
	LeaseLeft  time.Duration `json:"lease_left,omitempty"` // on the primary's node
	HoldDown   time.Duration `json:"hold_down,omitempty"`  // what is left of it
	Wish       *Wish         `json:"wish,omitempty"`
	Answers    []Answer      `json:"answers,omitempty"`
	Plan       *Progress     `json:"plan,omitempty"`
	Nodes      []Outlook     `json:"nodes"`
	Decision   Decision      `json:"decision"`
	Considered []Considered  `json:"considered"`
	History    []Proof       `json:"history,omitempty"`
}

// An Outlook is what is known of a node.
type Outlook struct {
	Node      string        `json:"node"`
	Member    bool          `json:"member"`
	Heard     bool          `json:"heard"`
	Ago       time.Duration `json:"ago,omitempty"`
	Revision  int64         `json:"revision,omitempty"`
	InLine    bool          `json:"in_line,omitempty"`
	Counts    bool          `json:"counts,omitempty"`    // for acknowledging writes
	Candidacy string        `json:"candidacy,omitempty"` // why it cannot take over in a switchover now; empty where it can
	Suspected []string      `json:"suspected_by,omitempty"`
	Report    Report        `json:"report"`
}

// Considered is a rule that was looked at.
type Considered struct {
	Rule    string  `json:"rule"`
	Verdict Verdict `json:"verdict"`
	Applies bool    `json:"applies"`
	Decides bool    `json:"decides,omitempty"` // the first that applies
	Why     string  `json:"why,omitempty"`     // its evidence, or what it lacks where that can be said
}

// Examine explains a view for programs.
func Examine(v View) Explanation {
	e := Explanation{
		Service: v.Service.Name, Seer: v.Self, Protection: v.Service.Protection, Lease: v.Lease, LeaseLeft: v.Left,
		Revision: v.Nodes[v.Self].Report.Revision, Decision: Decide(v), Considered: consider(v),
	}
	f := v.facts()
	if s := v.State; s != nil {
		e.Primary, e.Last, e.Epoch, e.Agreed, e.Older, e.Paused = s.Primary, s.Last, s.Epoch, s.Sync, s.Before, s.Paused
		e.PausedFor = s.PausedFor
		e.Downgraded, e.HoldDown = v.Downgraded(), v.HeldDownFor()
		e.Wish, e.Answers, e.Plan = s.Wish, s.Answers, s.Plan
		for _, p := range s.History {
			e.History = append(e.History, v.completed(p))
		}
	}
	for _, name := range sortedNodes(v) {
		n := v.Nodes[name]
		_, member := v.Service.Member(name)
		o := Outlook{Node: name, Member: member, Heard: n.Heard, Ago: n.Ago, Revision: n.Report.Revision, Report: n.Report}
		o.Suspected, _ = v.suspicions(name)
		if v.State != nil {
			o.InLine, o.Counts = slices.Contains(f.s.InLine, name), slices.Contains(f.s.Sync.Names, name)
			if member && name != f.s.Primary {
				o.Candidacy = f.candidacy(name)
			}
		}
		e.Nodes = append(e.Nodes, o)
	}
	return e
}

// Downgraded says whether it was agreed to acknowledge writes without standbys although the service asks for them.
func (v View) Downgraded() bool {
	return v.State != nil && v.State.Epoch > 0 && v.Service.Protection != MaxPerformance && v.State.Sync.Quorum == 0
}

// HeldDownFor is how long the next failover still needs better reasons.
func (v View) HeldDownFor() time.Duration {
	if v.State == nil || v.State.Failovers == 0 {
		return 0
	}
	return max(v.Service.HoldDown-v.EpochAge, 0)
}

func (v View) facts() *facts {
	f := &facts{v: v}
	if v.State != nil {
		f.s = *v.State
		f.look()
	}
	return f
}

// consider asks every rule. Where nothing is agreed yet those behind the one that decides make no sense.
func consider(v View) []Considered {
	var all []Considered
	decided := false
	for _, r := range rules {
		if decided && v.State == nil {
			break
		}
		f := v.facts()
		c := Considered{Rule: r.name, Verdict: r.verdict, Applies: r.applies(f)}
		switch {
		case c.Applies:
			c.Why = f.evidence
			c.Decides, decided = !decided, true
		case lacks[r.name] != nil:
			c.Why = lacks[r.name](f)
		}
		all = append(all, c)
	}
	return all
}

// lacks says of rules what would have to be so for them to apply.
var lacks = map[string]func(f *facts) string{
	"paused by an operator":        func(*facts) string { return "it is not paused" },
	"the store was not read yet":   func(*facts) string { return "the store answers" },
	"a plan is under way":          func(*facts) string { return "there is none that would have to end first" },
	"an operator accepts the loss": func(*facts) string { return "nobody asked for a failover by force" },
	"hold-down after the last failover": func(f *facts) string {
		if left := f.v.HeldDownFor(); left > 0 {
			return fmt.Sprintf("%v of it are left, and nothing is wrong that would have to be twice as certain", left.Round(time.Second))
		}
		return "the last failover is long enough ago"
	},
	"would lose acknowledged writes":     func(f *facts) string { return f.atStake() },
	"safe to fail over":                  func(f *facts) string { return f.standing() },
	"an operator asked for a switchover": func(*facts) string { return "nobody asked for one" },
	"the synchronous set is to change":   func(f *facts) string { return "it is as it should be: " + f.s.Sync.String() },
}

// standing says why the primary is not to be replaced.
func (f *facts) standing() string {
	switch {
	case f.s.Primary == "":
		return "there is no primary to be replaced"
	case f.trouble == "":
		return fmt.Sprintf("%s serves: none of %d nodes suspects it, and its own node says nothing against it", f.s.Primary, len(f.v.Service.Voters))
	case !f.certain:
		return fmt.Sprintf("%s; %d of %d are needed", f.trouble, f.v.majority(), len(f.v.Service.Voters))
	}
	return f.trouble
}

// atStake says whether a failover now would keep every acknowledged write.
func (f *facts) atStake() string {
	others := f.others()
	if f.asynchronous() {
		return "writes are not waited for, so that a failover may lose the last ones"
	}
	if f.s.Covered(others) {
		return fmt.Sprintf("nothing would be lost: %s", f.s.arithmetic(others))
	}
	return fmt.Sprintf("acknowledged writes may be missing without %s, so that nobody would be promoted: %s", f.s.Last, f.s.arithmetic(others))
}

// whyNot says for people why nothing else is done.
func whyNot(v View) []string {
	if v.State == nil || !v.StateKnown {
		return nil
	}
	f, d := v.facts(), Decide(v)
	failing := d.Verdict == Act && d.Plan != nil && d.Plan.Kind == PlanFailover
	var lines []string
	switch {
	case failing || f.s.Plan != nil && f.s.Plan.Kind != PlanSync:
	case f.down():
		lines = append(lines, fmt.Sprintf("would fail over (%s), but: %s", f.trouble, d.Rule))
	default:
		lines = append(lines, "no failover: "+f.standing())
		if f.s.Primary != "" {
			lines = append(lines, "if it failed now: "+f.atStake())
		}
	}
	if left := v.HeldDownFor(); left > 0 {
		lines = append(lines, fmt.Sprintf("hold-down for another %v", left.Round(time.Second)))
	}
	return lines
}

// candidacy says why a standby cannot take over in a switchover; empty where it can.
func (f *facts) candidacy(node string) string {
	primary := f.v.Nodes[f.s.Primary].Report.Observation
	at, up := streams(primary, node)
	r, heard := f.v.heard(node)
	switch {
	case f.s.Primary == "":
		return "there is no primary to take over from"
	case !heard || f.v.suspected(node):
		return "it cannot be reached"
	case r.Leaving:
		return "its node is shutting down"
	case !slices.Contains(f.s.InLine, node):
		return "it is not in line: it may lack acknowledged writes"
	case !up:
		return "it does not stream from " + f.s.Primary
	case primary.Position > at+f.v.Service.MaxLag:
		return fmt.Sprintf("it is %d bytes behind, more than %d", primary.Position-at, f.v.Service.MaxLag)
	}
	return ""
}

// candidacies says of all standbys whether they could take over.
func (f *facts) candidacies() string {
	var can, cannot []string
	for _, m := range f.v.Service.Members {
		if m.Node == f.s.Primary {
			continue
		}
		switch why := f.candidacy(m.Node); {
		case why != "":
			cannot = append(cannot, m.Node+" cannot ("+why+")")
		case m.NoFailover:
			can = append(can, m.Node+" can if asked for by name (it is declared nofailover)")
		default:
			can = append(can, m.Node+" can")
		}
	}
	return strings.Join(append(can, cannot...), ", ")
}

// Objection says why a wish would be refused; empty where nothing is known against it.
func Objection(v View, w Wish) string {
	if !v.StateKnown || v.State == nil {
		return ""
	}
	s := v.State.Clone()
	s.Wish = &w
	v.State = &s
	f := v.facts()
	if _, member := v.Service.Member(w.To); w.To != "" && !member {
		return fmt.Sprintf("%q runs no instance of the service: %s", w.To, f.candidacies())
	}
	if !f.s.Plan.yields() || f.s.Primary == "" || !f.badWish() {
		return ""
	}
	return f.evidence
}

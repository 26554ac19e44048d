package failover

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Explain says in a few lines what is agreed about a service, what is thought of it, by which rule and from which facts,
// and what is under way.
func Explain(v View) string {
	var b strings.Builder
	fmt.Fprintf(&b, "service %s, as %s sees it\n", v.Service.Name, v.Self)
	if s := v.State; s != nil {
		switch {
		case s.Primary != "":
			fmt.Fprintf(&b, "primary %s, ", s.Primary)
		case s.Last != "":
			fmt.Fprintf(&b, "primary none (last %s), ", s.Last)
		default:
			b.WriteString("primary none yet, ")
		}
		fmt.Fprintf(&b, "epoch %d, writes acknowledged %s", s.Epoch, s.Sync.needs())
		for _, g := range s.Before {
			fmt.Fprintf(&b, ", older ones %s", g.needs())
		}
		fmt.Fprintf(&b, "\nin line: %s\n", strings.Join(s.InLine, " "))
		if s.Paused {
			b.WriteString("paused by an operator\n")
			if s.PausedFor != "" {
				b.WriteString(s.PausedFor + "\n")
			}
		}
		if s.Wish != nil {
			fmt.Fprintf(&b, "%s asked for: %s %s\n", s.Wish.By, s.Wish.Kind, s.Wish.To)
		}
	}
	for _, name := range sortedNodes(v) {
		fmt.Fprintf(&b, "  %s\n", v.describe(name))
	}
	fmt.Fprintf(&b, "%s\n", Decide(v))
	for _, line := range whyNot(v) {
		fmt.Fprintf(&b, "%s\n", line)
	}
	if v.State != nil && v.State.Plan != nil {
		fmt.Fprintf(&b, "under way, run by %s: %s\n", v.State.Plan.Runner, v.State.Plan)
	}
	if v.State != nil && len(v.State.History) > 0 {
		b.WriteString(v.completed(v.State.History[len(v.State.History)-1]).String() + "\n")
	}
	return b.String()
}

func sortedNodes(v View) []string {
	var all []string
	for n := range v.Nodes {
		all = append(all, n)
	}
	slices.Sort(all)
	return all
}

// describe is what is known of a node, on a line.
func (v View) describe(name string) string {
	n := v.Nodes[name]
	o := n.Report.Observation
	var parts []string
	switch {
	case !n.Heard && n.Ago > 365*24*time.Hour:
		parts = append(parts, "never heard")
	case !n.Heard:
		parts = append(parts, fmt.Sprintf("last heard %v ago", n.Ago.Round(time.Millisecond)))
	case !n.Report.Observed:
		parts = append(parts, "no instance to be seen")
	case o.Empty:
		parts = append(parts, "without data")
	default:
		parts = append(parts, fmt.Sprintf("%s, position %d, timeline %d, epoch %d", o.Role, o.Position, o.Timeline, o.Epoch))
		if o.Upstream != "" {
			parts = append(parts, map[bool]string{true: "streams", false: "does not stream"}[o.Streaming]+" from "+o.Upstream)
		}
	}
	if n.Heard && !n.Report.Store {
		parts = append(parts, fmt.Sprintf("has not reached the store for %v", n.Report.StoreAway.Round(time.Millisecond)))
	}
	if voters, why := v.suspicions(name); len(voters) > 0 {
		parts = append(parts, fmt.Sprintf("suspected by %s (%s)", strings.Join(voters, " "), why))
	}
	if o.Problem != "" {
		parts = append(parts, o.Problem)
	}
	if n.Report.Trouble != "" {
		parts = append(parts, n.Report.Trouble)
	}
	return name + ": " + strings.Join(parts, ", ")
}

// String is the proof for people.
func (p Proof) String() string {
	var b strings.Builder
	way := p.From + " → " + p.To
	if p.From == "" { // the first primary
		way = p.To
	}
	fmt.Fprintf(&b, "%s %s: %s at epoch %d, %s\n  rule: %s\n  because %s", p.Kind, p.ID, way, p.Epoch, p.Outcome, p.Rule, p.Evidence)
	if len(p.Voters) > 0 {
		fmt.Fprintf(&b, "\n  suspected by %s", strings.Join(p.Voters, " "))
	}
	for _, n := range slices.Sorted(maps.Keys(p.Positions)) {
		fmt.Fprintf(&b, "\n  %s was fenced at position %d", n, p.Positions[n])
	}
	switch {
	case p.Arithmetic == "":
	case strings.Contains(p.Arithmetic, notCovered):
		fmt.Fprintf(&b, "\n  the last acknowledged writes may be lost: %s", p.Arithmetic)
	default:
		fmt.Fprintf(&b, "\n  nothing acknowledged is lost: %s", p.Arithmetic)
	}
	began := p.Times["began"]
	if t, ok := p.Times["last_heard"]; ok {
		fmt.Fprintf(&b, "\n  %s was last heard %v before", p.From, began.Sub(t).Round(time.Millisecond))
	}
	for _, k := range []string{"hold", "await", "revoke", "fenced", "elect", "promoted", "granted", firstWrite} {
		if t, ok := p.Times[k]; ok {
			fmt.Fprintf(&b, "\n  %s after %v", strings.ReplaceAll(k, "_", " "), t.Sub(began).Round(time.Millisecond))
		}
	}
	return b.String()
}

package failover

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/backstay/backstay/internal/decide/plan"
)

// A Candidate is a fenced member as an election sees it.
type Candidate struct {
	Member
	Position uint64
	Timeline uint32
	InLine   bool
}

// better orders candidates: in line before not, then who has more, then whom people prefer, and who is where the last primary
// was, at. Those in line have histories
// of which each is a beginning of the longer one, so that positions alone compare; of others the newest timeline counts
// first.
func better(a, b Candidate, target string, at Member) int {
	yes := func(x, y bool) int {
		switch {
		case x == y:
			return 0
		case x:
			return -1
		}
		return 1
	}
	if c := yes(a.InLine, b.InLine); c != 0 {
		return c
	}
	if !a.InLine && a.Timeline != b.Timeline {
		return cmp.Compare(b.Timeline, a.Timeline)
	}
	return cmp.Or(
		cmp.Compare(b.Position, a.Position),
		yes(a.Node == target, b.Node == target),
		yes(!a.NoFailover, !b.NoFailover),
		yes(!a.Async, !b.Async),
		yes(a.Region == at.Region, b.Region == at.Region),
		cmp.Compare(a.Priority, b.Priority),
		yes(a.Zone == at.Zone, b.Zone == at.Zone),
		cmp.Compare(a.Node, b.Node),
	)
}

// fencedOf lists the members that the plan has fenced at its epoch, with data of the service.
func fencedOf(v View, s *State) []Candidate {
	var all []Candidate
	handed := s.Plan.handedOver()
	for _, t := range s.Plan.Tasks {
		if t.Kind != plan.Fence || !t.Done || t.Epoch != s.Epoch {
			continue
		}
		if t.Position == 0 && t.Node == handed.Node { // it has stood still since
			t.Position, t.Timeline, t.SystemID = handed.Position, handed.Timeline, handed.SystemID
		}
		if t.Position == 0 {
			continue
		}
		if s.SystemID != "" && t.SystemID != "" && t.SystemID != s.SystemID {
			continue
		}
		m, ok := v.Service.Member(t.Node)
		if !ok || slices.ContainsFunc(all, func(c Candidate) bool { return c.Node == t.Node }) {
			continue
		}
		all = append(all, Candidate{
			Member: m, Position: t.Position, Timeline: t.Timeline,
			InLine: t.Node == s.Last || slices.Contains(s.InLine, t.Node),
		})
	}
	return all
}

// handedOver is the task with which a primary stepped down for a switchover; zero while it has not.
func (p *Progress) handedOver() Task {
	for _, t := range p.Tasks {
		if (t.Kind == plan.Stop || t.Kind == plan.Demote) && t.Done {
			return t
		}
	}
	return Task{}
}

func names(all []Candidate) []string {
	var n []string
	for _, c := range all {
		n = append(n, c.Node)
	}
	slices.Sort(n)
	return n
}

// notCovered is the sign in a proof by which the fenced need not have every acknowledged write: it was asynchronous, or forced.
const notCovered = "≤"

// arithmetic is the proof, for people: why the fenced must have every acknowledged write, or that they need not.
func (s State) arithmetic(fenced []string) string {
	if slices.Contains(fenced, s.Last) {
		return fmt.Sprintf("the last primary %s is fenced itself: it has every acknowledged write", s.Last)
	}
	var parts []string
	fenced = intersect(fenced, s.InLine)
	for _, g := range append([]Guarantee{s.Sync}, s.Before...) {
		r := len(intersect(g.Names, fenced))
		sign := ">"
		if !g.CoveredBy(fenced) {
			sign = notCovered
		}
		parts = append(parts, fmt.Sprintf("R %d + W %d %s N %d of [%s]", r, g.Quorum, sign, len(g.Names), strings.Join(g.Names, " ")))
	}
	return strings.Join(parts, "; ")
}

package failover

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/backstay/backstay/internal/decide/plan"
)

// grant makes the elected the primary and leaves the proof.
func (a *advance) grant() bool {
	s, p := &a.s, a.p
	i := slices.IndexFunc(p.Tasks, func(t Task) bool { return t.Kind == plan.Promote && t.Done })
	if i < 0 || s.Elected == "" {
		return false
	}
	promoted := p.Tasks[i]
	fenced := fencedOf(a.v, s)
	proof := Proof{
		ID: p.ID, Kind: p.Kind, Rule: p.Rule, Evidence: p.Evidence, From: p.From, To: s.Elected, Epoch: s.Epoch,
		Voters: p.Voters, Positions: map[string]uint64{}, Times: maps.Clone(p.Times), Runner: p.Runner, Outcome: "granted",
	}
	if proof.Times == nil {
		proof.Times = map[string]time.Time{}
	}
	proof.Times["began"], proof.Times["promoted"], proof.Times["granted"] = p.Created, promoted.At, a.v.Now
	for _, t := range p.Tasks { // the last that was waited for
		if t.Kind == plan.Fence && t.Done && !t.At.After(p.Times["elect"]) && t.At.After(proof.Times["fenced"]) {
			proof.Times["fenced"] = t.At
		}
	}
	for _, c := range fenced {
		proof.Positions[c.Node] = c.Position
	}
	if p.Kind != PlanCreate {
		proof.Arithmetic = s.arithmetic(names(fenced))
	}
	if p.Forced {
		proof.Outcome = "granted by force: acknowledged writes may be lost"
	}
	before := append(slices.Clone(s.Before), s.Sync)
	if p.Forced { // the older ones cannot be kept any more; what is left is on the new primary alone until others have it
		before = []Guarantee{{}}
	}
	s.Primary, s.Last, s.Elected, s.Hold = s.Elected, s.Elected, "", false
	s.Tried = nil
	s.Sync, s.Before, s.InLine, s.Base = p.Next, distinct(before, p.Next), p.InLine, promoted.Position
	if s.SystemID == "" {
		s.SystemID = promoted.SystemID
	}
	if p.Kind == PlanFailover {
		s.Failovers++
	}
	if w := s.Wish; w != nil && (w.Kind == WishSwitchover && p.Kind == PlanSwitchover || w.Kind == WishFailover && p.Forced) {
		asked := w.To
		if asked == "" {
			asked = p.Target
		}
		switch asked {
		case s.Primary, "":
			s.Answer(Fulfilled, fmt.Sprintf("%s is the primary at epoch %d", s.Primary, s.Epoch), a.v.Now)
		default:
			s.Answer(Failed, fmt.Sprintf("%s is the primary at epoch %d, not %s: %s", s.Primary, s.Epoch, asked, a.whyNot(asked, fenced)), a.v.Now)
		}
	}
	s.Remember(proof)
	a.notes = append(a.notes, Note{Kind: NoteGranted, Member: s.Primary,
		Text:     fmt.Sprintf("%s is the primary of %s at epoch %d; it acknowledges writes %s", s.Primary, s.Service, s.Epoch, s.Sync.needs()),
		Evidence: proof.Arithmetic})
	return true
}

// record writes the guarantee a plan is about: first beside the older ones, at the end in place of them.
func (a *advance) record(t *Task) bool {
	s, p := &a.s, a.p
	if t.Mode != settle {
		if s.Primary == "" || len(s.Before) >= beforeSize {
			return false
		}
		s.Before = distinct(append(slices.Clone(s.Before), s.Sync), p.Next)
		s.Sync, s.Base = p.Next, 0
		s.InLine = join(s.InLine, p.InLine)
		a.note(NoteSync, s.Primary, "Writes of %s are to be acknowledged %s", s.Service, p.Next.needs())
		return true
	}
	for _, d := range p.Tasks {
		if d.Kind == plan.SetSync && d.Done && s.Base == 0 {
			s.Base = d.Position
			a.moved = true
		}
	}
	f := &facts{v: a.v, s: *s}
	if !s.Sync.Equal(p.Next) || !f.settled() {
		return false
	}
	s.Before, s.InLine = nil, p.InLine
	a.note(NoteSettled, s.Primary, "All acknowledged writes of %s are with %s", s.Service, s.Sync)
	return true
}

// distinct drops repeated guarantees, and the one that holds anyway.
func distinct(all []Guarantee, now Guarantee) []Guarantee {
	var out []Guarantee
	for _, g := range all {
		if !g.Equal(now) && !slices.ContainsFunc(out, g.Equal) {
			out = append(out, g)
		}
	}
	return out
}

// whyNot says why another was elected than the one that was asked for.
func (a *advance) whyNot(asked string, fenced []Candidate) string {
	for _, c := range fenced {
		if c.Node == asked {
			return fmt.Sprintf("it had position %d when all were fenced: %s", c.Position, positions(fenced))
		}
	}
	return "it was not fenced in time, and might have lacked acknowledged writes"
}

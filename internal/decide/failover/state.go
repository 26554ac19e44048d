package failover

import (
	"maps"
	"slices"
	"time"

	"github.com/backstay/backstay/internal/decide/plan"
)

// A Guarantee says where acknowledged writes are: on the primary, and on Quorum of Names. With a quorum of 0 they are on
// the primary only. A quorum above the number of names stands for a primary that acknowledges nothing yet.
type Guarantee struct {
	Names  []string `json:"names,omitempty"` // sorted
	Quorum int      `json:"quorum"`
}

// Equal says whether two guarantees are the same.
func (g Guarantee) Equal(o Guarantee) bool {
	return g.Quorum == o.Quorum && slices.Equal(g.Names, o.Names)
}

// CoveredBy says whether a set of members must contain at least one that has any write acknowledged under the guarantee:
// R + W > N, with R the fenced of Names and W the quorum.
func (g Guarantee) CoveredBy(fenced []string) bool {
	r := 0
	for _, n := range g.Names {
		if slices.Contains(fenced, n) {
			r++
		}
	}
	return r+g.Quorum > len(g.Names)
}

// State is what all nodes have agreed on about a service: the record in the store, changed only by compare-and-swap.
type State struct {
	Service string `json:"service"`
	// Epoch is the fencing token. It grows with each revocation and never falls.
	Epoch uint64 `json:"epoch"`
	// Primary is the node that was granted Epoch; empty between a revocation and the next grant. Last is the node that was
	// granted last, whose history the members InLine have.
	Primary string `json:"primary,omitempty"`
	Last    string `json:"last,omitempty"`
	// Sync is the guarantee that the primary is to keep. Before are older ones: until they are settled, an acknowledged
	// write may be on Last under any of them only, so an election has to satisfy them all.
	Sync   Guarantee   `json:"sync"`
	Before []Guarantee `json:"before,omitempty"`
	// Base is how far the primary was when Sync was in force for certain: writes older than Sync are settled where Quorum of
	// its Names have that much. 0: not known.
	Base uint64 `json:"base,omitempty"`
	// InLine are the members whose data is a beginning of Last's: they and Last alone can be elected.
	InLine []string `json:"in_line,omitempty"`
	// SystemID is the origin of the service's data; nothing else may join.
	SystemID string `json:"system_id,omitempty"`
	// Paused takes the automatic hand away, for the reason PausedFor where it was not simply asked for; Hold lets clients wait.
	Paused    bool   `json:"paused,omitempty"`
	PausedFor string `json:"paused_for,omitempty"`
	Hold      bool   `json:"hold,omitempty"`
	// Elected is the member that a plan under way is promoting at Epoch: it may take the lease.
	Elected string `json:"elected,omitempty"`
	// Tried are the members that were elected since the last grant: each may have been promoted, and have history of its own.
	Tried []string `json:"tried,omitempty"`
	// Failovers counts unplanned grants.
	Failovers int       `json:"failovers,omitempty"`
	Wish      *Wish     `json:"wish,omitempty"`
	Plan      *Progress `json:"plan,omitempty"`
	History   []Proof   `json:"history,omitempty"` // the newest last, bounded
	Answers   []Answer  `json:"answers,omitempty"` // to wishes, the newest last, bounded
}

// Outcomes of wishes.
const (
	Fulfilled = "done"
	Refused   = "refused" // nothing was changed
	Failed    = "failed"  // it was tried
)

// An Answer is what became of a wish.
type Answer struct {
	Wish    Wish      `json:"wish"`
	Outcome string    `json:"outcome"`
	Text    string    `json:"text"`
	At      time.Time `json:"at"`
}

// Answer ends the wish that is pending.
func (s *State) Answer(outcome, text string, at time.Time) {
	if s.Wish == nil {
		return
	}
	s.Answers = append(s.Answers, Answer{Wish: *s.Wish, Outcome: outcome, Text: text, At: at})
	s.Answers = s.Answers[max(0, len(s.Answers)-answersSize):]
	s.Wish = nil
}

// Kinds of wishes.
const (
	WishSwitchover = "switchover" // move the primary to To, or to the best standby
	WishFailover   = "failover"   // promote To, or the best that is left, although acknowledged writes may be lost
	WishReinit     = "reinit"     // copy To's data anew
	WishRestart    = "restart"    // start To's instance again; of a primary, once another has taken over, where one can
)

// A Wish is what an operator asked for.
type Wish struct {
	ID   string    `json:"id"`
	Kind string    `json:"kind"`
	To   string    `json:"to,omitempty"`
	By   string    `json:"by,omitempty"`
	At   time.Time `json:"at,omitzero"`
}

// Kinds of plans.
const (
	PlanCreate     = "create"
	PlanFailover   = "failover"
	PlanSwitchover = "switchover"
	PlanSync       = "sync"
)

// A Progress is a plan under way. Tasks of one group are done side by side; a group begins when the one before is over.
type Progress struct {
	ID       string `json:"id"`
	Kind     string `json:"kind"`
	Service  string `json:"service"`
	Rule     string `json:"rule"`
	Evidence string `json:"evidence"`
	Runner   string `json:"runner"` // the node that carries out the runner's steps
	From     string `json:"from,omitempty"`
	Target   string `json:"target,omitempty"` // wanted as primary
	Forced   bool   `json:"forced,omitempty"` // an operator accepted the loss of acknowledged writes
	Tasks    []Task `json:"tasks"`
	Group    int    `json:"group"` // whose turn it is
	// Next is the guarantee that the plan is to bring; of a failover it is known from the election on.
	Next    Guarantee            `json:"next"`
	InLine  []string             `json:"in_line,omitempty"` // from the election on; before, who joins the line with the revocation
	Created time.Time            `json:"created,omitzero"`
	Times   map[string]time.Time `json:"times,omitempty"` // of the proof
	Voters  []string             `json:"voters,omitempty"`
}

// A Task is a step of a plan and what became of it.
type Task struct {
	plan.Step
	Group    int       `json:"group"`
	Optional bool      `json:"optional,omitempty"` // the group ends without it
	Done     bool      `json:"done,omitempty"`
	At       time.Time `json:"at,omitzero"`
	By       string    `json:"by,omitempty"`
	Error    string    `json:"error,omitempty"` // of the last try
	// Position, Timeline and SystemID are what was seen on the node after the step.
	Position uint64 `json:"position,omitempty"`
	Timeline uint32 `json:"timeline,omitempty"`
	SystemID string `json:"system_id,omitempty"`
}

// A Mark is a node's word on a task of its own.
type Mark struct {
	Plan     string `json:"plan"`
	Task     int    `json:"task"`
	Epoch    uint64 `json:"epoch"`
	Done     bool   `json:"done,omitempty"`
	Error    string `json:"error,omitempty"`
	Position uint64 `json:"position,omitempty"`
	Timeline uint32 `json:"timeline,omitempty"`
	SystemID string `json:"system_id,omitempty"`
}

// A Proof is what is kept of a change of primary: why it lost nothing, and how long each part took.
type Proof struct {
	ID         string               `json:"id"`
	Kind       string               `json:"kind"`
	Rule       string               `json:"rule"`
	Evidence   string               `json:"evidence"`
	From       string               `json:"from,omitempty"`
	To         string               `json:"to,omitempty"`
	Epoch      uint64               `json:"epoch"`
	Voters     []string             `json:"voters,omitempty"`
	Positions  map[string]uint64    `json:"positions,omitempty"` // of the fenced
	Arithmetic string               `json:"arithmetic,omitempty"`
	Times      map[string]time.Time `json:"times,omitempty"`
	Runner     string               `json:"runner,omitempty"`
	Outcome    string               `json:"outcome"`
}

// historySize bounds State.History, beforeSize State.Before, answersSize State.Answers.
const (
	historySize = 32
	beforeSize  = 8
	answersSize = 8
)

// Clone returns a copy that shares nothing that is changed in place.
func (s State) Clone() State {
	s.Before, s.InLine, s.Tried, s.History = slices.Clone(s.Before), slices.Clone(s.InLine), slices.Clone(s.Tried), slices.Clone(s.History)
	s.Answers = slices.Clone(s.Answers)
	if s.Wish != nil {
		w := *s.Wish
		s.Wish = &w
	}
	if s.Plan != nil {
		p := *s.Plan
		p.Tasks, p.InLine = slices.Clone(p.Tasks), slices.Clone(p.InLine)
		times := make(map[string]time.Time, len(p.Times))
		for k, t := range p.Times {
			times[k] = t
		}
		p.Times = times
		s.Plan = &p
	}
	return s
}

// Remember adds a proof to the history, which stays bounded.
func (s *State) Remember(p Proof) {
	s.History = append(s.History, p)
	if over := len(s.History) - historySize; over > 0 {
		s.History = slices.Delete(s.History, 0, over)
	}
}

// GiveUp ends the plan under way, if there is one, and keeps in the history why.
func (s *State) GiveUp(why string) {
	if p := s.Plan; p != nil && p.Kind != PlanSync {
		s.Remember(Proof{ID: p.ID, Kind: p.Kind, Rule: p.Rule, Evidence: p.Evidence, From: p.From, Epoch: s.Epoch, Runner: p.Runner, Outcome: "given up: " + why})
	}
	s.Plan, s.Elected = nil, ""
}

// Recovered makes of a record that the store was recovered with by force one that nothing is done by until a person has
// looked: members that were lost may have agreed on a newer one, with another primary. What was under way is given up, but for
// the first plan of a service that never had a primary.
func (s *State) Recovered() {
	s.Paused, s.PausedFor = true, "recovered by force: `backstay unpause` after you have looked who has the newest data"
	s.Wish = nil
	if s.Last != "" {
		s.GiveUp("the store was recovered by force")
		s.Hold = false
	}
}

// Covered says whether a fenced set of members must contain every acknowledged write: the last primary itself does, else
// every guarantee that may be in force has to be covered by members in line.
func (s State) Covered(fenced []string) bool {
	if s.Last != "" && slices.Contains(fenced, s.Last) {
		return true
	}
	fenced = intersect(fenced, s.InLine)
	if len(fenced) == 0 || !s.Sync.CoveredBy(fenced) {
		return false
	}
	for _, g := range s.Before {
		if !g.CoveredBy(fenced) {
			return false
		}
	}
	return true
}

// Alone says whether the last primary may acknowledge writes that no other member has: it is agreed now, or it was by a
// guarantee that may still be in force.
func (s State) Alone() bool {
	return s.Sync.Quorum == 0 || slices.ContainsFunc(s.Before, func(g Guarantee) bool { return g.Quorum == 0 })
}

// yields says whether the plan, or none, gives way to a more urgent one.
func (p *Progress) yields() bool { return p == nil || p.Kind == PlanSync }

func intersect(a, b []string) []string {
	var both []string
	for _, n := range a {
		if slices.Contains(b, n) {
			both = append(both, n)
		}
	}
	return both
}

// join returns the sorted union.
func join(a, b []string) []string {
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	return slices.Compact(all)
}

// noteOpened completes the proof of the last change of primary with when the new one first took writes.
func (s *State) noteOpened(v View) {
	if n := len(s.History); n > 0 {
		s.History[n-1] = v.completed(s.History[n-1])
	}
}

// completed is a proof with when the primary first took writes, once its node has said so.
func (v View) completed(p Proof) Proof {
	r, ok := v.heard(p.To)
	if _, known := p.Times[firstWrite]; known || !ok || p.Times == nil || p.Outcome == "" || r.Epoch != p.Epoch || !r.Serving || r.Opened.IsZero() {
		return p
	}
	p.Times = maps.Clone(p.Times)
	p.Times[firstWrite] = r.Opened
	return p
}

// firstWrite is the time in a proof at which the new primary was first seen to take writes.
const firstWrite = "first_write"

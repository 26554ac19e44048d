package control

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/decide/plan"
)

// A mutant is a system with one thing wrong on purpose.
type mutant struct {
	name       string
	breaks     []invariant  // one of which has to be seen broken
	protection string       // of the schedules; any where empty
	seed       uint64       // of a schedule that is known to show it: the first to be tried
	story      func(s *sim) // that shows it; random schedules do where there is none

	judge     func(right judge) judge
	engine    func(Engine) Engine
	off       safeguard
	untold    []string // kinds of records that the event log loses
	leaky     bool     // a fence leaves the old primary's stream as it is
	credulous bool     // proxies believe a route whose time is over
}

// mutantSchedules is how many schedules a mutant may survive.
const mutantSchedules = 40

// TestEveryInvariantCanBeBroken plays random schedules with one rule after the other switched off or made wrong. The
// simulation has to notice each, and each of its invariants has to be broken by one of them: none holds for want of looking.
func TestEveryInvariantCanBeBroken(t *testing.T) {
	broken := make(chan invariant, len(mutants))
	t.Run("mutants", func(t *testing.T) {
		for _, m := range mutants {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				for seed := m.seed; seed < m.seed+mutantSchedules; seed++ {
					s := sim{}
					if m.story != nil {
						tellWrong(t, &m, &s)
					} else {
						play(t, seed, &m, &s)
					}
					if s.broken == "" {
						continue
					}
					t.Logf("seen in schedule %d: %s", seed, s.broken)
					if !slices.Contains(m.breaks, s.broken) {
						continue // an effect of it, but not the one that is meant
					}
					broken <- s.broken
					return
				}
				t.Errorf("not seen in %d schedules", mutantSchedules)
			})
		}
	})
	close(broken)
	seen := map[invariant]bool{}
	for i := range broken {
		seen[i] = true
	}
	for _, i := range invariants {
		if !seen[i] {
			t.Errorf("no mutant breaks: %s", i)
		}
	}
}

// tellWrong tells a mutant's story, and leaves what became of it.
func tellWrong(t *testing.T, m *mutant, into *sim) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, setup{svc: fast(m.protection), members: 3, witnesses: 2, wrong: m})
		defer func() { s.end(); into.broken, into.log = s.broken, s.log }()
		m.story(s)
	})
}

// fencing is a story in which nothing but the standbys' fences keeps an old primary from confirming writes: its node's
// process hangs, its instance does not, and a proxy that has lost the store still sends clients to it.
func fencing(s *sim) {
	s.settle(20 * time.Second)
	s.parts.Go(func() { s.client("w1", time.Millisecond) })
	time.Sleep(time.Second)
	s.nodes[s.primary()].hangAlone()
	s.store.Cut("w1")
	time.Sleep(2 * time.Second)
	s.heal()
	for _, n := range s.names {
		s.nodes[n].resume()
	}
	s.settle(patient)
	s.check(s.primary())
}

func TestOnlyFencesStopAnOldPrimaryThatAProxyStillBelieves(t *testing.T) {
	tale(t, fast(failover.MaxAvailability), 3, 2, fencing)
}

// onAdvance changes what the right Advance made of a record.
func onAdvance(change func(before failover.State, after *failover.State)) func(judge) judge {
	return func(j judge) judge {
		right := j.advance
		j.advance = func(v failover.View) (failover.State, []failover.Note, bool) {
			next, notes, moved := right(v)
			if moved {
				next = next.Clone()
				change(*v.State, &next)
			}
			return next, notes, moved
		}
		return j
	}
}

// onDecide changes what the right Decide is shown.
func onDecide(change func(v *failover.View)) func(judge) judge {
	return func(j judge) judge {
		right := j.decide
		j.decide = func(v failover.View) failover.Decision {
			if v.State != nil {
				s := v.State.Clone()
				v.State = &s
				change(&v)
			}
			return right(v)
		}
		return j
	}
}

// onPlan changes the plans that begin.
func onPlan(change func(p *failover.Progress)) func(judge) judge {
	return func(j judge) judge {
		right := j.decide
		j.decide = func(v failover.View) failover.Decision {
			d := right(v)
			if d.Plan != nil {
				change(d.Plan)
			}
			return d
		}
		return j
	}
}

// both applies one change after the other.
func both(a, b func(judge) judge) func(judge) judge { return func(j judge) judge { return b(a(j)) } }

// A liar says of steps of a kind that they are done.
type liar struct {
	Engine
	kind plan.Kind
}

func (l liar) Do(ctx context.Context, s plan.Step) error {
	if s.Kind == l.kind {
		return nil
	}
	return l.Engine.Do(ctx, s)
}

func (l liar) Done(ctx context.Context, s plan.Step) (bool, error) {
	if s.Kind == l.kind {
		return true, nil
	}
	return l.Engine.Done(ctx, s)
}

func lying(k plan.Kind) func(Engine) Engine { return func(e Engine) Engine { return liar{e, k} } }

var mutants = []mutant{
	{name: "standbys do not fence", protection: failover.MaxAvailability, leaky: true, story: fencing, breaks: []invariant{keepsAcknowledged, onePrimary, knowsWhere}},
	{name: "the fenced with least is elected", protection: failover.MaxAvailability, judge: func(j judge) judge {
		right := j.advance
		j.advance = func(v failover.View) (failover.State, []failover.Note, bool) { return right(upsideDown(v)) }
		return j
	}, breaks: []invariant{keepsAcknowledged}},
	{name: "anyone who is fenced is enough", protection: failover.MaxAvailability, judge: func(j judge) judge {
		right := j.advance
		j.advance = func(v failover.View) (failover.State, []failover.Note, bool) { return right(unasked(v)) }
		return onDecide(func(v *failover.View) {
			if v.State.Primary != "" && failover.Decide(*v).Verdict == failover.Ask {
				v.State.Sync, v.State.Before = loose(v.State.Sync), nil
			}
		})(j)
	}, breaks: []invariant{keepsAcknowledged, knowsWhere}},
	{name: "older guarantees are dropped at the grant", protection: failover.MaxAvailability, judge: onAdvance(func(_ failover.State, s *failover.State) {
		s.Before = nil
	}), breaks: []invariant{knowsWhere}},
	{name: "the set is changed before it is agreed", seed: 25, protection: failover.MaxAvailability, judge: onPlan(func(p *failover.Progress) {
		if p.Kind == failover.PlanSync && len(p.Tasks) == 3 {
			p.Tasks[0].Step, p.Tasks[1].Step = p.Tasks[1].Step, p.Tasks[0].Step
		}
	}), breaks: []invariant{knowsWhere}},
	{name: "a fence does not wait for an asynchronous primary", seed: 10, protection: failover.MaxPerformance, off: safeguardQuiet,
		judge: both(onDecide(func(v *failover.View) { v.Lease.Free = v.Lease.Free || v.State.Plan == nil }), onPlan(func(p *failover.Progress) {
			for i := range p.Tasks {
				if p.Tasks[i].Kind == plan.Revoke {
					p.Tasks[i].Mode = ""
				}
			}
		})), breaks: []invariant{onePrimary}},
	{name: "proxies believe a route whose time is over, and the instance goes on", seed: 27, protection: failover.MaxPerformance, credulous: true, off: safeguardReflex, breaks: []invariant{onePrimary}},
	{name: "a primary without authority goes on", seed: 21, protection: failover.MaxAvailability, off: safeguardReflex, breaks: []invariant{stepsDown}},
	{name: "an older epoch is written", judge: onAdvance(func(before failover.State, s *failover.State) {
		if before.Epoch > 1 {
			s.Epoch = before.Epoch - 1
		}
	}), breaks: []invariant{epochsGrow}},
	{name: "another than the promoted is granted", judge: onAdvance(func(before failover.State, s *failover.State) {
		if before.Primary == "" && s.Primary != "" && before.Last != "" {
			s.Primary, s.Last = before.Last, before.Last
		}
	}), breaks: []invariant{grantsPromoted}},
	{name: "plans begin without a word", untold: []string{eventPlan}, breaks: []invariant{saysBefore}},
	{name: "a pause is not heeded", judge: onDecide(func(v *failover.View) { v.State.Paused = false }), breaks: []invariant{handsOff}},
	{name: "every failover is one by force", judge: onPlan(func(p *failover.Progress) {
		p.Forced = p.Forced || p.Kind == failover.PlanFailover
	}), breaks: []invariant{lossIsAsked}},
	{name: "who comes back is not rewound", engine: lying(plan.Rewind), breaks: []invariant{becomesWhole}},
}

// loose is a guarantee that any of its members covers.
func loose(g failover.Guarantee) failover.Guarantee {
	g.Quorum = len(g.Names)
	return g
}

// unasked is a view with guarantees that any member covers.
func unasked(v failover.View) failover.View {
	if v.State == nil || v.State.Plan == nil || v.State.Plan.Kind == failover.PlanSync {
		return v
	}
	s := v.State.Clone()
	s.Sync, s.Before = loose(s.Sync), nil
	v.State = &s
	return v
}

// upsideDown is a view in which the fenced with least seem to have most.
func upsideDown(v failover.View) failover.View {
	if v.State == nil || v.State.Plan == nil {
		return v
	}
	nodes := map[string]failover.Node{}
	for name, n := range v.Nodes {
		n.Report.Marks = slices.Clone(n.Report.Marks)
		for i, m := range n.Report.Marks {
			if m.Task < len(v.State.Plan.Tasks) && v.State.Plan.Tasks[m.Task].Kind == plan.Fence && m.Done {
				n.Report.Marks[i].Position = 1<<40 - m.Position
			}
		}
		nodes[name] = n
	}
	v.Nodes = nodes
	return v
}

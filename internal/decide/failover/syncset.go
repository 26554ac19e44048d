package failover

import (
	"fmt"
	"slices"
	"strings"

	"github.com/backstay/backstay/internal/decide/plan"
)

// quorumFor is how many of n standbys confirm each write: as many as declared, but never so many that the loss of one
// standby of several would stop writes.
func quorumFor(declared, n int) int { return min(declared, max(1, (n+1)/2), n) }

// blockedBy is a set that confirms nothing: the primary never replicates to itself.
func blockedBy(primary string) ([]string, int) { return []string{primary}, 1 }

// inForce is the set that an engine is told to keep for a guarantee.
func inForce(g Guarantee, primary string) ([]string, int) {
	if g.Quorum > len(g.Names) {
		return blockedBy(primary)
	}
	if g.Quorum == 0 {
		return nil, 0
	}
	return g.Names, g.Quorum
}

// streams says whether the primary sees a standby streaming, and its position there.
func streams(primary plan.Observation, node string) (uint64, bool) {
	for _, d := range primary.Standbys {
		if d.Node == node {
			return d.Position, true
		}
	}
	return 0, false
}

// leavesLine says whether an operator wants the member's data copied anew.
func (f *facts) leavesLine(node string) bool {
	return f.s.Wish != nil && f.s.Wish.Kind == WishReinit && f.s.Wish.To == node
}

// ready lists the standbys that may be in the set: those that stream from the primary, and those of the set that were
// not away for longer than the patience.
func (f *facts) ready() []string {
	primary := f.v.Nodes[f.s.Primary].Report.Observation
	var all []string
	for _, m := range f.v.Service.Members {
		n := m.Node
		if n == f.s.Primary || m.Cascade || f.leavesLine(n) {
			continue
		}
		at, up := streams(primary, n)
		in := slices.Contains(f.s.Sync.Names, n) || (m.Async || f.s.Sync.Quorum == 0) && slices.Contains(f.s.InLine, n)
		switch {
		case up && in:
			all = append(all, n)
		case up && at > 0 && primary.Position <= at+f.v.Service.MaxLag && !f.v.suspected(n) && f.follows(n):
			all = append(all, n)
		case !up && in && f.v.Nodes[n].Away < f.v.Service.Patience && !f.emptied(n):
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

// follows says whether a standby itself says that it streams from the primary.
func (f *facts) follows(node string) bool {
	r, ok := f.v.heard(node)
	o := r.Observation
	return ok && r.Observed && o.Streaming && o.Upstream == f.s.Primary && (f.s.SystemID == "" || o.SystemID == f.s.SystemID)
}

func (f *facts) emptied(node string) bool {
	r, ok := f.v.heard(node)
	return ok && r.Observed && r.Observation.Empty
}

// guarantee is what the declaration asks for with the members that are in line; those that are asynchronous confirm nothing.
func (s Service) guarantee(inLine []string) Guarantee {
	var names []string
	for _, n := range inLine {
		if m, _ := s.Member(n); !m.Async {
			names = append(names, n)
		}
	}
	switch {
	case s.Protection == MaxPerformance, len(names) == 0 && s.Protection != MaxProtection:
		return Guarantee{}
	case len(names) == 0:
		return Guarantee{Quorum: 1}
	}
	return Guarantee{Names: names, Quorum: quorumFor(s.Quorum, len(names))}
}

// desired is the guarantee that the declaration asks for with the standbys that are ready, and who is in line.
func (f *facts) desired() (Guarantee, []string) {
	ready := f.ready()
	g := f.v.Service.guarantee(ready)
	if g.Quorum > len(g.Names) && len(f.s.Sync.Names) > 0 { // max-protection keeps what it has and waits
		return f.s.Sync, join(f.s.InLine, ready)
	}
	return g, ready
}

// syncChanges finds a set in the record, or on the primary, that is not the desired one.
func (f *facts) syncChanges() bool {
	r, ok := f.v.heard(f.s.Primary)
	if f.s.Primary == "" || !ok || !r.Observed || r.Observation.Role != plan.Primary || !r.Serving || r.Epoch != f.s.Epoch || !f.v.Lease.Known {
		return false
	}
	if f.s.Plan != nil && f.s.Plan.Runner != f.v.Self && !f.v.suspected(f.s.Plan.Runner) {
		return false // its runner replaces it
	}
	want, inLine := f.desired()
	if p := f.s.Plan; p != nil {
		if p.Kind == PlanSync && (!p.Next.Equal(want) || !slices.Equal(p.InLine, inLine)) && len(f.s.Before) < beforeSize {
			return f.say("while the set was being changed to %s the standbys that are ready became [%s]", p.Next, strings.Join(inLine, " "))
		}
		return false
	}
	names, quorum := inForce(f.s.Sync, f.s.Primary)
	switch {
	case !want.Equal(f.s.Sync):
		return f.say("%s is recorded, %s is due: ready are [%s]", f.s.Sync, want, strings.Join(inLine, " "))
	case !slices.Equal(inLine, f.s.InLine) && len(f.s.Before) == 0:
		return f.say("in line are [%s], recorded [%s]", strings.Join(inLine, " "), strings.Join(f.s.InLine, " "))
	case !slices.Equal(names, r.Observation.SyncNames) || quorum != r.Observation.SyncQuorum:
		return f.say("%s keeps any %d of [%s], recorded is %s", f.s.Primary, r.Observation.SyncQuorum, strings.Join(r.Observation.SyncNames, " "), f.s.Sync)
	case len(f.s.Before) > 0 && f.s.Base == 0:
		return f.say("an earlier change of the set was not finished")
	}
	return false
}

// String is the guarantee for people.
func (g Guarantee) String() string {
	switch {
	case g.Quorum > len(g.Names):
		return "no writes without a standby"
	case g.Quorum == 0:
		return "asynchronous"
	}
	return fmt.Sprintf("any %d of [%s]", g.Quorum, strings.Join(g.Names, " "))
}

// needs says what a write waits for before it is acknowledged.
func (g Guarantee) needs() string {
	switch {
	case g.Quorum > len(g.Names):
		return "never: there is no standby to wait for"
	case g.Quorum == 0:
		return "without waiting for a standby"
	case g.Quorum == 1:
		return fmt.Sprintf("once %s has them", g)
	}
	return fmt.Sprintf("once %s have them", g)
}

// settled says whether so many of the set have what was written before it that the older guarantees are not needed.
func (f *facts) settled() bool {
	if f.s.Base == 0 {
		return false
	}
	primary := f.v.Nodes[f.s.Primary].Report.Observation
	n := 0
	for _, name := range f.s.Sync.Names {
		if at, up := streams(primary, name); up && at >= f.s.Base {
			n++
		}
	}
	return n >= f.s.Sync.Quorum
}

func (f *facts) settles() bool {
	if len(f.s.Before) == 0 || f.s.Plan != nil || f.s.Primary == "" || !f.settled() {
		return false
	}
	r, ok := f.v.heard(f.s.Primary)
	names, quorum := inForce(f.s.Sync, f.s.Primary)
	if !ok || !r.Serving || r.Epoch != f.s.Epoch || !slices.Equal(names, r.Observation.SyncNames) || quorum != r.Observation.SyncQuorum {
		return false
	}
	return f.say("%d of [%s] have position %d, from which on %s holds", f.s.Sync.Quorum, strings.Join(f.s.Sync.Names, " "), f.s.Base, f.s.Sync)
}

package failover

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/decide/plan"
)

// facts is a view with what follows from it.
type facts struct {
	v        View
	s        State // zero where there is no record
	evidence string

	trouble string   // why the primary does not serve; empty: nothing is known against it
	certain bool     // enough is known to act on it
	dead    bool     // its own node says that its instance does not run
	silent  bool     // it is the others who say so, not its own node
	voters  []string // who suspects it
}

func (f *facts) say(format string, args ...any) bool {
	f.evidence = fmt.Sprintf(format, args...)
	return true
}

// look finds what is wrong with the primary.
func (f *facts) look() {
	v, s := f.v, f.s
	if s.Primary == "" {
		f.trouble, f.certain = "no node has the authority of a primary", s.Last != "" || s.Epoch > 0
		return
	}
	var why string
	f.voters, why = v.suspicions(s.Primary)
	if n := len(f.voters); n >= v.majority() {
		f.trouble, f.certain, f.silent = fmt.Sprintf("%s is suspected by %s, %d of %d nodes: %s",
			s.Primary, strings.Join(f.voters, ", "), n, len(v.Service.Voters), why), true, true
		return
	}
	if r, ok := v.heard(s.Primary); ok && f.testimony(r) {
		f.certain = true
		return
	}
	if n := len(f.voters); n > 0 {
		f.trouble, f.silent = fmt.Sprintf("%s is suspected by %s, only %d of %d nodes: %s",
			s.Primary, strings.Join(f.voters, ", "), n, len(v.Service.Voters), why), true
	}
}

// testimony finds what the primary's own node says against it.
func (f *facts) testimony(r Report) bool {
	v, o := f.v, r.Observation
	learned := r.Epoch == f.s.Epoch && v.EpochAge >= v.Service.Suspicion
	switch {
	case r.Epoch > f.s.Epoch: // we are behind
		return false
	case !r.Observed && r.Idle > v.Service.Patience:
		f.trouble = f.s.Primary + " cannot look at its instance"
	case r.Observed && o.Empty && learned:
		f.trouble, f.dead = f.s.Primary+" has no data any more", true
	case r.Observed && !o.Running && learned:
		f.trouble, f.dead = f.s.Primary+" says that its instance does not run", true
	case r.Observed && o.Role == plan.Standby && learned && v.Store:
		f.trouble = f.s.Primary + " runs as a standby"
	case r.Idle > v.Service.Patience:
		f.trouble = fmt.Sprintf("%s has not been able to write for %v: %s", f.s.Primary, r.Idle.Round(time.Millisecond), o.Problem)
	case !r.Serving && learned && r.Store:
		f.trouble = f.s.Primary + " has lost the lease"
	case !r.Store && learned && r.StoreAway > v.Service.Suspicion && v.Store && f.storeSeenByMajority():
		f.trouble = fmt.Sprintf("%s has not reached the store for %v, the others do", f.s.Primary, r.StoreAway.Round(time.Millisecond))
	default:
		return false
	}
	return true
}

func (f *facts) storeSeenByMajority() bool {
	n := 0
	for _, voter := range f.v.Service.Voters {
		if r, ok := f.v.heard(voter); ok && r.Store {
			n++
		}
	}
	return n >= f.v.majority()
}

func (f *facts) blind() bool { return !f.v.StateKnown || !f.v.Store }

func (f *facts) paused() bool {
	return f.s.Paused && f.s.Plan.yields() && !f.isForced() && f.say("%s", f.s.PausedFor)
}

func (f *facts) underway() bool {
	if f.s.Plan.yields() {
		return false
	}
	return f.say("plan %s, by rule %q", f.s.Plan.ID, f.s.Plan.Rule)
}

func (f *facts) isForced() bool { return f.s.Wish != nil && f.s.Wish.Kind == WishFailover }

func (f *facts) forced() bool {
	if !f.isForced() || f.s.Plan != nil && f.s.Plan.Forced {
		return false
	}
	return f.say("%s asked for it", f.s.Wish.By)
}

// overtaken finds a plan whose epoch can never be granted: the lease was revoked again, or had in this epoch by a process
// that is gone.
func (f *facts) overtaken() bool {
	l := f.v.Lease
	if f.s.Plan.yields() || f.s.Primary != "" || !l.Known || f.revoking() {
		return false
	}
	if l.Epoch == f.s.Epoch && l.Free && !l.Open {
		return f.say("the lease of epoch %d was held by %q and has lapsed", l.Epoch, l.Holder)
	}
	return l.Epoch > f.s.Epoch && f.say("the record is at epoch %d, the lease at %d", f.s.Epoch, l.Epoch)
}

// revoking says whether the plan has its revocation still before it.
func (f *facts) revoking() bool {
	for _, t := range f.s.Plan.Tasks {
		if t.Kind == plan.Revoke {
			return !t.Done
		}
	}
	return false
}

func (f *facts) electedLost() bool {
	p := f.s.Plan
	if p.yields() || f.s.Elected == "" || f.revoking() {
		return false
	}
	if voters, why := f.v.suspicions(f.s.Elected); p.Kind != PlanCreate && len(voters) >= f.v.majority() {
		return f.say("%s is suspected by %s: %s", f.s.Elected, strings.Join(voters, ", "), why)
	}
	if f.v.GroupAge <= f.v.Service.CatchUp {
		return false
	}
	i := slices.IndexFunc(p.Tasks, func(t Task) bool { return t.Group == p.Group && !t.Done })
	if i < 0 || p.Tasks[i].Kind == plan.Create || p.Tasks[i].Error == "" {
		return false // slow is not lost
	}
	return f.say("%s has not done its part within %v: %s", f.s.Elected, f.v.Service.CatchUp, p.Tasks[i].Error)
}

// switchLost finds a switchover whose primary is gone before it could hand over.
func (f *facts) switchLost() bool {
	p := f.s.Plan
	if p == nil || p.Kind != PlanSwitchover || f.s.Primary == "" {
		return false
	}
	if len(f.voters) >= f.v.majority() {
		return f.say("%s", f.trouble)
	}
	i := slices.IndexFunc(p.Tasks, func(t Task) bool { return t.Kind == plan.Stop || t.Kind == plan.Demote })
	if i >= 0 && p.Group == p.Tasks[i].Group && f.v.GroupAge > f.v.Service.CatchUp {
		return f.say("%s has not stepped down within %v: %s", f.s.Primary, f.v.Service.CatchUp, p.Tasks[i].Error)
	}
	return false
}

// recovered finds a failover that has not revoked anything yet, such as one that waits for a lease to lapse, while the
// primary keeps the lease and nothing is wrong with it any more.
func (f *facts) recovered() bool {
	p, l := f.s.Plan, f.v.Lease
	if p == nil || p.Kind != PlanFailover || p.Forced || f.s.Primary == "" || f.trouble != "" || f.v.GroupAge < f.v.Service.Suspicion {
		return false
	}
	r, ok := f.v.heard(f.s.Primary)
	return ok && r.Serving && r.Lease && r.Epoch == f.s.Epoch && l.Epoch == f.s.Epoch && l.Holder == f.s.Primary &&
		f.say("%s serves and holds the lease of epoch %d", f.s.Primary, l.Epoch)
}

func (f *facts) down() bool {
	if f.trouble == "" || !f.certain {
		return false
	}
	return f.say("%s", f.trouble)
}

func (f *facts) unsure() bool { return f.trouble != "" && !f.certain && f.say("%s", f.trouble) }

// others are the members that could be fenced without the primary.
func (f *facts) others() []string {
	return slices.DeleteFunc(f.v.reachable(), func(n string) bool { return n == f.s.Last })
}

func (f *facts) restarts() bool {
	r, ok := f.v.heard(f.s.Primary)
	if !ok || !f.dead || f.silent || !r.Lease || r.Observation.Empty || r.Idle > f.v.Service.Patience || r.Observation.Epoch != f.s.Epoch {
		return false
	}
	if RestartInPlace(f.v) {
		return f.say("%s, %s", f.trouble, restartWhy(f.v))
	}
	return false
}

// heldDown wants better reasons soon after a failover: silence for twice as long as would do otherwise.
func (f *facts) heldDown() bool {
	held := f.down() && f.silent && f.s.Failovers > 0 && f.v.EpochAge < f.v.Service.HoldDown
	if !held {
		return false
	}
	if n := f.v.Nodes[f.s.Primary]; n.Ago < 2*f.v.Service.Suspicion && f.v.suspected(f.s.Primary) {
		return f.say("%s; the last failover was %v ago", f.trouble, f.v.EpochAge.Round(time.Millisecond))
	}
	return false
}

// flappingLimit is how many failovers within ten hold-downs are too many.
const flappingLimit = 20

func (f *facts) flapping() bool {
	return f.down() && f.s.Primary != "" && f.v.Recent >= flappingLimit &&
		f.say("%s; %d failovers within %v", f.trouble, f.v.Recent, 10*f.v.Service.HoldDown)
}

// asynchronous says whether a failover may lose what was not replicated, because the service is declared so.
func (f *facts) asynchronous() bool { return f.v.Service.Protection == MaxPerformance }

func (f *facts) wouldLose() bool {
	if !f.down() || f.asynchronous() && len(f.v.reachable()) > 0 {
		return false
	}
	if f.outdated() {
		return true
	}
	if reach := f.v.reachable(); !f.s.Covered(reach) {
		return f.say("%s; acknowledged writes are on %s, of which [%s] can be reached", f.trouble, f.s.whereabouts(), strings.Join(reach, " "))
	}
	return false
}

// outdated finds a record that is older than an instance, as after a recovery of the store from an older state: who has the acknowledged
// writes is not known then, unless all are asked.
func (f *facts) outdated() bool {
	newest, missing := "", []string(nil)
	epoch := f.s.Epoch
	for _, m := range f.v.Service.Members {
		if r, ok := f.v.heard(m.Node); ok && r.Observed && r.Observation.Epoch > epoch {
			newest, epoch = m.Node, r.Observation.Epoch
		}
		if !f.v.able(m.Node) {
			missing = append(missing, m.Node)
		}
	}
	return newest != "" && len(missing) > 0 &&
		f.say("%s; %s has known epoch %d, the record only %d: it does not tell who has all acknowledged writes, and [%s] cannot be reached",
			f.trouble, newest, epoch, f.s.Epoch, strings.Join(missing, " "))
}

// whereabouts says where the acknowledged writes are.
func (s State) whereabouts() string {
	text := "the last primary " + s.Last
	for _, g := range append([]Guarantee{s.Sync}, s.Before...) {
		text += fmt.Sprintf(" and %d of [%s]", g.Quorum, strings.Join(g.Names, " "))
	}
	return text
}

func (f *facts) noCandidate() bool {
	if !f.down() {
		return false
	}
	for _, n := range f.v.reachable() {
		if m, ok := f.v.Service.Member(n); ok && (!m.NoFailover || n == f.s.Last) {
			return false
		}
	}
	return f.say("%s; all that can be reached are declared nofailover", f.trouble)
}

// leaseHeld: without standbys that refuse to confirm, only time ends an old primary's authority.
func (f *facts) leaseHeld() bool {
	if _, ok := f.v.heard(f.s.Primary); ok { // it can be told to stop and give the lease back
		return false
	}
	return f.down() && f.mustLapse() && !f.v.Lease.Free && f.say("%s; the lease of %s has not lapsed", f.trouble, f.v.Lease.Holder)
}

// mustLapse says whether the lease has to be waited out: where commits do not need the standbys that are fenced.
func (f *facts) mustLapse() bool { return f.asynchronous() || !f.s.Covered(f.v.reachable()) }

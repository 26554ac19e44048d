package control

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/decide/failover"
)

// An invariant is something that must hold at every moment of every schedule. TestEveryInvariantCanBeBroken shows of each
// that the simulation would notice.
type invariant string

const (
	keepsAcknowledged invariant = "no acknowledged write is lost"
	knowsWhere        invariant = "no election that the record would allow can miss an acknowledged write"
	onePrimary        invariant = "one primary takes clients' writes"
	stepsDown         invariant = "a primary without authority is stopped"
	epochsGrow        invariant = "epochs grow, and each is granted once"
	grantsPromoted    invariant = "who is granted an epoch was promoted under it"
	saysBefore        invariant = "what is done is on the event log before"
	handsOff          invariant = "a paused service is left alone"
	lossIsAsked       invariant = "writes are given up only where an operator accepted it"
	becomesWhole      invariant = "once all is healed all is whole again"
	other             invariant = "something else"
)

var invariants = []invariant{
	keepsAcknowledged, knowsWhere, onePrimary, stepsDown, epochsGrow, grantsPromoted, saysBefore, handsOff, lossIsAsked, becomesWhole,
}

// breaks notes that an invariant does not hold. With something made wrong on purpose that is what is looked for.
func (s *sim) breaks(i invariant, format string, args ...any) {
	s.mu.Lock()
	again := s.broken == i
	if s.broken == "" {
		s.broken = i
	}
	s.mu.Unlock()
	if again {
		return
	}
	s.logf("BROKEN %s: %s", i, fmt.Sprintf(format, args...))
	if s.wrong.name == "" {
		s.t.Errorf("%s: %s", i, fmt.Sprintf(format, args...))
	}
}

func (s *sim) fail(format string, args ...any) { s.breaks(other, format, args...) }

func (s *sim) hasFailed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken != ""
}

// tells takes in what a node puts on its event log.
func (s *sim) tells(node string, r event.Record) {
	if slices.Contains(s.wrong.untold, r.Kind) {
		return
	}
	s.logf("%s: %s: %s [%s]", node, r.Kind, r.Message, r.Evidence)
	if id, ok := r.Fields["plan"].(string); ok {
		s.mu.Lock()
		s.told[r.Kind+" "+id] = true
		s.mu.Unlock()
	}
}

func (s *sim) wasTold(kind, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told[kind+" "+id]
}

// follow checks each version of the record as it is written.
func (s *sim) follow() {
	var last failover.State
	for up := range s.store.Client("referee").Watch(s.ctx, "services/db/state") {
		for _, c := range up.Changes {
			var now failover.State
			if err := json.Unmarshal(c.Value, &now); err != nil {
				s.fail("the record cannot be read: %v", err)
				continue
			}
			s.logf("record: epoch %d primary %q hold %t elected %q sync %s before %v in line %v base %d plan %s",
				now.Epoch, now.Primary, now.Hold, now.Elected, now.Sync, now.Before, now.InLine, now.Base, planText(now.Plan))
			s.compare(last, now)
			s.mu.Lock()
			s.recorded = now
			values := slices.Collect(maps.Keys(s.acked))
			s.mu.Unlock()
			s.covers(now, values, s.disks()) // the disks after the acknowledgements were collected
			last = now
		}
	}
}

// compare holds a version of the record against the one before.
func (s *sim) compare(last, now failover.State) {
	if now.Epoch < last.Epoch {
		s.breaks(epochsGrow, "epoch %d after %d", now.Epoch, last.Epoch)
	}
	s.mu.Lock()
	was := s.grants[now.Epoch]
	if now.Primary != "" {
		s.grants[now.Epoch] = now.Primary
	}
	s.mu.Unlock()
	if now.Primary != "" && was != "" && was != now.Primary {
		s.breaks(epochsGrow, "epoch %d was granted to %s and to %s", now.Epoch, was, now.Primary)
	}
	if now.Primary != "" && last.Primary != now.Primary {
		s.granted(now)
	}
	if now.Plan == nil || last.Plan != nil && last.Plan.ID == now.Plan.ID {
		if p := now.Plan; p != nil {
			s.dies(p)
		}
		return
	}
	p := now.Plan // which begins
	if !s.wasTold(eventPlan, p.ID) {
		s.breaks(saysBefore, "plan %s (%s) began and is not on the event log", p.ID, p.Kind)
	}
	asked := last.Wish != nil && last.Wish.Kind == failover.WishFailover || last.Plan != nil && last.Plan.Forced
	if p.Forced && !asked {
		s.breaks(lossIsAsked, "plan %s (%s) may lose writes, and nobody asked for that", p.ID, p.Kind)
	}
	if last.Paused && now.Paused && !p.Forced && (last.Plan == nil || last.Plan.Kind == failover.PlanSync) {
		s.breaks(handsOff, "plan %s (%s) began in a paused service", p.ID, p.Kind)
	}
	s.dies(p)
}

// granted checks a grant: the new primary was promoted under that epoch and has everything.
func (s *sim) granted(now failover.State) {
	proof := now.History[len(now.History)-1]
	forced := strings.Contains(proof.Outcome, "force")
	if forced {
		s.forgive(now.Primary)
	}
	if !s.world.Instance(now.Primary).Reigned(now.Epoch) {
		s.breaks(grantsPromoted, "%s was granted epoch %d and was never promoted under it", now.Primary, now.Epoch)
	}
	if proof.Kind == failover.PlanFailover && !s.lost && !forced && !strings.Contains(proof.Arithmetic, ">") && !strings.Contains(proof.Arithmetic, "has every acknowledged write") {
		s.breaks(knowsWhere, "the proof of %s shows nothing: %s", proof.ID, proof.Arithmetic)
	}
	s.check(now.Primary)
}

// forgive forgets what was acknowledged and is not on a node: an operator accepted that it is lost.
func (s *sim) forgive(node string) {
	has := map[string]bool{}
	for _, v := range s.world.Instance(node).Values() {
		has[v] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := range s.acked {
		if !has[v] {
			delete(s.acked, v)
		}
	}
}

// covers looks whether the record could call a set of members enough of which none has some acknowledged write.
func (s *sim) covers(now failover.State, values []string, has func(member, value string) bool) {
	if s.lost || now.Last == "" {
		return
	}
	for _, v := range values {
		var without []string
		for _, m := range s.members {
			if !has(m, v) {
				without = append(without, m)
			}
		}
		if now.Covered(without) {
			s.breaks(knowsWhere, "by the record %v would be enough for an election, and none of them has %s", without, v)
			return
		}
	}
}

// disks is what the members have now.
func (s *sim) disks() func(member, value string) bool {
	has := map[string]map[string]bool{}
	for _, m := range s.members {
		has[m] = map[string]bool{}
		for _, v := range s.world.Instance(m).Values() {
			has[m][v] = true
		}
	}
	return func(member, value string) bool { return has[member][value] }
}

// dies ends the process of a plan's runner where that is due.
func (s *sim) dies(p *failover.Progress) {
	s.mu.Lock()
	due := s.runnerDies == 0
	if s.runnerDies >= 0 {
		s.runnerDies--
	}
	s.mu.Unlock()
	if n := s.nodes[p.Runner]; due && n != nil && n.up() && !n.isHung() {
		s.logf("---- %s dies, which runs plan %s (%s), at group %d", p.Runner, p.ID, p.Kind, p.Group)
		s.parts.Go(func() { n.kill(false) })
	}
}

// referee looks again and again for what must not be seen: an asynchronous service with two members that take writes
// through proxies (nothing but time keeps them apart), and an instance that would take writes long after its node has lost
// the authority for it.
func (s *sim) referee() {
	rogue := map[string]time.Time{}
	for s.ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
		writers := s.world.Writers()
		var takes []string
		now := time.Now()
		for _, n := range s.names {
			node := s.nodes[n]
			if !node.up() || node.isHung() {
				delete(rogue, n)
				continue
			}
			r := node.ctl().Routes().Route("db")
			if r.Valid(now) && slices.Contains(writers, r.Primary) && !slices.Contains(takes, r.Primary) && (r.Primary == n || s.linked(n, r.Primary)) {
				takes = append(takes, r.Primary)
			}
			switch since := rogue[n]; {
			case !slices.Contains(writers, n) || r.Primary == n && now.Before(r.Until):
				delete(rogue, n)
			case since.IsZero():
				rogue[n] = now
			case now.Sub(since) > 2*s.svc.TTL:
				s.breaks(stepsDown, "%s would take writes since %v without authority", n, since)
			}
		}
		if s.lost && len(takes) > 1 {
			s.breaks(onePrimary, "%v all take clients' writes", takes)
		}
	}
}

package control

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
)

// Kinds of records on the event log.
const (
	eventPlan    = "failover.plan"        // a plan begins
	eventResumed = "failover.resumed"     // another node carries a plan on
	eventCare    = "failover.care"        // a node does something about its own instance
	eventFailed  = "failover.care_failed" // and it did not work
	eventHeld    = "failover.held"        // something is wrong, and nothing can be done about it automatically
	eventRefused = "failover.refused"     // what an operator wished cannot be had
)

// think is one round of the loop: look, judge, and see to it that what follows is done.
func (u *unit) think(now time.Time) {
	u.now = now
	u.heed(now)
	u.probe(now)
	v := u.look(now)
	contacts, _ := u.c.look()
	fencing := u.reflex(contacts)
	u.keepLease(v)
	if u.known && !fencing {
		if u.state != nil && u.state.Plan != nil {
			u.depose()
			u.work(v)
			u.carry(v)
		}
		if u.known && !u.writing && !u.resync {
			u.decide(v)
		}
		u.care(v)
	}
	u.announce(u.look(time.Now()), contacts)
}

// carry carries the plan on: as its runner, in place of a runner that is gone, or for the sake of a runner that does not
// hear this node.
func (u *unit) carry(v failover.View) {
	if u.writing || u.resync || !v.Store {
		return
	}
	p := u.state.Plan
	if p.Runner == u.c.o.Self {
		next, notes, moved := u.c.o.judge.advance(v)
		if !moved {
			return
		}
		for _, n := range notes {
			u.tell(n.Kind, n.Member, n.Text, n.Evidence, next.Epoch)
		}
		u.write(next, "advance")
		return
	}
	if next, changed := u.unheard(u.now); changed {
		u.write(next, "own marks")
		return
	}
	r, ok := v.Nodes[p.Runner]
	if ok && r.Heard && r.Report.Store {
		return
	}
	if u.due(v, "resume", p.Kind) {
		next := u.state.Clone()
		next.Plan.Runner = u.c.o.Self
		u.tell(eventResumed, u.c.o.Self, fmt.Sprintf("%s carries on plan %s of %s in place of %s", u.c.o.Self, p.ID, u.svc.Name, p.Runner), "its runner is not heard", next.Epoch)
		u.write(next, "resume")
	}
}

// due says whether it is this node's turn to begin something: the nodes that can are asked one after the other, so that
// not all begin at once. Who is first is only a matter of economy.
func (u *unit) due(v failover.View, what, kind string) bool {
	t := u.turns[what]
	if u.now.Sub(t.asked) > 3*u.svc.Heartbeat {
		t.since = u.now
	}
	t.asked = u.now
	u.turns[what] = t
	rank := 0
	for _, n := range u.order(kind) {
		if n == u.c.o.Self {
			break
		}
		if r, ok := v.Nodes[n]; ok && r.Heard && r.Report.Store && !r.Report.Leaving {
			rank++
		}
	}
	return u.now.Sub(t.since) >= time.Duration(rank)*u.svc.Heartbeat
}

// A turn is for how long something has been due without a break.
type turn struct{ since, asked time.Time }

// order lists the nodes by who should begin a plan of a kind: what concerns a primary that works, the primary first; its
// replacement, the primary last.
func (u *unit) order(kind string) []string {
	all := slices.Clone(u.svc.Voters)
	slices.Sort(all)
	if u.state == nil {
		return all
	}
	first := kind == failover.PlanSync || kind == failover.PlanSwitchover
	primary := u.state.Last
	all = slices.DeleteFunc(all, func(n string) bool { return n == primary })
	if first {
		return append([]string{primary}, all...)
	}
	return append(all, primary)
}

// decide asks the rules and begins what they order.
func (u *unit) decide(v failover.View) {
	d := u.c.o.judge.decide(v)
	u.c.o.Record(v, d)
	u.mu.Lock()
	u.said = d
	u.mu.Unlock()
	switch d.Verdict {
	case failover.Act:
		if !u.due(v, d.Rule, d.Plan.Kind) {
			return
		}
		next := failover.State{Service: u.svc.Name}
		if u.state != nil {
			next = u.state.Clone()
		}
		next.GiveUp(d.Rule)
		next.Plan = d.Plan
		u.tellOf(d.Plan, eventPlan, d.Plan.From, fmt.Sprintf("%s: a %s of %s begins", d.Rule, d.Plan.Kind, u.svc.Name), d.Evidence, next.Epoch)
		u.write(next, "begin")
	case failover.GiveUp:
		if u.due(v, d.Rule, failover.PlanFailover) {
			next := u.state.Clone()
			u.tell(eventPlan, next.Primary, fmt.Sprintf("%s: plan %s of %s is given up", d.Rule, next.Plan.ID, u.svc.Name), d.Evidence, next.Epoch)
			next.GiveUp(d.Rule)
			u.write(next, "give up")
		}
	case failover.Refuse:
		if u.due(v, d.Rule, failover.PlanSync) {
			next := u.state.Clone()
			u.tell(eventRefused, next.Wish.To, fmt.Sprintf("%s of %s: %s", next.Wish.Kind, u.svc.Name, d.Rule), d.Evidence, next.Epoch)
			next.Answer(failover.Refused, d.Evidence, v.Now)
			u.write(next, "refuse")
		}
	case failover.Ask:
		if u.toldRule != d.Rule && u.due(v, d.Rule, failover.PlanFailover) {
			u.tell(eventHeld, u.last(), fmt.Sprintf("%s: nothing is done about %s automatically", d.Rule, u.svc.Name), d.Evidence, u.epoch())
			u.toldRule = d.Rule
		}
		return
	}
	u.toldRule = ""
}

// fulfilled ends a wish that this node has seen to.
func (u *unit) fulfilled(id string) {
	u.granting = true
	u.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, u.patienceWithStore())
		defer cancel()
		err := u.c.change(ctx, u, func(s *failover.State) error {
			if s.Wish != nil && s.Wish.ID == id {
				s.Answer(failover.Fulfilled, fmt.Sprintf("%s of %s is done", s.Wish.Kind, s.Wish.To), u.c.o.wall())
			}
			return nil
		})
		return func() { u.granting, u.resync = false, u.resync || err != nil }
	})
}

// announce tells the data plane and the other nodes.
func (u *unit) announce(v failover.View, contacts map[string]Contact) {
	own := v.Nodes[u.c.o.Self].Report
	u.mu.Lock()
	u.report, u.view = own, v
	u.mu.Unlock()
	u.route(contacts)
	if news(own, u.lastReport) {
		u.lastReport = own
		u.c.publish(true)
	}
}

// news says whether a report has something that the others should not wait for.
func news(a, b failover.Report) bool {
	ao, bo := a.Observation, b.Observation
	if a.Epoch != b.Epoch || a.Observed != b.Observed || a.Serving != b.Serving || a.Store != b.Store || a.Leaving != b.Leaving || a.Quiet != b.Quiet ||
		len(a.Suspects) != len(b.Suspects) || ao.Running != bo.Running || ao.Role != bo.Role || ao.Writable != bo.Writable ||
		ao.Upstream != bo.Upstream || ao.Streaming != bo.Streaming || ao.Empty != bo.Empty || ao.Epoch != bo.Epoch || len(ao.Standbys) != len(bo.Standbys) {
		return true
	}
	return !slices.Equal(ao.SyncNames, bo.SyncNames) || ao.SyncQuorum != bo.SyncQuorum || !reflect.DeepEqual(a.Marks, b.Marks)
}

// route says where clients are to be sent.
func (u *unit) route(contacts map[string]Contact) {
	r := Route{Service: u.svc.Name, Hold: true}
	if s := u.state; s != nil {
		r.Primary, r.Epoch, r.Hold = s.Primary, s.Epoch, s.Hold || s.Primary == ""
		if m, ok := u.svc.Member(s.Primary); ok {
			r.Address = m.Address
		}
		if s.Hold && s.Plan != nil {
			r.Plan = s.Plan.ID
		}
		if s.Primary == u.c.o.Self {
			r.Until = u.authorityUntil(contacts)
		} else if s.Primary != "" {
			r.Until = u.trustedUntil(contacts)
		}
	}
	if u.engine != nil {
		r.Authority, r.Harmless = u.guardedUntil(contacts), u.harmless()
	}
	u.c.routes.set(r)
}

// trustedUntil is until when this node believes in another's authority: a ttl after the store last spoke, or after every
// member last said that it knows of no newer epoch.
func (u *unit) trustedUntil(contacts map[string]Contact) time.Time {
	until := u.stateSeen.Add(u.svc.TTL)
	if u.stateSeen.IsZero() {
		until = time.Time{}
	}
	var all time.Time
	for _, m := range u.svc.Members {
		contact := contacts[m.Node]
		if m.Node == u.c.o.Self {
			continue
		}
		r, ok := contact.Message.Services[u.svc.Name]
		if !ok || contact.Broken != "" || r.Epoch != u.state.Epoch || m.Node == u.state.Primary && !r.Serving {
			return until
		}
		if good := contact.Received.Add(u.svc.TTL); all.IsZero() || good.Before(all) {
			all = good
		}
	}
	if all.After(until) {
		return all
	}
	return until
}

// last is the node that was primary last; empty where there was none.
func (u *unit) last() string {
	if u.state == nil {
		return ""
	}
	return u.state.Last
}

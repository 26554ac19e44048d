package control

import (
	"crypto/rand"
	"slices"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/decide/plan"
)

// look puts together what is known now.
func (u *unit) look(now time.Time) failover.View {
	contacts, since := u.c.look()
	suspects := map[string]string{}
	for _, n := range u.svc.Voters {
		if n == u.c.o.Self {
			continue
		}
		if why := suspect(contacts[n], since, now, u.svc.Suspicion); why != "" {
			suspects[n] = why
		}
	}
	own := u.ownReport(now, suspects, contacts)
	v := failover.View{
		Now: u.c.o.wall(), Self: u.c.o.Self, Service: u.svc, StateKnown: u.known, State: u.state, Store: own.Store,
		Nodes: map[string]failover.Node{}, EpochAge: now.Sub(u.epochSeen), GroupAge: now.Sub(u.groupSeen), Deposed: u.deposed,
		Serving: own.Serving, Tries: u.caring.tries, ID: rand.Text()[:8],
	}
	for n, contact := range contacts {
		r := contact.Message.Services[u.svc.Name]
		if r.Serving {
			u.served[n] = contact.Received
		}
		_, bad := suspects[n]
		v.Nodes[n] = failover.Node{Heard: !bad && !contact.Received.IsZero() && r.Node != "", Ago: now.Sub(contact.Received), Report: r}
	}
	v.Nodes[u.c.o.Self] = failover.Node{Heard: true, Report: own}
	u.lookAway(&v, now)
	lease := u.lease.View()
	v.Lease = failover.Lease{Known: lease.Known, Holder: lease.Holder, Epoch: lease.Epoch, Mine: lease.Held, Open: lease.Open && lease.Holder == ""}
	v.Lease.Free = u.leaseFree(now)
	if own.Serving {
		v.Left = max(u.authorityUntil(contacts).Sub(now), 0)
	}
	u.failovers = slices.DeleteFunc(u.failovers, func(t time.Time) bool { return now.Sub(t) > 10*u.svc.HoldDown })
	v.Recent = len(u.failovers)
	return v
}

// leaseFree says whether whoever held the lease must have given it up by his own deadline.
func (u *unit) leaseFree(now time.Time) bool {
	l := u.lease.View()
	if !l.Known || now.Before(l.FreeAt) || l.Holder != "" && now.Before(l.Since.Add(u.svc.TTL)) {
		return false
	}
	// Of one that was revoked the holder may still be within his deadline.
	return !l.Open || !now.Before(l.Since.Add(u.svc.TTL))
}

// lookAway follows for how long the primary has not seen each standby streaming. Where the primary is not heard, time
// stands still: nothing is known against the standbys.
func (u *unit) lookAway(v *failover.View, now time.Time) {
	if u.state == nil || u.state.Primary == "" {
		clear(u.away)
		return
	}
	p, ok := v.Nodes[u.state.Primary]
	r := p.Report
	if !ok || !p.Heard || !r.Observed || r.Epoch != u.state.Epoch || r.Observation.Role != plan.Primary {
		clear(u.away)
		return
	}
	for _, m := range u.svc.Members {
		if m.Node == u.state.Primary {
			continue
		}
		up := slices.ContainsFunc(r.Observation.Standbys, func(d plan.Downstream) bool { return d.Node == m.Node })
		if own := v.Nodes[m.Node]; m.Cascade && own.Heard { // the primary does not see it: its own word counts
			up = own.Report.Observed && own.Report.Observation.Streaming
		}
		if up {
			delete(u.away, m.Node)
			continue
		}
		if u.away[m.Node].IsZero() {
			u.away[m.Node] = now
		}
		n := v.Nodes[m.Node]
		n.Away = max(now.Sub(u.away[m.Node]), 1)
		v.Nodes[m.Node] = n
	}
}

// ownReport is what this node tells the others.
func (u *unit) ownReport(now time.Time, suspects map[string]string, contacts map[string]Contact) failover.Report {
	r := failover.Report{
		Node: u.c.o.Self, Epoch: u.epoch(), Suspects: suspects, Leaving: u.c.isLeaving(), Marks: u.ownMarks(), Revision: u.revision, Opened: u.opened,
	}
	if u.engine != nil && u.observed {
		r.Observed = now.Sub(u.looked) <= u.svc.Patience
		r.Observation = u.observation
	}
	if !u.idleSince.IsZero() {
		r.Idle = now.Sub(u.idleSince)
	} else if u.engine != nil && u.isPrimary() && now.Sub(u.looked) > u.svc.Suspicion {
		r.Idle = now.Sub(u.looked)
	}
	_, _, r.Lease = u.lease.Held()
	var away time.Duration
	if r.Store, away = u.storeAnswers(now); !r.Store {
		r.StoreAway = away
	}
	if s := u.state; s != nil && s.Hold && s.Plan != nil {
		if q := u.quieted.Load(); !u.c.o.Settles || q != nil && *q == s.Plan.ID {
			r.Quiet = s.Plan.ID
		}
	}
	o := u.observation
	r.Trouble = u.caring.cause
	r.Serving = u.isPrimary() && u.authority(now, contacts) || u.observed && o.Running && o.Role == plan.Primary
	return r
}

// isPrimary says whether the record, as far as it is known, has this node as primary.
func (u *unit) isPrimary() bool { return u.state != nil && u.state.Primary == u.c.o.Self }

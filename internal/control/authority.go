package control

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/decide/plan"
)

// authority says whether this node may act as the primary of the epoch it knows.
func (u *unit) authority(now time.Time, contacts map[string]Contact) bool {
	return now.Before(u.authorityUntil(contacts))
}

// authorityUntil is until when this node may act as the primary: by the lease, or, while the store does not answer, by the
// word of every other member that it knows of no newer epoch.
func (u *unit) authorityUntil(contacts map[string]Contact) time.Time {
	if u.state == nil || u.state.Primary != u.c.o.Self && u.state.Elected != u.c.o.Self {
		return time.Time{}
	}
	if epoch, deadline, ok := u.lease.Held(); ok && epoch == u.state.Epoch {
		// The word of the members counts before the lease is over, where that is not renewed: whoever guards the instance has
		// to know in time, and is told once in a heartbeat.
		if time.Until(deadline) < 4*u.svc.Heartbeat && u.isPrimary() {
			if until := u.confirmedUntil(contacts); until.After(deadline) {
				return until
			}
		}
		return deadline
	}
	if l := u.lease.View(); !u.isPrimary() || l.Epoch != u.state.Epoch || l.Holder != u.c.o.Self {
		return time.Time{} // not that the store does not answer: it has answered, and the lease is another's
	}
	return u.confirmedUntil(contacts)
}

// confirmedUntil is until when every other member's word holds that there is no newer epoch.
func (u *unit) confirmedUntil(contacts map[string]Contact) time.Time {
	others := u.confirming(time.Now())
	if len(others) == 0 { // there is nobody who could be made primary
		return time.Now().Add(u.svc.TTL)
	}
	var until time.Time
	for _, node := range others {
		contact := contacts[node]
		r, ok := contact.Message.Services[u.svc.Name]
		sent := u.c.echoed(contact.Message)
		if !ok || contact.Broken != "" || r.Epoch > u.state.Epoch || sent.IsZero() {
			return time.Time{}
		}
		if good := sent.Add(u.svc.TTL - u.svc.TTL/8); until.IsZero() || good.Before(until) {
			until = good
		}
	}
	return until
}

// confirming lists the other members, and those that were taken out a moment ago: they may not know it yet.
func (u *unit) confirming(now time.Time) []string {
	var all []string
	for _, m := range u.svc.Members {
		if m.Node != u.c.o.Self {
			all = append(all, m.Node)
		}
	}
	for node, until := range u.former {
		if now.Before(until) {
			all = append(all, node)
		}
	}
	return all
}

// reflex stops an instance that runs as a primary without authority. It says whether it had to.
func (u *unit) reflex(contacts map[string]Contact) bool {
	o := u.observation
	if u.engine == nil || !u.observed || !o.Running || o.Role != plan.Primary || u.authority(u.now, contacts) {
		if u.observed && (!o.Running || o.Role != plan.Primary) {
			u.fencedSelf = ""
		}
		return false
	}
	if u.excused() || u.c.o.off == safeguardReflex {
		return false
	}
	why := u.whyNoAuthority()
	if u.hands.busyWith(urgencyReflex) {
		return true
	}
	if u.fencedSelf != why {
		u.fencedSelf = why
		u.tell("failover.fenced_self", u.c.o.Self, fmt.Sprintf("%s stops its instance of %s: it has no authority as primary", u.c.o.Self, u.svc.Name), why, u.epoch())
	}
	step := plan.Step{Kind: plan.Stop, Mode: plan.Immediate, Service: u.svc.Name, Node: u.c.o.Self, Epoch: max(o.Epoch, u.epoch()), Why: why}
	u.use(job{urgency: urgencyReflex, step: step, after: func(outcome) {}})
	return true
}

// guardedUntil is until when the instance here may act as a primary, should this process hang: by its authority, or while it
// has only just begun.
func (u *unit) guardedUntil(contacts map[string]Contact) time.Time {
	if u.state == nil && !u.known && u.observed && u.observation.Running && u.observation.Role == plan.Primary {
		return u.started.Add(u.svc.TTL)
	}
	return u.authorityUntil(contacts)
}

// harmless says whether the instance here is known to take no writes, or to be nobody's rival if it does. What was seen
// before the end of the last step does not count, and of a standby that was asked to be a primary it does not count either
// until a later step has ended that: it may come about at any time.
func (u *unit) harmless() bool {
	h, o := &u.hands, u.observation
	if !u.observed || u.looked.Before(u.worked) || h.job != nil && opens(h.job.step.Kind) {
		return false
	}
	return !o.Running || o.Role == plan.Standby && !o.Writable && !u.asked || !u.asked && u.unborn()
}

// unborn says whether the service is new: nobody else can have authority.
func (u *unit) unborn() bool {
	if u.state == nil {
		return u.known
	}
	p := u.state.Plan
	return p != nil && p.Kind == failover.PlanCreate && p.Target == u.c.o.Self
}

// excused says when a primary without authority is nobody's rival: the service is new and being made, or not under our
// care yet, or this process has only just begun and may still learn that it is the one.
func (u *unit) excused() bool {
	if u.unborn() {
		return true
	}
	if !u.known {
		return u.now.Sub(u.started) < u.svc.TTL
	}
	// The lease was won for a promotion that has just been granted, and the record's watch is ahead of the lease's.
	return u.isPrimary() && u.taking && u.now.Sub(u.epochSeen) < u.svc.Suspicion && u.lease.View().Epoch == u.state.Epoch
}

func (u *unit) whyNoAuthority() string {
	switch l := u.lease.View(); {
	case !u.known:
		return fmt.Sprintf("the store has not answered for %v since the start", u.svc.TTL)
	case u.state.Primary != u.c.o.Self:
		return fmt.Sprintf("epoch %d is not its own: the primary is %q", u.state.Epoch, u.state.Primary)
	case l.Epoch > u.state.Epoch || l.Holder != u.c.o.Self:
		return "the lease is not its own any more: " + l.String()
	default:
		return "the lease was not renewed in time, and not every member confirms that there is no newer epoch"
	}
}

// keepLease takes the lease where the record gives this node a right to it, and gives it back where it is of no use.
func (u *unit) keepLease(v failover.View) {
	if u.state == nil || u.taking || u.releasing {
		return
	}
	mine := u.isPrimary() || u.state.Elected == u.c.o.Self && !revoking(u.state.Plan)
	epoch, _, held := u.lease.Held()
	switch {
	case mine && u.spent(v):
		if held {
			u.releaseLease()
		}
	case mine && (!held || epoch != u.state.Epoch) && u.now.Sub(u.tookAt) >= u.svc.Heartbeat:
		// Open, or won by a Take whose answer was lost. Of an earlier epoch, or another's, there is nothing to take.
		if l := u.lease.View(); l.Known && l.Epoch == u.state.Epoch && (l.Open || l.Holder == u.c.o.Self) {
			u.takeLease(u.state.Epoch, u.now)
		}
	case !mine && held && !u.deposing:
		u.releaseLease()
	}
}

// revoking says whether a plan has its revocation still before it: whoever an earlier one elected is not to go on.
func revoking(p *failover.Progress) bool {
	return p != nil && slices.ContainsFunc(p.Tasks, func(t failover.Task) bool { return t.Kind == plan.Revoke && !t.Done })
}

// spent says whether the lease only keeps others from taking over: the service is asynchronous, and the instance has
// ended and is not to be started again here.
func (u *unit) spent(v failover.View) bool {
	if !u.isPrimary() || u.svc.Protection != failover.MaxPerformance || !u.observed || u.observation.Running || u.now.Sub(u.epochSeen) < u.svc.Suspicion {
		return false
	}
	if p := u.state.Plan; p != nil {
		return p.Kind == failover.PlanFailover
	}
	return !failover.RestartInPlace(v)
}

func (u *unit) takeLease(epoch uint64, now time.Time) {
	u.taking, u.tookAt = true, now
	u.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, u.patienceWithStore())
		defer cancel()
		_, err := u.lease.Take(ctx, epoch)
		return func() {
			u.taking = false
			if err == nil {
				u.storeHeard = time.Now()
			} else {
				u.c.o.Log.Debug("lease not taken", "service", u.svc.Name, "epoch", epoch, "error", err)
			}
		}
	})
}

func (u *unit) releaseLease() {
	u.releasing = true
	u.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, u.patienceWithStore())
		defer cancel()
		err := u.lease.Release(ctx)
		return func() {
			u.releasing = false
			if err != nil {
				u.c.o.Log.Debug("lease not released", "service", u.svc.Name, "error", err)
			}
		}
	})
}

// depose ends the old holder's right to the lease, for the Revoke of a plan that this node runs.
func (u *unit) depose() {
	p := u.state.Plan
	i := current(p, plan.Revoke)
	if i < 0 || u.deposing || u.deposed == p.ID || p.Runner != u.c.o.Self {
		return
	}
	lapsed := p.Tasks[i].Mode == failover.Lapsed
	if lapsed && !u.leaseFree(u.now) {
		return
	}
	id := p.ID
	u.deposing = true
	u.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, u.patienceWithStore())
		defer cancel()
		err := u.raise(ctx, lapsed)
		return func() {
			u.deposing = false
			if err != nil {
				u.c.o.Log.Debug("lease not revoked", "service", u.svc.Name, "error", err)
				return
			}
			u.deposed = id
		}
	})
}

// raise opens the next epoch of the lease; one that has to lapse is taken first, which nobody can do too early.
func (u *unit) raise(ctx context.Context, lapsed bool) error {
	if lapsed {
		epoch, err := u.lease.Take(ctx, 0)
		if err != nil {
			return err
		}
		_, err = u.lease.Revoke(ctx, epoch)
		return err
	}
	var err error
	for range 3 { // the record may be newer than what was known here
		if _, err = u.lease.Revoke(ctx, u.lease.View().Epoch); err == nil {
			return nil
		}
	}
	return err
}

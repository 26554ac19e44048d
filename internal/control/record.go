package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/decide/failover"
)

// Recovered is what the value of a key of the store is to be after a recovery by force; nil where it stays. See
// failover.State.Recovered.
func Recovered(key string, value []byte) ([]byte, error) {
	if ok, err := path.Match(stateKey("*"), key); !ok || err != nil {
		return nil, err
	}
	var s failover.State
	if err := json.Unmarshal(value, &s); err != nil {
		return nil, err
	}
	s.Recovered()
	return json.Marshal(s)
}

// stateKey is where the store keeps the failover.State of a service.
func stateKey(service string) string { return "services/" + service + "/state" }

// learnUpdate takes in what the watch brought.
func (u *unit) learnUpdate(up cluster.Update) {
	found := false
	u.storeHeard = time.Now()
	for _, ch := range up.Changes {
		if ch.Key != u.stateKey() {
			continue
		}
		found = true
		if ch.Deleted {
			u.c.o.Log.Error("the record of a service was deleted", "service", u.svc.Name)
			continue
		}
		u.learn(ch.KV)
	}
	if up.Reset && !found && u.revision == 0 {
		u.known = true
	}
}

// learn takes in the record as it was at a revision; an older one than what is known is nothing new.
func (u *unit) learn(kv cluster.KV) {
	if kv.Revision <= u.revision {
		return
	}
	var s failover.State
	if err := json.Unmarshal(kv.Value, &s); err != nil {
		u.c.o.Log.Error("the record of a service cannot be read", "service", u.svc.Name, "error", err)
		return
	}
	u.adopt(&s, kv.Revision)
}

// adopt makes a record the newest known.
func (u *unit) adopt(s *failover.State, revision int64) {
	now := time.Now()
	if u.state == nil || s.Epoch != u.state.Epoch || s.Primary != u.state.Primary {
		u.epochSeen = now
		u.idleSince, u.opened = time.Time{}, time.Time{}
		clear(u.away)
	}
	if s.Failovers > u.count {
		if u.state != nil {
			u.failovers = append(u.failovers, now)
		}
		u.count = s.Failovers
	}
	turn := ""
	if s.Plan != nil {
		turn = fmt.Sprint(s.Plan.ID, "/", s.Plan.Group)
	}
	if turn != u.planSeen {
		u.planSeen, u.groupSeen = turn, now
	}
	u.known, u.state, u.revision = true, s, revision
	u.mu.Lock()
	u.report.Epoch = s.Epoch // from now on nobody hears otherwise
	u.mu.Unlock()
	u.forget()
}

// probe asks the store for the record now and then: it says that the store answers, and mends what a watch has missed.
func (u *unit) probe(now time.Time) {
	every := max(u.svc.Suspicion/4, u.svc.Heartbeat)
	if u.probing || now.Sub(u.probed) < every && !u.resync {
		return
	}
	u.probing, u.probed = true, now
	u.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, u.patienceWithStore())
		defer cancel()
		kv, err := u.c.o.Store.Get(ctx, u.stateKey())
		return func() {
			u.probing = false
			switch {
			case err == nil:
				u.answered(now)
				u.learn(kv)
				u.resync = false
			case errors.Is(err, cluster.ErrNotFound):
				u.answered(now)
				u.resync = false
				if u.revision == 0 {
					u.known = true
				}
			}
		}
	})
}

func (u *unit) patienceWithStore() time.Duration {
	if u.c.o.StoreTry > 0 {
		return u.c.o.StoreTry
	}
	return u.svc.Suspicion
}

// answered notes that a request sent at a time was answered.
func (u *unit) answered(sent time.Time) {
	if sent.After(u.stateSeen) {
		u.stateSeen = sent
	}
}

// storeAnswers says whether the store can be counted on, and if not, since when. A watch that brings news and a lease that
// is renewed are answers as well.
func (u *unit) storeAnswers(now time.Time) (bool, time.Duration) {
	last := u.stateSeen
	if u.storeHeard.After(last) {
		last = u.storeHeard
	}
	if _, deadline, ok := u.lease.Held(); ok {
		if sent := deadline.Add(-u.svc.TTL); sent.After(last) { // a margin too early
			last = sent
		}
	}
	known := !last.IsZero()
	if !known {
		last = u.started
	}
	away := now.Sub(last)
	return known && away <= u.svc.Suspicion+u.svc.Suspicion/2, away
}

// write replaces the record, if it is still the one that next was made from.
func (u *unit) write(next failover.State, what string) {
	value, err := json.Marshal(next)
	if err != nil {
		u.c.o.Log.Error("record cannot be written", "service", u.svc.Name, "error", err)
		return
	}
	previous, sent := u.revision, time.Now()
	u.writing = true
	u.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, u.patienceWithStore())
		defer cancel()
		revision, err := u.c.o.Store.Put(ctx, u.stateKey(), value, previous)
		return func() {
			u.writing = false
			if err != nil {
				u.c.o.Log.Debug("record not written", "service", u.svc.Name, "what", what, "error", err)
				u.resync = true
				return
			}
			u.answered(sent)
			if revision > u.revision {
				u.adopt(&next, revision)
			}
		}
	})
}

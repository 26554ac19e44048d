package control

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
)

// Going on alone is agreed in the store before the primary does it: whenever the primary's machine dies on the way, and the
// standbys come back without it, nobody is promoted who lacks a write that it acknowledged alone.
func TestTheDowngradeIsAgreedBeforeItHappens(t *testing.T) {
	downgraded, kept := 0, 0
	for after := time.Duration(0); after < 14*time.Millisecond; after += time.Millisecond {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			tale(t, fast(failover.MaxAvailability), 3, 2, func(s *sim) {
				underLoad(s)
				p := s.primary()
				for _, n := range s.members {
					if n != p {
						s.nodes[n].kill(true)
					}
				}
				s.logf("---- the standbys have lost their power")
				state := func() *failover.State { return s.nodes["w1"].ctl().State("db") }
				for st := state(); st.Plan == nil; st = state() { // until a change of the set begins
					time.Sleep(100 * time.Microsecond)
				}
				for range int(after / (100 * time.Microsecond)) {
					time.Sleep(100 * time.Microsecond)
					o, err := s.nodes[p].engine.Observe(s.ctx)
					if now := s.inStore(); err == nil && o.Running && o.SyncQuorum == 0 && now.Sync.Quorum != 0 {
						s.fail("%s waits for nobody, and recorded is %s", p, now.Sync)
					}
				}
				alone := state().Sync.Quorum == 0
				if alone {
					downgraded++
				} else {
					kept++
				}
				s.logf("---- %s loses its power, agreed is %s before %v", p, state().Sync, state().Before)
				s.nodes[p].kill(true)
				for _, n := range s.members {
					if n != p {
						s.nodes[n].start()
					}
				}
				time.Sleep(10 * time.Second)
				if now := state(); alone && now.Primary != p && now.Primary != "" {
					s.fail("%s was promoted although %s may have acknowledged writes alone", now.Primary, p)
				}
				s.nodes[p].start()
				s.settle(patient)
				s.check(s.primary())
			})
		})
	}
	if downgraded == 0 || kept == 0 {
		t.Errorf("%d times it was agreed to go on alone, %d times not yet: the moments show nothing", downgraded, kept)
	}
}

// inStore is the record as it is in the store now; what the nodes have heard of it may be older.
func (s *sim) inStore() (now failover.State) {
	kv, err := s.store.Get(s.ctx, stateKey("db"))
	if err == nil {
		err = json.Unmarshal(kv.Value, &now)
	}
	if err != nil {
		s.fail("read the record: %v", err)
	}
	return now
}

// A primary that agreed to go on alone needs nobody's confirmation, so that no fence stops it: by force, too, another is promoted
// only when it cannot be living on the members' word any more.
func TestAForcedFailoverWaitsForAPrimaryThatGoesOnAlone(t *testing.T) {
	tale(t, fast(failover.MaxAvailability), 3, 2, func(s *sim) {
		s.settle(20 * time.Second)
		p := s.primary()
		state := func() failover.State {
			if st := s.nodes["w1"].ctl().State("db"); st != nil {
				return *st
			}
			return failover.State{}
		}
		until := func(what string, holds func() bool) {
			for began := time.Now(); !s.hasFailed() && !holds(); time.Sleep(100 * time.Microsecond) {
				if time.Since(began) > time.Minute {
					s.fail("not within a minute: %s", what)
				}
			}
		}
		each := func(do func(standby string)) {
			for _, n := range s.members {
				if n != p {
					do(n)
				}
			}
		}
		each(func(n string) { s.world.Cut(p, n); s.world.Cut(n, p) }) // of replication alone
		until("the downgrade", func() bool { st := state(); return st.Sync.Quorum == 0 && len(st.Before) == 0 && st.Plan == nil })
		s.cutStore()
		until("the primary lives on its members' word", func() bool {
			_, _, held := s.nodes[p].ctl().unit("db").lease.Held()
			return !held
		})
		time.Sleep(s.svc.TTL)
		if !slices.Contains(s.world.Writers(), p) {
			s.fail("the primary does not live on its members' word")
		}
		s.logf("---- %s is cut off, and a failover is forced", p)
		s.isolate(p)
		for _, n := range s.names {
			if n != p {
				s.store.Heal(n)
			}
		}
		until("the wish is taken", func() bool {
			return s.nodes["w1"].ctl().Wish(s.ctx, "db", failover.Wish{Kind: failover.WishFailover, By: "test"}) == nil
		})
		until("another takes over", func() bool {
			w := s.world.Writers()
			if len(w) > 1 {
				s.fail("%v take writes", w)
			}
			return len(w) == 1 && w[0] != p || s.hasFailed()
		})
	})
}

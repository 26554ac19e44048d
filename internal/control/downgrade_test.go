package control

import (
	"fmt"
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
					if now := s.nodes[p].ctl().State("db"); err == nil && o.Running && o.SyncQuorum == 0 && now.Sync.Quorum != 0 {
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

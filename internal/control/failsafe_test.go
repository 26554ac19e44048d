package control

import (
	"testing"
	"time"
)

// Whoever guards the primary's instance is told for how long its authority lasts. While the store is away but the members
// are there, that is never a moment ahead: a guard that is told late stops an instance that has authority.
func TestTheGuardKnowsInTimeWhileTheStoreIsAway(t *testing.T) {
	tale(t, fast(""), 3, 0, func(s *sim) {
		underLoad(s)
		p := s.primary()
		routes := s.nodes[p].ctl().Routes()
		s.cutStore()
		for began := time.Now(); time.Since(began) < 5*s.svc.TTL; time.Sleep(s.svc.Heartbeat / 5) {
			if left := time.Until(routes.Route("db").Until); left < 2*s.svc.Heartbeat {
				t.Fatalf("%v after the store stopped, authority that lasts is only known of for %v", time.Since(began), left)
			}
		}
		s.heal()
	})
}

package control

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/decide/failover"
)

// TestAServiceLivesThroughARecoveryOfTheStore holds that a service goes on after the store was recovered by force, which vacates
// every lease at an epoch far beyond: nothing may lean on an epoch that the lost members may have given.
func TestAServiceLivesThroughARecoveryOfTheStore(t *testing.T) {
	for _, p := range []string{failover.MaxAvailability, failover.MaxPerformance} {
		tale(t, fast(p), 3, 0, func(s *sim) {
			underLoad(s)
			for _, n := range s.names {
				s.nodes[n].kill(true)
			}
			kv, err := s.store.Get(s.ctx, cluster.LeaseKey("db"))
			if err != nil {
				s.fail("the lease is not where a recovery looks for it: %v", err)
				return
			}
			var r cluster.LeaseRecord
			if err := json.Unmarshal(kv.Value, &r); err != nil {
				s.fail("%v", err)
			}
			before := r.Epoch
			r = cluster.LeaseRecord{Epoch: r.Epoch + 1<<20, TTL: r.TTL, Counter: r.Counter + 1, Open: true, By: "recovery"}
			value, _ := json.Marshal(r)
			if _, err := s.store.Put(s.ctx, kv.Key, value, kv.Revision); err != nil {
				s.fail("%v", err)
			}
			for _, n := range s.names {
				s.nodes[n].start()
			}
			s.settle(time.Minute)
			if st := s.nodes["a"].ctl().State("db"); st == nil || st.Epoch <= before+1<<20 {
				s.fail("the epoch was %d and is %+v", before, st)
			}
		})
	}
}

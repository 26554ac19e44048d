package control

import (
	"encoding/json"
	"strings"
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
			// Of this record nobody knows whether the lost members had agreed on a newer one.
			key := stateKey("db")
			if kv, err = s.store.Get(s.ctx, key); err != nil {
				s.fail("%v", err)
			}
			if value, err = Recovered(key, kv.Value); err != nil || value == nil {
				s.fail("the record is not amended: %v", err)
			}
			if _, err := s.store.Put(s.ctx, key, value, kv.Revision); err != nil {
				s.fail("%v", err)
			}
			for _, n := range s.names {
				s.nodes[n].start()
			}
			for range 200 {
				time.Sleep(100 * time.Millisecond)
				if w := s.world.Writers(); len(w) > 0 {
					s.fail("%v take writes, and nobody has looked", w)
				}
			}
			v, err := s.nodes["a"].ctl().View("db")
			if said, _ := s.nodes["a"].ctl().Explain("db"); err != nil || !strings.Contains(said, "recovered by force: `backstay unpause`") || failover.Examine(v).PausedFor == "" {
				s.fail("it is not explained: %v\n%s", err, said)
			}
			if err := s.nodes["a"].ctl().Pause(s.ctx, "db", false); err != nil {
				s.fail("%v", err)
			}
			s.settle(time.Minute)
			if st := s.nodes["a"].ctl().State("db"); st == nil || st.PausedFor != "" || st.Epoch <= before+1<<20 {
				s.fail("the epoch was %d and is %+v", before, st)
			}
		})
	}
}

// A plan that was under way is not carried on from an older record, clients of a switchover do not wait for ever, and what is not
// a service's record is left alone.
func TestARecoveryGivesUpWhatWasUnderWay(t *testing.T) {
	was := failover.State{
		Service: "db", Epoch: 3, Last: "a", Hold: true, Elected: "b", Wish: &failover.Wish{ID: "w"}, Plan: &failover.Progress{ID: "p", Kind: failover.PlanSwitchover},
	}
	value, err := json.Marshal(was)
	if err != nil {
		t.Fatal(err)
	}
	value, err = Recovered("services/db/state", value)
	var s failover.State
	if err != nil || json.Unmarshal(value, &s) != nil {
		t.Fatalf("%v: %s", err, value)
	}
	if !s.Paused || s.Plan != nil || s.Hold || s.Elected != "" || s.Wish != nil || s.Epoch != 3 || s.Last != "a" || len(s.History) != 1 {
		t.Errorf("the record is %s", value)
	}
	for _, key := range []string{"lease/db", "services/db", "cluster/generation"} {
		if value, err := Recovered(key, []byte("no record")); value != nil || err != nil {
			t.Errorf("%s: %s %v", key, value, err)
		}
	}
	if _, err := Recovered("services/db/state", []byte("damaged")); err == nil {
		t.Error("a record that cannot be read is no error")
	}
}

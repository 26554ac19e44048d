package control

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
)

func (s *sim) acknowledged() (n int, since time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acks), time.Since(s.ackAt)
}

// With all of the store away the primary goes on for as long as every other member confirms it, and no longer: once one is
// silent it stops before anybody could be promoted, and nobody is until the store is back.
func TestWithoutTheStoreThePrimaryGoesOnWhileAllConfirmIt(t *testing.T) {
	for _, protection := range []string{failover.MaxAvailability, failover.MaxPerformance} {
		t.Run(protection, func(t *testing.T) {
			tale(t, fast(protection), 3, 0, func(s *sim) {
				underLoad(s)
				p := s.primary()
				s.cutStore()
				time.Sleep(20 * s.svc.TTL)
				s.mu.Lock()
				gap := max(s.gap, time.Since(s.ackAt))
				s.mu.Unlock()
				if gap > 100*time.Millisecond {
					s.fail("%v without an acknowledgement although every member was there", gap)
				}
				s.logf("---- a member falls silent as well")
				s.nodes[s.other(p)].kill(true)
				time.Sleep(2 * s.svc.TTL)
				if w := s.world.Writers(); len(w) > 0 {
					s.fail("%v would take writes, and cannot know whether they may", w)
				}
				before, _ := s.acknowledged()
				time.Sleep(5 * s.svc.TTL)
				if after, _ := s.acknowledged(); after != before || len(s.world.Writers()) > 0 {
					s.fail("%d writes were acknowledged without authority; writers are %v", after-before, s.world.Writers())
				}
				for _, n := range s.names {
					s.store.Heal(n)
				}
				time.Sleep(10 * time.Second)
				if _, since := s.acknowledged(); since > time.Second {
					s.fail("no write for %v although the store is back", since)
				}
				s.nodes[s.other(p)].start()
				s.settle(patient)
				s.check(s.primary())
			})
		})
	}
}

// The runner of a plan may die at any step: somebody else carries the plan on, or begins again.
func TestTheRunnerDiesAtEveryStep(t *testing.T) {
	for kind, begin := range map[string]func(s *sim, p string){
		failover.PlanFailover: func(s *sim, p string) { s.nodes[p].kill(true) },
		failover.PlanSwitchover: func(s *sim, p string) {
			_ = s.nodes[p].ctl().Wish(s.ctx, "db", failover.Wish{Kind: failover.WishSwitchover, By: "test"})
		},
	} {
		for step := range 10 {
			t.Run(fmt.Sprint(kind, step), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSim(t, setup{svc: fast(failover.MaxAvailability), members: 4, witnesses: 1})
					defer s.end()
					underLoad(s)
					s.mu.Lock()
					s.runnerDies = step
					s.mu.Unlock()
					before := s.primary()
					begin(s, before)
					time.Sleep(5 * time.Second)
					s.mu.Lock()
					s.runnerDies = -1
					s.mu.Unlock()
					if st := s.state(); kind == failover.PlanFailover && (st.Primary == "" || st.Primary == before) {
						s.fail("nobody has taken over: %+v", st)
					}
					for _, n := range s.names {
						if !s.nodes[n].up() {
							s.nodes[n].start()
						}
					}
					s.settle(patient)
					s.check(s.primary())
				})
			})
		}
	}
}

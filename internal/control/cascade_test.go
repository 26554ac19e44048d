package control

import (
	"slices"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
)

// TestCascade: a member that cascades follows a standby, is pointed to another when that dies and to the primary when there is
// none, gives nothing up for it, is never waited for or elected, and follows into the next epoch.
func TestCascade(t *testing.T) {
	story := func(t *testing.T, protection string, tell func(s *sim)) {
		taleOf(t, setup{svc: fast(protection), members: 4, cascade: "d"}, tell)
	}
	within := func(s *sim, what string, ok func() bool) {
		for began := time.Now(); time.Since(began) < patient; time.Sleep(50 * time.Millisecond) {
			if ok() {
				return
			}
		}
		s.fail("not in time: %s; it streams from %q", what, s.upstream("d"))
	}
	story(t, failover.MaxAvailability, func(s *sim) {
		underLoad(s)
		if at := s.upstream("d"); at != "b" {
			s.fail("it streams from %q, want the first standby", at)
		}
		started := s.started("d")
		s.nodes["b"].kill(true)
		within(s, "it follows the other standby", func() bool { return s.upstream("d") == "c" })
		s.nodes["c"].kill(true)
		s.nodes["b"].start() // otherwise nobody would be left to agree
		within(s, "it follows b, which is back", func() bool { return s.upstream("d") == "b" })
		if now := s.started("d"); !now.Equal(started) {
			s.fail("it was started anew to follow another: %v, before %v", now, started)
		}
		s.nodes["c"].start()
		s.settle(patient)
		if st := s.state(); slices.Contains(st.InLine, "d") || slices.Contains(st.Sync.Names, "d") || st.Primary != "a" {
			s.fail("primary %s, in line %v, confirming %s", st.Primary, st.InLine, st.Sync)
		}
		s.nodes["a"].kill(true)
		within(s, "it follows a standby of the new primary", func() bool {
			st := s.state()
			at := s.upstream("d")
			return st.Primary != "" && st.Primary != "a" && st.Primary != "d" && at != "" && at != st.Primary
		})
		s.nodes["a"].start()
		s.settle(patient)
		s.wish(failover.Wish{Kind: failover.WishSwitchover, To: "d"})
		time.Sleep(time.Second)
		if st := s.state(); st.Primary == "d" || st.Wish != nil {
			s.fail("primary %s, wish %v", st.Primary, st.Wish)
		}
		s.wish(failover.Wish{Kind: failover.WishReinit, To: "d"})
		s.settle(patient)
	})
	story(t, failover.MaxPerformance, func(s *sim) {
		underLoad(s)
		s.nodes["b"].kill(true)
		s.nodes["c"].kill(true)
		time.Sleep(5 * time.Second) // two of four: nothing can be agreed, and nobody takes over
		s.nodes["b"].start()
		s.nodes["c"].start()
		s.settle(patient)
	})
}

// TestAsyncMember: it is in line and not waited for: without the others, writes go on alone (as with none), and it is not promoted
// by itself, as it may lack the last of them.
func TestAsyncMember(t *testing.T) {
	taleOf(t, setup{svc: fast(failover.MaxAvailability), members: 3, async: "c"}, func(s *sim) {
		underLoad(s)
		if st := s.state(); !slices.Equal(st.InLine, []string{"b", "c"}) || !slices.Equal(st.Sync.Names, []string{"b"}) || st.Sync.Quorum != 1 {
			s.fail("in line %v, confirming %s", st.InLine, st.Sync)
		}
		s.nodes["a"].kill(true)
		time.Sleep(5 * time.Second)
		if st := s.state(); st.Primary != "b" || st.Sync.Quorum != 0 {
			s.fail("primary %q, confirming %s", st.Primary, st.Sync)
		}
		s.nodes["a"].start()
		s.settle(patient)
		s.wish(failover.Wish{Kind: failover.WishSwitchover, To: "c"}) // as planned it may be the one
		s.settle(patient)
		if st := s.state(); st.Primary != "c" || !slices.Equal(st.Sync.Names, []string{"a", "b"}) {
			s.fail("primary %q, confirming %s", st.Primary, st.Sync)
		}
	})
}

package control

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
)

func (s *sim) wish(w failover.Wish) {
	s.t.Helper()
	w.By = "ann"
	for _, n := range s.names {
		if s.nodes[n].up() {
			if err := s.nodes[n].ctl().Wish(s.ctx, "db", w); err != nil && !errors.Is(err, ErrImpossible) {
				s.fail("%v", err)
			}
			return
		}
	}
}

func (s *sim) state() failover.State {
	for _, n := range s.names {
		if st := s.nodes[n].ctl().State("db"); s.nodes[n].up() && st != nil {
			return *st
		}
	}
	return failover.State{}
}

func TestPausedServiceIsLeftAlone(t *testing.T) {
	tale(t, fast(failover.MaxAvailability), 3, 0, func(s *sim) {
		underLoad(s)
		p := s.primary()
		if err := s.nodes["b"].ctl().Pause(s.ctx, "db", true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		s.world.Instance(p).Crash()
		time.Sleep(10 * time.Second)
		if st := s.state(); st.Epoch != 1 || len(s.world.Writers()) != 0 {
			s.fail("something was done about a paused service: epoch %d, writers %v", st.Epoch, s.world.Writers())
		}
		if err := s.nodes["b"].ctl().Pause(s.ctx, "db", false); err != nil {
			t.Fatal(err)
		}
		s.settle(patient)
		s.check(s.primary())
	})
}

func TestLossIsForAPersonToAccept(t *testing.T) {
	tale(t, fast(failover.MaxAvailability), 3, 0, func(s *sim) {
		underLoad(s)
		p := s.primary()
		s.nodes[p].kill(true)
		s.nodes["c"].kill(true)
		time.Sleep(10 * time.Second)
		if st := s.state(); st.Epoch != 1 || st.Plan != nil {
			s.fail("a member that may lack writes was on the way to be promoted: %+v", st)
		}
		s.lost = true
		s.wish(failover.Wish{Kind: failover.WishFailover, To: "b"})
		time.Sleep(5 * time.Second)
		if st := s.state(); st.Primary != "b" || !strings.Contains(st.History[len(st.History)-1].Outcome, "force") {
			s.fail("the primary is %q: %v", st.Primary, st.History)
		}
		s.nodes[p].start()
		s.nodes["c"].start()
		s.settle(patient)
	})
}

func TestMemberIsMadeAnew(t *testing.T) {
	tale(t, fast(failover.MaxAvailability), 3, 0, func(s *sim) {
		underLoad(s)
		before := len(s.world.Instance("c").Rescued())
		s.wish(failover.Wish{Kind: failover.WishReinit, To: "c"})
		if err := s.nodes["b"].ctl().Wish(s.ctx, "db", failover.Wish{Kind: failover.WishSwitchover}); !errors.Is(err, ErrWished) {
			s.fail("a second wish was taken: %v", err)
		}
		time.Sleep(time.Second)
		if st := s.state(); len(st.InLine) != 1 {
			s.fail("in line are %v while c is copied", st.InLine)
		}
		s.settle(patient)
		if st := s.state(); st.Wish != nil || len(s.world.Instance("c").Rescued()) != before {
			s.fail("wish %v, rescued %v", st.Wish, s.world.Instance("c").Rescued())
		}
		s.wish(failover.Wish{Kind: failover.WishReinit, To: s.primary()})
		time.Sleep(time.Second)
		if st := s.state(); st.Wish != nil || st.Plan != nil {
			s.fail("the primary's data cannot be copied from anybody: %+v", st)
		}
	})
}

// started is when a member's instance was started.
func (s *sim) started(node string) time.Time {
	v, err := s.nodes[node].ctl().View("db")
	if err != nil {
		s.fail("view of %s: %v", node, err)
	}
	return v.Nodes[node].Report.Observation.Started
}

// TestRestart: a standby is started again where it is, a primary once another has taken over, and a primary that nobody could
// replace in place; nobody's word that it does not run leads to a failover.
func TestRestart(t *testing.T) {
	tale(t, fast(failover.MaxAvailability), 3, 0, func(s *sim) {
		underLoad(s)
		p := s.primary()
		standby := map[string]string{"a": "b", "b": "c", "c": "a"}[p]
		for _, who := range []string{standby, p} {
			before := s.started(who)
			s.wish(failover.Wish{Kind: failover.WishRestart, To: who})
			s.settle(patient)
			if st := s.state(); st.Wish != nil || st.Failovers != 0 || (st.Primary == p) != (who == standby) {
				s.fail("after the restart of %s: primary %q (it was %s), wish %v, %d failovers", who, st.Primary, p, st.Wish, st.Failovers)
			}
			if now := s.started(who); !now.After(before) {
				s.fail("%s was started %v, before %v", who, now, before)
			}
		}
		s.wish(failover.Wish{Kind: failover.WishRestart, To: "x"})
		time.Sleep(time.Second)
		if st := s.state(); st.Wish != nil || st.Plan != nil {
			s.fail("an instance of nobody is restarted: %+v", st)
		}
	})
	tale(t, fast(failover.MaxAvailability), 1, 2, func(s *sim) {
		underLoad(s)
		epoch, before := s.state().Epoch, s.started("a")
		s.wish(failover.Wish{Kind: failover.WishRestart, To: "a"})
		s.settle(patient)
		if st := s.state(); st.Wish != nil || st.Primary != "a" || st.Epoch != epoch || !s.started("a").After(before) {
			s.fail("the only instance: primary %q at epoch %d (before %d), wish %v", st.Primary, st.Epoch, epoch, st.Wish)
		}
	})
}

// answered returns what became of a wish.
func (s *sim) answered(id string) failover.Answer {
	for _, a := range s.state().Answers {
		if a.Wish.ID == id {
			return a
		}
	}
	return failover.Answer{}
}

// Whoever asks gets an answer: at once where it cannot be, else with what became of it.
func TestWishesAreAnswered(t *testing.T) {
	tale(t, fast(failover.MaxAvailability), 3, 0, func(s *sim) {
		underLoad(s)
		err := s.nodes["b"].ctl().Wish(s.ctx, "db", failover.Wish{Kind: failover.WishSwitchover, To: "x"})
		if !errors.Is(err, ErrImpossible) || !strings.Contains(err.Error(), "b can, c can") {
			s.fail("a switchover to nobody: %v", err)
		}
		s.wish(failover.Wish{ID: "first", Kind: failover.WishSwitchover, To: "c"})
		time.Sleep(3 * time.Second)
		if a := s.answered("first"); a.Outcome != failover.Fulfilled || !strings.Contains(a.Text, "c is the primary") {
			s.fail("answered: %+v", a)
		}
		s.wish(failover.Wish{ID: "second", Kind: failover.WishReinit, To: "b"})
		s.settle(patient)
		if a := s.answered("second"); a.Outcome != failover.Fulfilled {
			s.fail("answered: %+v", a)
		}
		// The target dies with its data behind what the primary hands over: the old one goes on, and says so.
		primary := s.primary()
		s.wish(failover.Wish{ID: "third", Kind: failover.WishSwitchover, To: "a"})
		s.nodes["a"].kill(true)
		time.Sleep(2 * time.Second * 10)
		if a := s.answered("third"); a.Outcome != failover.Failed && a.Outcome != failover.Refused || s.primary() == "a" {
			s.fail("answered: %+v, the primary was %s and is %s", a, primary, s.primary())
		}
		s.nodes["a"].start()
		s.settle(patient)
	})
}

func TestFailoverLeavesAProof(t *testing.T) {
	tale(t, fast(failover.MaxProtection), 2, 1, func(s *sim) {
		underLoad(s)
		p := s.primary()
		s.nodes[p].kill(true)
		time.Sleep(5 * time.Second)
		st := s.state()
		view, _ := s.nodes["w1"].ctl().View("db")
		history := failover.Examine(view).History
		proof := history[len(history)-1]
		if proof.Kind != failover.PlanFailover || proof.From != p || proof.To != "b" || proof.Epoch != st.Epoch || len(proof.Voters) != 2 ||
			!strings.Contains(proof.Arithmetic, "R 1 + W 1 > N 1 of [b]") || proof.Positions["b"] == 0 {
			s.fail("the proof is %+v", proof)
		}
		for _, k := range []string{"began", "revoke", "elect", "promoted", "granted", "first_write"} {
			if proof.Times[k].IsZero() {
				s.fail("the proof does not say when it was at %s: %v", k, proof.Times)
			}
		}
		text, err := s.nodes["w1"].ctl().Explain("db")
		if err != nil || !strings.Contains(text, "nothing acknowledged is lost: R 1 + W 1 > N 1") {
			s.fail("explained as %q, %v", text, err)
		}
		if _, err := s.nodes["w1"].ctl().Explain("other"); !errors.Is(err, ErrNoService) {
			s.fail("an unknown service: %v", err)
		}
		s.nodes[p].start()
		s.settle(patient)
	})
}

// TestFailbackIsNotByItself: who was primary first and is preferred stays a standby when it comes back.
func TestFailbackIsNotByItself(t *testing.T) {
	tale(t, fast(failover.MaxAvailability), 3, 0, func(s *sim) {
		underLoad(s)
		s.nodes["a"].kill(false)
		time.Sleep(3 * time.Second)
		s.nodes["a"].start()
		s.settle(patient)
		now := s.state()
		time.Sleep(time.Minute)
		if st := s.state(); now.Primary == "a" || st.Primary != now.Primary || st.Epoch != now.Epoch {
			s.fail("the primary moved from %s to %s", now.Primary, st.Primary)
		}
	})
}

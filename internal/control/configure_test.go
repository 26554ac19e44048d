package control

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
)

// declare gives every node another declaration; members not in it lose their engine and their instance.
func (s *sim) declare(members ...string) {
	svc := s.svc
	svc.Members = slices.DeleteFunc(slices.Clone(svc.Members), func(m failover.Member) bool { return !slices.Contains(members, m.Node) })
	for _, n := range s.names {
		node := s.nodes[n]
		engines := map[string]Engine{}
		if slices.Contains(members, n) {
			engines["db"] = node.engine
		}
		if err := node.ctl().Configure(context.Background(), []failover.Service{svc}, engines); err != nil {
			s.fail("%s: %v", n, err)
		}
		if !slices.Contains(members, n) {
			s.world.Instance(n).Crash()
		}
	}
}

func (s *sim) awaitState(what string, holds func(failover.State) bool) {
	s.t.Helper()
	var st *failover.State
	for begin := time.Now(); time.Since(begin) < patient; time.Sleep(50 * time.Millisecond) {
		if st = s.nodes["a"].ctl().State("db"); st != nil && holds(*st) {
			return
		}
	}
	s.fail("after %v not %s: %+v", patient, what, st)
}

// TestAMemberIsTakenOutAndPutBack holds that a change of the declaration changes the synchronous set and nothing else: the
// primary stays what it is, and writes go on.
func TestAMemberIsTakenOutAndPutBack(t *testing.T) {
	for _, p := range []string{failover.MaxAvailability, failover.MaxProtection, failover.MaxPerformance} {
		tale(t, fast(p), 3, 0, func(s *sim) {
			underLoad(s)
			primary, epoch := s.primary(), s.nodes["a"].ctl().State("db").Epoch
			rest := slices.DeleteFunc(slices.Clone(s.names), func(n string) bool { return n == primary })
			stays, goes := rest[0], rest[1]
			s.declare(primary, stays)
			s.awaitState("without "+goes, func(st failover.State) bool { return slices.Equal(st.InLine, []string{stays}) && st.Plan == nil })
			time.Sleep(2 * time.Second)
			if o := s.nodes[goes].ctl().all()["db"].reported(); o.Observed {
				s.fail("%s still looks after an instance: %+v", goes, o)
			}
			s.declare(s.members...)
			s.awaitState("with "+goes, func(st failover.State) bool { return len(st.InLine) == 2 && st.Plan == nil })
			if now := s.nodes["a"].ctl().State("db"); s.primary() != primary || now.Epoch != epoch {
				s.fail("the primary was %s at epoch %d and is %s at %d", primary, epoch, s.primary(), now.Epoch)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.gap > 2*time.Second {
				s.t.Errorf("no write for %v", s.gap)
			}
		})
	}
}

// TestAServiceComesAndGoes holds that services begin and end while a Control runs, beside one that goes on.
func TestAServiceComesAndGoes(t *testing.T) {
	tale(t, fast(failover.MaxAvailability), 3, 0, func(s *sim) {
		underLoad(s)
		before := *s.nodes["a"].ctl().State("db")
		other := s.svc
		other.Name, other.Members = "other", s.svc.Members[:1]
		for _, n := range s.names {
			c := s.nodes[n].ctl()
			engines := map[string]Engine{"db": s.nodes[n].engine}
			if err := c.Configure(s.ctx, []failover.Service{s.svc, other}, engines); err != nil {
				s.fail("%v", err)
			}
		}
		time.Sleep(time.Second)
		for _, n := range s.names {
			c := s.nodes[n].ctl()
			if v, err := c.View("other"); err != nil || !v.StateKnown {
				s.fail("%s does not look after the new service: %+v, %v", n, v, err)
			}
			if err := c.Configure(s.ctx, []failover.Service{s.svc}, map[string]Engine{"db": s.nodes[n].engine}); err != nil {
				s.fail("%v", err)
			}
			if _, err := c.View("other"); err == nil {
				s.fail("%s still looks after a service that is gone", n)
			}
			if r := c.Routes().Route("other"); r.Service != "" {
				s.fail("%s still has a route: %+v", n, r)
			}
		}
		if now := *s.nodes["a"].ctl().State("db"); now.Epoch != before.Epoch || now.Primary != before.Primary {
			s.fail("the other service was %+v and is %+v", before, now)
		}
	})
}

// TestAControlBeginsEmpty holds that one without services takes the first that comes.
func TestAControlBeginsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, setup{svc: fast(failover.MaxAvailability), members: 1, witnesses: 0})
		defer s.end()
		c := New(Options{Self: "z", Store: s.store.Client("z"), Peers: s.mesh.Peer("z")})
		ctx, cancel := context.WithCancel(s.ctx)
		ended := make(chan error)
		go func() { ended <- c.Run(ctx) }()
		time.Sleep(time.Second)
		if err := c.Configure(ctx, []failover.Service{s.svc}, nil); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		if st := c.State("db"); st == nil || st.Primary != "a" || c.Routes().Route("db").Primary != "a" {
			t.Errorf("after a while the service is %+v, its route %+v", st, c.Routes().Route("db"))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

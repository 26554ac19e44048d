package control

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/decide/failover"
)

func fast(protection string) failover.Service {
	p, _ := cluster.ProfileNamed("lan-fast")
	return failover.Service{Protection: protection, Heartbeat: p.Heartbeat, Suspicion: p.Suspicion, TTL: p.LeaseTTL, HoldDown: 5 * time.Second}
}

// tale runs a story in a bubble and shows its log where it fails.
func tale(t *testing.T, svc failover.Service, members, witnesses int, tell func(s *sim)) {
	t.Helper()
	taleOf(t, setup{svc: svc, members: members, witnesses: witnesses}, tell)
}

func taleOf(t *testing.T, o setup, tell func(s *sim)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, o)
		defer func() {
			s.end()
			if t.Failed() || testing.Verbose() {
				t.Log("\n" + strings.Join(s.log, "\n"))
			}
		}()
		tell(s)
	})
}

func TestANewServiceIsMadeAndBecomesWhole(t *testing.T) {
	for _, p := range []string{failover.MaxAvailability, failover.MaxProtection, failover.MaxPerformance} {
		tale(t, fast(p), 3, 0, func(s *sim) { s.settle(20 * time.Second) })
	}
}

// underLoad begins a whole service with a client on each node.
func underLoad(s *sim) {
	s.settle(20 * time.Second)
	for _, n := range s.names {
		s.parts.Go(func() { s.client(n, 5*time.Millisecond) })
	}
	time.Sleep(time.Second)
	s.mu.Lock()
	s.gap = 0
	s.mu.Unlock()
}

func (s *sim) primary() string {
	for _, n := range s.names {
		if st := s.nodes[n].ctl().State("db"); s.nodes[n].up() && !s.nodes[n].isHung() && st != nil && st.Primary != "" {
			return st.Primary
		}
	}
	return ""
}

const patient = 30 * time.Second

func TestFaultsCostATimeThatIsBounded(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit time.Duration // without an acknowledgement
		fault func(s *sim, primary string)
		heal  func(s *sim, primary string)
	}{
		{"the instance is killed", 400 * time.Millisecond, func(s *sim, p string) { s.world.Instance(p).Crash() }, nil},
		{"the node is killed", 600 * time.Millisecond, func(s *sim, p string) { s.nodes[p].kill(false) }, func(s *sim, p string) { s.nodes[p].start() }},
		{"the node loses its power", time.Second, func(s *sim, p string) { s.nodes[p].kill(true) }, func(s *sim, p string) { s.nodes[p].start() }},
		{"the node is cut off", time.Second, func(s *sim, p string) { s.isolate(p) }, func(s *sim, p string) { s.heal() }},
		{"the node hangs", time.Second, func(s *sim, p string) { s.nodes[p].hang() }, func(s *sim, p string) { s.nodes[p].resume() }},
		{"the instance hangs", 2 * time.Second, func(s *sim, p string) { s.world.Instance(p).Hang(true) }, func(s *sim, p string) { s.world.Instance(p).Hang(false) }},
		{"the disk is full", 2 * time.Second, func(s *sim, p string) { s.world.Instance(p).Fill(true) }, func(s *sim, p string) { s.world.Instance(p).Fill(false) }},
		{"the node loses the store", time.Second, func(s *sim, p string) { s.store.Cut(p) }, func(s *sim, p string) { s.store.Heal(p) }},
		{"a standby loses its power", 100 * time.Millisecond, func(s *sim, p string) { s.nodes[s.other(p)].kill(true) }, func(s *sim, p string) { s.nodes[s.other(p)].start() }},
		{"the store stops", 100 * time.Millisecond, func(s *sim, p string) { s.cutStore() }, func(s *sim, p string) { s.heal() }},
		{"a switchover", 300 * time.Millisecond, func(s *sim, p string) {
			if err := s.nodes[p].ctl().Wish(s.ctx, "db", failover.Wish{Kind: failover.WishSwitchover, To: s.other(p), By: "test"}); err != nil {
				s.fail("%v", err)
			}
		}, nil},
		{"the node leaves", 300 * time.Millisecond, func(s *sim, p string) {
			if err := s.nodes[p].ctl().Leave(s.ctx); err != nil {
				s.fail("%v", err)
			}
			s.nodes[p].kill(false)
		}, func(s *sim, p string) { s.nodes[p].start() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			tale(t, fast(failover.MaxAvailability), 3, 0, func(s *sim) {
				underLoad(s)
				p := s.primary()
				s.logf("---- %s: %s", c.name, p)
				c.fault(s, p)
				time.Sleep(5 * time.Second)
				s.mu.Lock()
				gap := max(s.gap, time.Since(s.ackAt))
				s.mu.Unlock()
				t.Logf("%v without an acknowledgement", gap)
				if gap > c.limit {
					s.fail("%v without an acknowledgement, more than %v", gap, c.limit)
				}
				if c.heal != nil {
					s.logf("---- healed")
					c.heal(s, p)
				}
				s.settle(patient)
				s.check(s.primary())
			})
		})
	}
}

func (s *sim) other(p string) string {
	for _, m := range s.members {
		if m != p {
			return m
		}
	}
	return ""
}

func (s *sim) isolate(p string) {
	s.store.Cut(p)
	for _, n := range s.names {
		if n != p {
			s.cutLink(n, p)
			s.cutLink(p, n)
		}
	}
}

func (s *sim) cutStore() {
	for _, n := range s.names {
		s.store.Cut(n)
	}
}

// heal mends all links; it does not start what was killed.
func (s *sim) heal() {
	for _, a := range s.names {
		if !s.nodes[a].isHung() {
			s.store.Heal(a)
		}
		for _, b := range s.names {
			if a != b {
				s.mendLink(a, b)
			}
		}
	}
}

// A standby that streams is one to take over from the first moment on: an asynchronous service does not wait until it is
// recorded.
func TestAnAsynchronousPrimaryDiesBeforeItsStandbysAreRecorded(t *testing.T) {
	tale(t, fast(failover.MaxPerformance), 3, 0, func(s *sim) {
		streams := func(n, from string) bool {
			o, err := s.nodes[n].engine.Observe(s.ctx)
			return err == nil && o.Streaming && o.Upstream == from && o.Applied > 0
		}
		p := ""
		for p == "" || !streams(s.other(p), p) {
			time.Sleep(time.Millisecond)
			p = s.primary()
		}
		s.nodes[p].kill(false)
		s.logf("---- %s was killed with the line %v", p, s.nodes[s.other(p)].ctl().State("db").InLine)
		began := time.Now()
		for now := p; now == p || now == ""; now = s.primary() {
			time.Sleep(100 * time.Millisecond)
			if time.Since(began) > patient {
				text, _ := s.nodes[s.other(p)].ctl().Explain("db")
				s.fail("nobody took over from %s:\n%s", p, text)
				return
			}
		}
		s.nodes[p].start()
		s.settle(patient)
	})
}

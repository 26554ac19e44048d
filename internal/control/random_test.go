package control

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
)

var (
	schedules = flag.Int("schedules", 60, "random schedules of faults to try")
	seed      = flag.Uint64("seed", 0, "replay this schedule only, and show its log")
	first     = flag.Uint64("first", 1, "the first schedule's seed")
)

// TestRandomFaults lets whole clusters live through random schedules of faults. At no moment may two members acknowledge
// clients' writes; no acknowledged write may be lost where the service is synchronous; epochs grow; and once all faults
// are healed there is one primary again, and every other member in line, within a bounded time.
func TestRandomFaults(t *testing.T) {
	if *seed != 0 {
		t.Log(schedule(t, *seed))
		return
	}
	began := time.Now()
	total := tally{}
	for s := *first; s < *first+uint64(*schedules) && !t.Failed(); s++ {
		total.add(schedule(t, s))
	}
	t.Logf("%d schedules in %v: %s", *schedules, time.Since(began).Round(time.Second), total)
	if total.failovers < *schedules/2 {
		t.Errorf("only %d failovers: the schedules show nothing", total.failovers)
	}
}

// A tally counts what happened in schedules.
type tally struct {
	faults, acked, failovers, switchovers int
	virtual                               time.Duration
}

func (a *tally) add(b tally) {
	a.faults, a.acked, a.failovers, a.switchovers, a.virtual = a.faults+b.faults, a.acked+b.acked, a.failovers+b.failovers, a.switchovers+b.switchovers, a.virtual+b.virtual
}

func (a tally) String() string {
	return fmt.Sprintf("%d faults, %d failovers, %d switchovers, %d acknowledged writes, %v of cluster life",
		a.faults, a.failovers, a.switchovers, a.acked, a.virtual.Round(time.Second))
}

func schedule(t *testing.T, seed uint64) tally {
	s := &sim{}
	defer func() { // a failure in a bubble ends the test
		if s.broken != "" {
			t.Errorf("%s: replay with: make sim-failover SEED=%d", s.broken, seed)
		}
		if s.broken != "" || testing.Verbose() && os.Getenv("TALE") != "" {
			t.Log("\n" + strings.Join(s.log, "\n"))
		}
	}()
	return play(t, seed, nil, s)
}

// play lives a schedule and leaves what became of it. What is wrong on purpose ends it at the first invariant that is broken.
func play(t *testing.T, seed uint64, wrong *mutant, into *sim) (result tally) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 7))
		began := time.Now()
		o := setup{members: 3, latency: ways(seed), wrong: wrong}
		switch rng.IntN(5) {
		case 0:
			o.members = 5
		case 1:
			o.members, o.witnesses = 2, 1
		}
		protection := []string{failover.MaxAvailability, failover.MaxAvailability, failover.MaxProtection, failover.MaxPerformance}[rng.IntN(4)]
		if wrong != nil && wrong.protection != "" {
			protection = wrong.protection
		}
		if kinds := rand.New(rand.NewPCG(seed, 11)); o.members > 2 {
			last := string(rune('a' + o.members - 1))
			switch kinds.IntN(6) {
			case 0:
				o.async = last
			case 1:
				o.members++
				o.cascade = string(rune('a' + o.members - 1))
			case 2:
				o.members++
				o.async, o.cascade = last, string(rune('a'+o.members-1))
			}
		}
		o.svc = fast(protection)
		o.svc.Quorum = rng.IntN(3) // 0: the default
		s := newSim(t, o)
		defer func() { s.end(); into.broken, into.log = s.broken, s.log }()
		s.logf("seed %d: %d members (async %q, cascading %q), %d witnesses, %s, quorum %d", seed, o.members, o.async, o.cascade, o.witnesses, protection, o.svc.Quorum)
		s.settle(30 * time.Second)
		for _, n := range s.names[:2] {
			s.parts.Go(func() { s.client(n, 20*time.Millisecond) })
		}
		s.parts.Go(s.referee)
		f := &faults{s: s, rng: rng}
		for range 4 + rng.IntN(12) {
			pause := 1500 * time.Millisecond
			if rng.IntN(3) == 0 { // while what the last one began is under way
				pause = 150 * time.Millisecond
			}
			time.Sleep(time.Duration(rng.Int64N(int64(pause))))
			f.one()
			result.faults++
			if s.hasFailed() {
				return
			}
		}
		s.logf("---- all is healed")
		f.heal()
		s.settle(time.Minute)
		p := s.primary()
		if p != "" && !s.hasFailed() {
			s.check(p)
			for _, n := range s.names {
				if !s.write(n) {
					s.fail("%s cannot write", n)
				}
			}
			for _, pr := range s.nodes[p].ctl().State("db").History {
				switch pr.Kind {
				case failover.PlanFailover:
					result.failovers++
				case failover.PlanSwitchover:
					result.switchovers++
				}
			}
		}
		result.acked, result.virtual = len(s.acked), time.Since(began)
	})
	return result
}

// ways gives each direction of each link a latency of its own, so that standbys differ in what they have.
func ways(seed uint64) func(from, to string) time.Duration {
	return func(from, to string) time.Duration {
		h := rand.New(rand.NewPCG(seed, uint64(from[0])<<8|uint64(to[0])))
		return 100*time.Microsecond + time.Duration(h.Int64N(int64(time.Millisecond)<<h.IntN(5)))
	}
}

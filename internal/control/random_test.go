package control

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
)

var (
	schedules = flag.Int("schedules", 150, "random schedules of faults to try")
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

func schedule(t *testing.T, seed uint64) (result tally) {
	var s *sim
	defer func() {
		if s.broken {
			t.Errorf("replay with: go test ./internal/control -run TestRandomFaults -seed=%d", seed)
		}
		if s.broken || testing.Verbose() && os.Getenv("TALE") != "" {
			t.Log("\n" + strings.Join(s.log, "\n"))
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 7))
		began := time.Now()
		members, witnesses := 3, 0
		switch rng.IntN(5) {
		case 0:
			members = 5
		case 1:
			members, witnesses = 2, 1
		}
		protection := []string{failover.MaxAvailability, failover.MaxAvailability, failover.MaxProtection, failover.MaxPerformance}[rng.IntN(4)]
		s = newSim(t, fast(protection), members, witnesses, ways(seed))
		defer s.end()
		s.logf("seed %d: %d members, %d witnesses, %s", seed, members, witnesses, protection)
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
			for _, pr := range s.nodes[p].control.State("db").History {
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

func (s *sim) hasFailed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// referee looks again and again for what must not be seen: an asynchronous service with two members that take writes
// through proxies (nothing but time keeps them apart), and an instance that would take writes long after its node has lost
// the authority for it.
func (s *sim) referee() {
	rogue := map[string]time.Time{}
	for s.ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
		writers := s.world.Writers()
		var takes []string
		now := time.Now()
		for _, n := range s.names {
			node := s.nodes[n]
			if !node.up() || node.isHung() {
				delete(rogue, n)
				continue
			}
			r := node.control.Routes().Route("db")
			if r.Valid(now) && slices.Contains(writers, r.Primary) && !slices.Contains(takes, r.Primary) && (r.Primary == n || s.linked(n, r.Primary)) {
				takes = append(takes, r.Primary)
			}
			switch since := rogue[n]; {
			case !slices.Contains(writers, n) || r.Primary == n && now.Before(r.Until):
				delete(rogue, n)
			case since.IsZero():
				rogue[n] = now
			case now.Sub(since) > 3*s.svc.TTL:
				s.fail("%s would take writes since %v without authority", n, since)
			}
		}
		if s.lost && len(takes) > 1 {
			s.fail("%v all take clients' writes", takes)
		}
	}
}

// faults makes things go wrong.
type faults struct {
	s   *sim
	rng *rand.Rand
	mu  sync.Mutex
}

func (f *faults) node() string   { return f.s.names[f.rng.IntN(len(f.s.names))] }
func (f *faults) member() string { return f.s.members[f.rng.IntN(len(f.s.members))] }

// victim is often the primary.
func (f *faults) victim() string {
	if p := f.s.primary(); p != "" && f.rng.IntN(2) == 0 {
		return p
	}
	return f.member()
}

func (f *faults) one() {
	s, n := f.s, f.victim()
	node := s.nodes[n]
	switch k := f.rng.IntN(20); k {
	case 0, 1:
		s.logf("---- the instance of %s is killed", n)
		s.world.Instance(n).Crash()
	case 2:
		s.logf("---- node %s is killed", n)
		node.kill(false)
	case 3:
		s.logf("---- node %s loses its power", n)
		node.kill(true)
	case 4, 5:
		for _, n := range s.names {
			if !s.nodes[n].up() {
				s.logf("---- node %s starts", n)
				s.nodes[n].start()
				break
			}
		}
	case 6:
		if node.up() {
			s.logf("---- node %s hangs", n)
			node.hang()
		}
	case 7:
		for _, n := range s.names {
			if s.nodes[n].isHung() {
				s.logf("---- node %s goes on", n)
				s.nodes[n].resume()
			}
		}
	case 8:
		other := f.node()
		s.logf("---- link %s → %s is cut", n, other)
		s.cutLink(n, other)
	case 9:
		s.logf("---- node %s is cut off", n)
		s.isolate(n)
	case 10:
		s.logf("---- all links are mended")
		s.heal()
	case 11:
		s.logf("---- %s loses the store", n)
		if !node.isHung() {
			s.store.Cut(n)
		}
	case 12:
		s.logf("---- the store stops")
		for _, n := range s.names {
			if !s.nodes[n].isHung() {
				s.store.Cut(n)
			}
		}
	case 13:
		f.slow(n)
	case 14:
		f.wish()
	case 15:
		full := f.rng.IntN(2) == 0
		s.logf("---- disk of %s full: %t", n, full)
		s.world.Instance(n).Fill(full)
	case 17:
		f.leave(n)
	case 18, 19: // two at once
		f.one()
		f.one()
	case 16:
		if !node.isHung() {
			hung := f.rng.IntN(2) == 0
			s.logf("---- instance of %s hangs: %t", n, hung)
			s.world.Instance(n).Hang(hung)
		}
	}
}

// leave lets a node shut down in good order.
func (f *faults) leave(n string) {
	s, node := f.s, f.s.nodes[n]
	if !node.up() || node.isHung() {
		return
	}
	s.logf("---- node %s leaves", n)
	ctx, cancel := context.WithTimeout(s.ctx, 3*time.Second)
	defer cancel()
	_ = node.control.Leave(ctx)
	if node.up() {
		node.kill(false)
	}
}

// slow makes a node's way to the store long now and then.
func (f *faults) slow(n string) {
	f.s.logf("---- the store is slow for %s", n)
	rng := rand.New(rand.NewPCG(f.rng.Uint64(), 3))
	var mu sync.Mutex
	f.s.store.Client(n).Delay(func() (time.Duration, time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		if rng.IntN(4) == 0 {
			return time.Duration(rng.Int64N(int64(time.Second))), time.Duration(rng.Int64N(int64(time.Second)))
		}
		return time.Millisecond, time.Millisecond
	})
}

func (f *faults) wish() {
	s := f.s
	by := f.node()
	if !s.nodes[by].up() || s.nodes[by].isHung() {
		return
	}
	w := failover.Wish{Kind: failover.WishSwitchover, By: "test"}
	if f.rng.IntN(2) == 0 {
		w.To = f.member()
	}
	if f.rng.IntN(4) == 0 {
		w.Kind, w.To = failover.WishReinit, f.member()
	}
	s.logf("---- %s is asked for: %s to %q", by, w.Kind, w.To)
	s.parts.Go(func() { _ = s.nodes[by].control.Wish(s.ctx, "db", w) })
}

// heal ends all faults.
func (f *faults) heal() {
	s := f.s
	for _, n := range s.names {
		s.nodes[n].resume()
		s.store.Client(n).Delay(func() (time.Duration, time.Duration) { return time.Millisecond, time.Millisecond })
	}
	s.heal()
	for _, n := range s.names {
		if !s.nodes[n].up() {
			s.nodes[n].start()
		}
		if slices.Contains(s.members, n) {
			s.world.Instance(n).Hang(false)
			s.world.Instance(n).Fill(false)
		}
	}
}

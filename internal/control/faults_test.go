package control

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
)

// operatorPatience is how long an operator waits for an answer.
const operatorPatience = 2 * time.Second

// faults makes things go wrong.
type faults struct {
	s   *sim
	rng *rand.Rand
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
	switch k := f.rng.IntN(32); k {
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
	case 20:
		skew := time.Duration(f.rng.Int64N(int64(2*time.Hour))) - time.Hour
		s.logf("---- the clock of %s jumps to %v off", n, skew)
		node.skew.Store(int64(skew))
	case 21:
		if node.up() && !node.isHung() {
			s.logf("---- the process of node %s alone is killed", n)
			node.killAlone()
		}
	case 22, 23:
		f.elects(n)
	case 24:
		s.logf("---- the store's disk is slow")
		for _, n := range s.names {
			f.slow(n)
		}
	case 25:
		f.pauses(f.rng.IntN(2) == 0)
	case 26, 27:
		s.mu.Lock()
		s.runnerDies = f.rng.IntN(8)
		s.mu.Unlock()
	case 28:
		for _, other := range s.names {
			if other != n {
				s.cutLink(n, other) // it hears, and is not heard
			}
		}
		s.logf("---- nobody hears %s any more", n)
	case 29:
		f.declares(n)
	case 30, 31:
		if node.up() {
			s.logf("---- the process of node %s alone hangs", n)
			node.hangAlone()
		}
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

// elects lets the store answer nobody for as long as it takes to choose a new leader; now and then its old one was on the
// machine of a victim, which dies with it.
func (f *faults) elects(n string) {
	s := f.s
	took := 100*time.Millisecond + time.Duration(f.rng.Int64N(int64(2*time.Second)))
	with := f.rng.IntN(2) == 0
	s.logf("---- the store's leader dies, the next one is there in %v", took)
	if with && s.nodes[n].up() && !s.nodes[n].isHung() {
		s.logf("---- and with it %s", n)
		s.nodes[n].kill(true)
	}
	var cut []string
	for _, m := range s.names {
		if !s.nodes[m].isHung() {
			s.store.Cut(m)
			cut = append(cut, m)
		}
	}
	s.parts.Go(func() {
		time.Sleep(took)
		for _, m := range cut {
			if !s.nodes[m].isHung() {
				s.store.Heal(m)
			}
		}
	})
}

// pauses lets an operator take the automatic hand away, or give it back.
func (f *faults) pauses(paused bool) {
	s, by := f.s, f.node()
	if !s.nodes[by].up() || s.nodes[by].isHung() {
		return
	}
	s.logf("---- %s is asked to pause: %t", by, paused)
	s.parts.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, operatorPatience)
		defer cancel()
		_ = s.nodes[by].ctl().Pause(ctx, "db", paused)
	})
}

// declares changes what is asked for, and starts one node anew with it; the others learn when they start the next time.
func (f *faults) declares(n string) {
	s, node := f.s, f.s.nodes[n]
	if !node.up() || node.isHung() {
		return
	}
	s.mu.Lock()
	i := f.rng.IntN(len(s.svc.Members))
	s.svc.Members = slices.Clone(s.svc.Members)
	if f.rng.IntN(2) == 0 {
		s.svc.Members[i].NoFailover = !s.svc.Members[i].NoFailover
	} else {
		s.svc.Members[i].Priority = f.rng.IntN(10)
	}
	if s.svc.Protection != failover.MaxPerformance && f.rng.IntN(2) == 0 {
		s.svc.Protection = []string{failover.MaxAvailability, failover.MaxProtection}[f.rng.IntN(2)]
	}
	s.mu.Unlock()
	s.logf("---- %s starts anew with another declaration", n)
	node.kill(false)
	node.start()
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
	_ = node.ctl().Leave(ctx)
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
	switch f.rng.IntN(10) {
	case 0, 1:
		w.Kind, w.To = failover.WishReinit, f.member()
	case 2, 3:
		w.Kind, w.To = failover.WishRestart, f.member()
	case 4:
		w.Kind = failover.WishFailover
	}
	s.logf("---- %s is asked for: %s to %q", by, w.Kind, w.To)
	s.parts.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, operatorPatience)
		defer cancel()
		_ = s.nodes[by].ctl().Wish(ctx, "db", w)
	})
}

// heal ends all faults.
func (f *faults) heal() {
	s := f.s
	for _, n := range s.names {
		s.nodes[n].resume()
		s.store.Client(n).Delay(func() (time.Duration, time.Duration) { return time.Millisecond, time.Millisecond })
	}
	s.heal()
	s.mu.Lock()
	s.runnerDies = -1
	for i := range s.svc.Members {
		s.svc.Members[i].NoFailover = false
	}
	s.mu.Unlock()
	for _, n := range s.names {
		s.nodes[n].kill(false) // so that all are told the same
	}
	for _, n := range s.names {
		if !s.nodes[n].up() {
			s.nodes[n].start()
		}
		if slices.Contains(s.members, n) {
			s.world.Instance(n).Hang(false)
			s.world.Instance(n).Fill(false)
		}
	}
	time.Sleep(operatorPatience) // an earlier request to pause may still be on its way
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
	defer cancel()
	for ctx.Err() == nil && s.nodes[s.names[0]].ctl().Pause(ctx, "db", false) != nil {
		time.Sleep(100 * time.Millisecond)
	}
}

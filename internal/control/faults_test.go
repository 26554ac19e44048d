package control

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
)

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
	switch k := f.rng.IntN(21); k {
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
	switch f.rng.IntN(6) {
	case 0:
		w.Kind, w.To = failover.WishReinit, f.member()
	case 1:
		w.Kind, w.To = failover.WishRestart, f.member()
	}
	s.logf("---- %s is asked for: %s to %q", by, w.Kind, w.To)
	s.parts.Go(func() { _ = s.nodes[by].ctl().Wish(s.ctx, "db", w) })
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

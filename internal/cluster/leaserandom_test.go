package cluster

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	schedules = flag.Int("schedules", 2000, "random schedules of faults to try")
	seed      = flag.Uint64("seed", 0, "replay this schedule only")
)

// TestLeaseUnderRandomFaults lets three nodes fight for a lease while their links are cut, paused and slow. At no
// moment are there two holders within their deadlines, but for a revocation; each epoch has one holder; epochs grow.
func TestLeaseUnderRandomFaults(t *testing.T) {
	t.Parallel()
	if *seed != 0 {
		synctest.Test(t, func(t *testing.T) { fight(t, *seed) })
		return
	}
	won := 0
	for s := uint64(1); s <= uint64(*schedules) && !t.Failed(); s++ {
		synctest.Test(t, func(t *testing.T) { won += fight(t, s) })
	}
	t.Logf("%d schedules, the lease changed hands %d times", *schedules, won)
	if won < *schedules {
		t.Errorf("the lease changed hands only %d times: the schedules show nothing", won)
	}
}

// A referee checks what the nodes believe against each other, and what the store keeps.
type referee struct {
	t    *testing.T
	seed uint64

	mu     sync.Mutex
	until  map[*Lease]time.Time // each one's own deadline
	epoch  map[*Lease]uint64
	owner  map[uint64]*Lease
	opened map[uint64]bool // by a revocation
	holder map[uint64]string
	last   uint64
}

func newReferee(t *testing.T, seed uint64) *referee {
	return &referee{
		t: t, seed: seed, until: map[*Lease]time.Time{}, epoch: map[*Lease]uint64{}, owner: map[uint64]*Lease{},
		opened: map[uint64]bool{}, holder: map[uint64]string{},
	}
}

func (r *referee) believes(l *Lease) func(uint64, time.Time) {
	return func(epoch uint64, deadline time.Time) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if delete(r.until, l); epoch == 0 {
			return
		}
		if o := r.owner[epoch]; o != nil && o != l {
			r.t.Errorf("seed %d: epoch %d has two holders", r.seed, epoch)
		}
		if epoch < r.epoch[l] {
			r.t.Errorf("seed %d: a node went from epoch %d back to %d", r.seed, r.epoch[l], epoch)
		}
		r.owner[epoch], r.epoch[l], r.until[l] = l, epoch, deadline
		now := time.Now()
		for other, until := range r.until {
			if now.Before(deadline) && other != l && now.Before(until) && !r.revokedBetween(epoch, r.epoch[other]) {
				r.t.Errorf("seed %d: epochs %d and %d are both held", r.seed, epoch, r.epoch[other])
			}
		}
	}
}

// revokedBetween says whether a revocation lies between two epochs: whoever revokes sees to the old holder.
func (r *referee) revokedBetween(a, b uint64) bool {
	for e := min(a, b) + 1; e <= max(a, b); e++ {
		if r.opened[e] {
			return true
		}
	}
	return false
}

// wrote follows the record in the store: a new holder has a new, higher epoch.
func (r *referee) wrote(c Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var now LeaseRecord
	if err := json.Unmarshal(c.Value, &now); err != nil {
		r.t.Error(err)
	}
	if now.Epoch < r.last {
		r.t.Errorf("seed %d: epoch %d after %d", r.seed, now.Epoch, r.last)
	}
	if h := r.holder[now.Epoch]; now.Holder != "" && h != "" && h != now.Session {
		r.t.Errorf("seed %d: epoch %d went from one holder to another", r.seed, now.Epoch)
	}
	if now.Open {
		r.opened[now.Epoch] = true
	}
	if now.Holder != "" {
		r.holder[now.Epoch] = now.Session
	}
	r.last = now.Epoch
}

func within(rng *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(d)))
}

func fight(t *testing.T, seed uint64) (hands int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	m := NewMemory()
	r := newReferee(t, seed)
	m.wrote = r.wrote
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for i := range 3 {
		name := fmt.Sprint("n", i)
		l := NewLease(LeaseOptions{Store: m.Client(name), Key: "lease/db", Holder: name, TTL: testTTL})
		l.o.believes = r.believes(l)
		slow := rng.IntN(3) == 0
		delays := rand.New(rand.NewPCG(seed, uint64(i)+2))
		var mu sync.Mutex
		m.Client(name).Delay(func() (time.Duration, time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			if slow && delays.IntN(4) == 0 {
				return within(delays, testTTL), within(delays, testTTL)
			}
			return within(delays, 10*time.Millisecond), within(delays, 10*time.Millisecond)
		})
		all.Go(func() { _ = l.Run(ctx) })
		life := rand.New(rand.NewPCG(seed, uint64(i)+20))
		all.Go(func() { live(ctx, l, life) })
	}
	for range 12 {
		time.Sleep(within(rng, testTTL))
		name := fmt.Sprint("n", rng.IntN(3))
		switch rng.IntN(6) {
		case 0, 1:
			m.Cut(name)
		case 2:
			m.Pause(name)
		case 3, 4:
			m.Heal(name)
		case 5:
			m.Compact()
		}
	}
	return len(r.holder)
}

// live acquires, holds, releases and sometimes revokes.
func live(ctx context.Context, l *Lease, rng *rand.Rand) {
	for ctx.Err() == nil {
		short, cancel := context.WithTimeout(ctx, within(rng, 5*testTTL)+time.Millisecond)
		if rng.IntN(8) == 0 {
			if epoch, err := l.Revoke(short, l.View().Epoch); err == nil {
				_, _ = l.Take(short, epoch)
			}
		} else {
			_, _ = l.Acquire(short)
		}
		cancel()
		pause(ctx, within(rng, 4*testTTL))
		if rng.IntN(2) == 0 {
			short, cancel := context.WithTimeout(ctx, testTTL)
			_ = l.Release(short)
			cancel()
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

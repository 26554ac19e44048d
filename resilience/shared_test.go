package resilience

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// shop is a store with a ledger that nodes can be cut off from, or that hangs.
type shop struct {
	mu      sync.Mutex
	options LedgerOptions
	ledger  []byte // as JSON, as a store would have it
	away    map[string]bool
	hangs   bool
}

var errAway = errors.New("the store is away")

// at is the store as one node sees it.
func (s *shop) at(node string) Shares { return shopNode{s, node} }

type shopNode struct {
	shop *shop
	node string
}

func (n shopNode) Lease(ctx context.Context, want float64) (float64, time.Time, error) {
	asked := time.Now()
	n.shop.mu.Lock()
	hangs, away := n.shop.hangs, n.shop.away[n.node]
	n.shop.mu.Unlock()
	switch {
	case hangs:
		<-ctx.Done()
		return 0, time.Time{}, ctx.Err()
	case away:
		return 0, time.Time{}, errAway
	}
	if err := sleep(ctx, time.Millisecond); err != nil {
		return 0, time.Time{}, err
	}
	n.shop.mu.Lock()
	defer n.shop.mu.Unlock()
	var l Ledger
	if n.shop.ledger != nil {
		if err := json.Unmarshal(n.shop.ledger, &l); err != nil {
			return 0, time.Time{}, err
		}
	}
	granted, until := l.Lease(n.shop.options, n.node, want, time.Now())
	var err error
	n.shop.ledger, err = json.Marshal(&l)
	return granted, asked.Add(time.Until(until)), err
}

func (s *shop) cut(node string, away bool) {
	s.mu.Lock()
	s.away[node] = away
	s.mu.Unlock()
}

// sharing starts so many nodes on a rate of 1000; each is sent demand(node) calls a second.
func sharing(t *testing.T, nodes int, demand func(node int) int) (*shop, []*Shared, func()) {
	ctx, cancel := context.WithCancel(background)
	store := &shop{options: LedgerOptions{Total: 1000, Nodes: nodes}, away: map[string]bool{}}
	all := make([]*Shared, nodes)
	var wg sync.WaitGroup
	for i := range all {
		s := NewShared(SharedOptions{RateOptions: RateOptions{PerSecond: 1000}, Nodes: nodes, Shares: store.at(fmt.Sprint(i))})
		all[i] = s
		wg.Go(func() {
			if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		wg.Go(func() {
			for sleep(ctx, 50*time.Millisecond) == nil {
				for range demand(i) / 20 {
					s.TryTake(1)
				}
			}
		})
	}
	return store, all, func() { cancel(); wg.Wait() }
}

func total(all []*Shared) (sum float64) {
	for _, s := range all {
		sum += s.Snapshot().PerSecond
	}
	return sum
}

func TestSharedFollowsDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		demand := []int{2000, 100, 100, 100}
		_, all, stop := sharing(t, 4, func(i int) int { return demand[i] })
		defer stop()
		time.Sleep(time.Minute)
		if s := all[0].Snapshot(); s.PerSecond < 500 || s.Footing != FootingLeased || s.Err != nil {
			t.Errorf("the busy node has %+v", s)
		}
		if s := all[1].Snapshot(); s.PerSecond < 100 {
			t.Errorf("an idle node has %+v, less than it needs", s)
		}
		if sum := total(all); sum < 950 || sum > 1000.001 {
			t.Errorf("%v of 1000 are given out", sum)
		}
	})
}

// TestSharedStepsBack cuts the store off, lets it hang, and gives it back.
func TestSharedStepsBack(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		inBubble(t, fmt.Sprint("hangs: ", hangs), func(t *testing.T) {
			store, all, stop := sharing(t, 2, func(i int) int { return []int{2000, 200}[i] })
			defer stop()
			time.Sleep(time.Minute)
			busy := all[0].Snapshot().PerSecond
			store.mu.Lock()
			store.hangs = hangs
			store.away["0"], store.away["1"] = true, true
			store.mu.Unlock()
			time.Sleep(4 * time.Second)
			if s := all[0].Snapshot(); s.PerSecond < busy-1 || s.Footing != FootingLeased {
				t.Errorf("with its lease: %+v, had %v", s, busy)
			}
			time.Sleep(8 * time.Second)
			if s := all[0].Snapshot(); s.PerSecond != 500 || s.Footing != FootingLast {
				t.Errorf("soon after it: %+v", s)
			}
			time.Sleep(20 * time.Second)
			for _, node := range all {
				if s := node.Snapshot(); s.PerSecond != 500 || s.Footing != FootingEqual || s.Err == nil {
					t.Errorf("in the end: %+v", s)
				}
			}
			store.mu.Lock()
			store.hangs = false
			clear(store.away)
			store.mu.Unlock()
			time.Sleep(time.Minute)
			if s := all[0].Snapshot(); s.Footing != FootingLeased || s.PerSecond < 600 {
				t.Errorf("after it came back: %+v", s)
			}
		})
	}
}

// TestSharedNeverExceedsTheWhole cuts nodes off and lets their demand change at random: what is in force together is never above the whole.
func TestSharedNeverExceedsTheWhole(t *testing.T) {
	for seed := range uint64(4) {
		inBubble(t, fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			const nodes = 4
			var mu sync.Mutex
			var demand [nodes]int
			store, all, stop := sharing(t, nodes, func(i int) int { mu.Lock(); defer mu.Unlock(); return demand[i] })
			defer stop()
			time.Sleep(15 * time.Second) // the equal parts of the beginning
			var away [nodes]time.Duration
			for range 600 {
				mu.Lock()
				demand[random.IntN(nodes)] = random.IntN(20) * 100
				mu.Unlock()
				step := time.Duration(random.IntN(1500)) * time.Millisecond
				for i := range away {
					if away[i] > 0 {
						away[i] += step
					}
					if i := random.IntN(nodes); random.IntN(12) == 0 || away[i] > 80*time.Second {
						away[i] = time.Duration(b2i(away[i] == 0))
						store.cut(fmt.Sprint(i), away[i] > 0)
					}
				}
				time.Sleep(step)
				synctest.Wait()
				if sum := total(all); sum > 1000.001 {
					for i, s := range all {
						t.Logf("node %d (away for %v): %+v", i, away[i], s.Snapshot())
					}
					t.Fatalf("%v of 1000 are in force", sum)
				}
			}
		})
	}
}

func TestSharedWithoutShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []Footing
		s := NewShared(SharedOptions{RateOptions: RateOptions{PerSecond: 100, Burst: 1, Weighted: true}, Nodes: 4, OnChange: func(s SharedSnapshot) { changes = append(changes, s.Footing) }})
		ctx, cancel := context.WithTimeout(background, time.Minute)
		defer cancel()
		if err := s.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if _, err := s.Enter(WithCost(background, 5)); err != nil || s.came.Load() != 5 {
			t.Errorf("%v, counted %d", err, s.came.Load())
		}
		if _, err := s.Enter(background); !errors.Is(err, ErrRate) || s.RetryAfter() != 200*time.Millisecond {
			t.Errorf("%v, again after %v", err, s.RetryAfter())
		}
		if none := NewShared(SharedOptions{}); !none.TryTake(1000) {
			t.Error("no rate is a bound")
		}
		if len(changes) != 0 || s.Snapshot().PerSecond != 25 || fmt.Sprint(FootingEqual, FootingLeased, FootingLast) != "equal leased last" {
			t.Errorf("%v %+v", changes, s.Snapshot())
		}
	})
}

func TestFair(t *testing.T) {
	tests := []struct {
		wants []float64
		want  float64
	}{
		{[]float64{1000}, 100},
		{[]float64{10}, 100},
		{[]float64{1000, 1000}, 50},
		{[]float64{1000, 20}, 80},
		{[]float64{20, 1000}, 20},
		{[]float64{20, 20}, 50},
		{[]float64{0, 1000, 1000}, 0},
		{[]float64{70, 20, 1000}, 40},
		{[]float64{30, 20, 1000}, 30},
	}
	for _, tt := range tests {
		if got := fair(100, tt.wants); got < tt.want-1e-9 || got > tt.want+1e-9 {
			t.Errorf("of 100 the first of %v is due %v, want %v", tt.wants, got, tt.want)
		}
	}
}

// FuzzLedger plays leases, expiries and absences: what is leased at one time never exceeds the whole, and nobody gets more than is there.
func FuzzLedger(f *testing.F) {
	f.Add([]byte{0, 200, 1, 1, 10, 1, 2, 255, 9, 0, 0, 30})
	f.Fuzz(func(t *testing.T, script []byte) {
		var l Ledger
		o := LedgerOptions{Total: 100, Nodes: 3}
		now := time.Unix(1e9, 0)
		for i := 0; i+2 < len(script); i += 3 {
			granted, until := l.Lease(o, fmt.Sprint(script[i]%4), float64(script[i+1]), now)
			if granted < 0 || granted > 100 || !until.After(now) {
				t.Fatalf("granted %v until %v", granted, until)
			}
			sum := 0.0
			for _, h := range l.Holdings {
				if now.Before(h.Until) {
					sum += h.Granted
				}
			}
			if sum > 100+1e-9 {
				t.Fatalf("%v of 100 leased: %+v", sum, l.Holdings)
			}
			now = now.Add(time.Duration(script[i+2]) * 100 * time.Millisecond)
		}
	})
}

package resilience

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestCostIsBounded(t *testing.T) {
	for n, want := range map[int]int{-1: 1, 0: 1, 1: 1, 7: 7, 1 << 30: mostCost} {
		if got := CostOf(WithCost(background, n)); got != want {
			t.Errorf("a cost of %d is taken for %d", n, got)
		}
	}
	if CostOf(background) != 1 {
		t.Error("a call of no known cost is not 1")
	}
}

func TestLimitByCost(t *testing.T) {
	tests := []struct {
		name    string
		options LimitOptions
		costs   []int // of calls that come one after the other and stay
		inUse   int
		served  int
	}{
		{"calls count as one where nobody weighs", LimitOptions{Concurrency: 3, Queue: 9}, []int{5, 5, 5, 5}, 3, 3},
		{"calls take what they cost", LimitOptions{Concurrency: 10, Queue: 9, Weighted: true}, []int{4, 4, 4}, 8, 2},
		{"small ones do not overtake", LimitOptions{Concurrency: 10, Queue: 9, Weighted: true}, []int{8, 4, 1, 1}, 8, 1},
		{"more than there are takes all", LimitOptions{Concurrency: 10, Queue: 9, Weighted: true}, []int{99, 1}, 10, 1},
		{"no bound", LimitOptions{Weighted: true}, []int{99, 1, 1 << 20}, 100 + 1<<20, 3},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			l := NewLimit(tt.options)
			ctx, cancel := context.WithCancel(background)
			var passes []Pass
			var mu sync.Mutex
			for _, cost := range tt.costs {
				go func() {
					if pass, err := l.Enter(WithCost(ctx, cost)); err == nil {
						mu.Lock()
						defer mu.Unlock()
						passes = append(passes, pass)
					}
				}()
				synctest.Wait()
			}
			if s := l.Snapshot(); s.InUse != tt.inUse || len(passes) != tt.served {
				t.Errorf("%d served, %+v; want %d and %d places", len(passes), s, tt.served, tt.inUse)
			}
			for i := 0; i < len(passes); i++ { // those who waited follow
				passes[i].Leave(nil)
				synctest.Wait()
			}
			cancel()
			synctest.Wait()
			if s := l.Snapshot(); len(passes) != len(tt.costs) || s.InUse != 0 || s.Waiting != 0 {
				t.Errorf("%d of %d served in the end, left as %+v", len(passes), len(tt.costs), s)
			}
		})
	}
}

func TestLimitLetsTheNextGoWhenAnExpensiveOneGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimit(LimitOptions{Concurrency: 10, Queue: 9, Wait: time.Second, Weighted: true})
		if n, err := l.AcquireN(background, 6); n != 6 || err != nil {
			t.Fatal(n, err)
		}
		var errs [2]error
		var taken [2]int
		for i, cost := range []int{8, 3} {
			go func() { taken[i], errs[i] = l.AcquireN(background, cost) }()
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second - 15*time.Millisecond)
		synctest.Wait()
		if !errors.Is(errs[0], ErrQueueTimeout) || errs[1] != nil || taken != [2]int{0, 3} {
			t.Errorf("%v, took %v", errs, taken)
		}
	})
}

// TestLimitByCostConcurrent has goroutines of all costs come, wait and give up at once: never over the limit, nothing lost.
func TestLimitByCostConcurrent(t *testing.T) {
	l := NewLimit(LimitOptions{Concurrency: 10, Queue: 6, Wait: 100 * time.Microsecond, Weighted: true})
	var atWork, served atomic.Int64
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			for range 400 {
				taken, err := l.AcquireN(background, 1+rand.IntN(12))
				if err != nil {
					continue
				}
				if n := atWork.Add(int64(taken)); n > 10 {
					t.Errorf("%d at work", n)
				}
				served.Add(1)
				atWork.Add(-int64(taken))
				l.ReleaseN(taken)
			}
		})
	}
	wg.Wait()
	if s := l.Snapshot(); s.InUse != 0 || s.Waiting != 0 || served.Load() == 0 {
		t.Errorf("left as %+v with %d served", s, served.Load())
	}
}

func TestRateByCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRate(RateOptions{PerSecond: 10, Burst: 5, Weighted: true})
		enter := func(cost int) string {
			_, err := r.Enter(WithCost(background, cost))
			return fmt.Sprint(err == nil)
		}
		got := enter(5) + enter(1)
		time.Sleep(time.Second)
		got += enter(25) // of a full bucket of 5: owes 20
		time.Sleep(1900 * time.Millisecond)
		got += enter(1)
		time.Sleep(200 * time.Millisecond)
		got += enter(1)
		if want := "truefalse" + "true" + "false" + "true"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// TestShedByCost: what came and what was served is counted in work where calls are weighed, so that the share refused is one of the work.
func TestShedByCost(t *testing.T) {
	for _, weighted := range []bool{false, true} {
		inBubble(t, fmt.Sprint("weighted: ", weighted), func(t *testing.T) {
			s := NewShed(ShedOptions{Weighted: weighted, Queue: NewLimit(LimitOptions{Concurrency: 100, Weighted: true})})
			ctx := WithPriority(WithCost(background, 10), Normal)
			for range 100 {
				pass, err := s.Enter(ctx)
				if err != nil {
					t.Fatal(err)
				}
				pass.Leave(nil)
			}
			want := 100
			if weighted {
				want = 1000
			}
			if came, served := s.came.Load(), s.served.Load(); came != int64(want) || served != int64(want) || s.arrivals[Normal].Load() != uint32(want) {
				t.Errorf("%d came, %d served, want %d", came, served, want)
			}
		})
	}
}

func TestForAt(t *testing.T) {
	const clients, periods = 300, 200
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var low, changed [clients]int
	for period := range periods {
		now := begin.Add(time.Duration(period) * time.Hour)
		together := 0
		for c := range clients {
			name := fmt.Sprint("client ", c)
			p := Critical.ForAt(name, now, time.Hour)
			if p < Critical || p >= CriticalPlus {
				t.Fatalf("%s has %d", name, p)
			}
			if p < Critical+32 {
				low[c]++
			}
			if p != Critical.ForAt(name, now.Add(time.Hour), time.Hour) {
				changed[c]++
			}
			if p != Critical.ForAt(name, now.Add(time.Minute), time.Hour) {
				together++
			}
		}
		if together > clients/10 {
			t.Errorf("%d of %d clients change places within one minute", together, clients)
		}
	}
	for c := range clients {
		if low[c] < periods/10 || low[c] > periods/2 || changed[c] < periods*9/10 {
			t.Errorf("client %d is in the lowest quarter in %d of %d periods and changes in %d", c, low[c], periods, changed[c])
		}
	}
	if Critical.ForAt("x", begin, 0) != Critical.For("x") {
		t.Error("no period is not For")
	}
}

// FuzzLimitByCost plays calls of all costs, departures, impatience and new bounds in a bubble: what is taken is what was given, never over the
// bound in force when it was given, and whoever is first in the queue would not fit.
func FuzzLimitByCost(f *testing.F) {
	f.Add([]byte("\x00\x40\x80\x03\x21\x02\x51\x05\x00\x09"))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 150 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			o := LimitOptions{Concurrency: 8, Queue: 4, Wait: 2 * time.Second, Weighted: true}
			l := NewLimit(o)
			ctx, cancel := context.WithCancel(background)
			var mu sync.Mutex
			var held []Pass
			sum := func() (n int) {
				mu.Lock()
				defer mu.Unlock()
				for _, p := range held {
					n += int(p.Number)
				}
				return n
			}
			for _, op := range script {
				switch before := sum(); op % 4 {
				case 0:
					go func() {
						if p, err := l.Enter(WithCost(ctx, 1+int(op>>2)%12)); err == nil {
							mu.Lock()
							held = append(held, p)
							mu.Unlock()
						}
					}()
					synctest.Wait()
					if after := sum(); after > before && after > o.Concurrency {
						t.Fatalf("%d taken of %d", after, o.Concurrency)
					}
				case 1:
					if len(held) > 0 {
						i := int(op>>2) % len(held)
						p := held[i]
						held = append(held[:i:i], held[i+1:]...)
						p.Leave(nil)
					}
				case 2:
					time.Sleep(time.Duration(op) * 10 * time.Millisecond)
				case 3:
					o.Concurrency = 1 + int(op>>2)%12
					l.Update(o)
				}
				synctest.Wait()
				s := l.Snapshot()
				if s.InUse != sum() || s.Waiting > 4 {
					t.Fatalf("%d held, %+v", sum(), s)
				}
				if first := l.queue.first; first != nil && s.InUse+min(first.places, o.Concurrency) <= o.Concurrency {
					t.Fatalf("one who costs %d waits: %+v", first.places, s)
				}
			}
			cancel()
			synctest.Wait()
			for _, p := range held {
				p.Leave(nil)
			}
			if s := l.Snapshot(); s.InUse != 0 || s.Waiting != 0 {
				t.Fatalf("left as %+v", s)
			}
		})
	})
}

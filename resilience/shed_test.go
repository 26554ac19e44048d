package resilience

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// traffic is what one class sent and how it fared.
type traffic struct {
	mu         sync.Mutex
	sent, good int
	took       []time.Duration
}

func (c *traffic) quantile(q float64) time.Duration {
	slices.Sort(c.took)
	if len(c.took) == 0 {
		return 0
	}
	return c.took[int(q*float64(len(c.took)-1))]
}

// mix sends so many calls a second, every fifth of them critical, and tells how each class fared.
func mix(perSecond int, d time.Duration, call func(context.Context) (struct{}, error)) (critical, rest *traffic) {
	critical, rest = &traffic{}, &traffic{}
	important, other := WithPriority(background, Critical), WithPriority(background, Normal)
	var wg sync.WaitGroup
	i := 0
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second / time.Duration(perSecond)) {
		c, ctx := rest, other
		if i++; i%5 == 0 {
			c, ctx = critical, important
		}
		wg.Go(func() {
			start := time.Now()
			_, err := call(ctx)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.sent++
			if err == nil {
				c.good++
				c.took = append(c.took, time.Since(start))
			} else if !errors.Is(err, ErrRefused) {
				panic(err)
			}
		})
	}
	wg.Wait()
	return critical, rest
}

// TestShedKeepsWhatMatters: at three times the capacity with a fifth critical, 99 % of the critical calls succeed within twice their unloaded
// 99th percentile, nine tenths of the capacity does useful work, and two seconds after the spike nothing is refused.
func TestShedKeepsWhatMatters(t *testing.T) {
	const workers, service, capacity = 20, 10 * time.Millisecond, 2000
	for _, times := range []int{2, 3, 5} {
		inBubble(t, fmt.Sprintf("%d times the capacity", times), func(t *testing.T) {
			s := newServer(workers, service)
			shed := NewShed(ShedOptions{Queue: NewLimit(LimitOptions{Concurrency: workers, Queue: 400, Wait: time.Second})})
			call := func(ctx context.Context) (struct{}, error) { return Guard(ctx, s.call, shed) }
			calm, _ := mix(capacity/2, 3*time.Second, call)
			unloaded := calm.quantile(0.99)
			mix(times*capacity, 3*time.Second, call) // the spike begins
			critical, rest := mix(times*capacity, 5*time.Second, call)
			goodput := float64(critical.good+rest.good) / 5
			t.Logf("critical %d of %d, p99 %v (unloaded %v); rest %d of %d; goodput %.0f; %+v",
				critical.good, critical.sent, critical.quantile(0.99), unloaded, rest.good, rest.sent, goodput, shed.Snapshot())
			if float64(critical.good) < 0.99*float64(critical.sent) && times < 5 {
				t.Errorf("%d of %d critical calls succeeded", critical.good, critical.sent)
			}
			if p99 := critical.quantile(0.99); p99 > unloaded*22/10 { // each of the two is of some hundred random calls
				t.Errorf("critical calls took %v at the 99th percentile, %v unloaded", p99, unloaded)
			}
			if goodput < 0.9*capacity {
				t.Errorf("%.0f calls a second of %d", goodput, capacity)
			}
			mix(capacity/2, 2*time.Second, call)
			if _, after := mix(capacity/2, time.Second, call); after.good != after.sent {
				t.Errorf("two seconds after the spike %d of %d are served: %+v", after.good, after.sent, shed.Snapshot())
			}
		})
	}
}

func TestShedBorder(t *testing.T) {
	tests := []struct {
		name     string
		arrivals map[Priority]int
		refuse   float64
		want     Priority
		share    float64
	}{
		{"nothing to refuse", map[Priority]int{Normal: 10}, 0, Normal, 0},
		{"half of one priority", map[Priority]int{Normal: 10}, 5, Normal, 0.5},
		{"the lowest first", map[Priority]int{Sheddable: 10, Normal: 10}, 5, Sheddable, 0.5},
		{"all of the lowest", map[Priority]int{Sheddable: 10, Normal: 10}, 10, Normal, 0},
		{"and some of the next", map[Priority]int{Sheddable: 10, Normal + 5: 10, Critical: 1}, 12.5, Normal + 5, 0.25},
		{"no calls", nil, 0, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var arrivals [priorities]int
			for p, n := range tt.arrivals {
				arrivals[p] = n
			}
			b := border(&arrivals, tt.refuse)
			if at, share := Priority(b>>32), float64(uint32(b))/(1<<32); at != tt.want || share < tt.share-0.001 || share > tt.share+0.001 {
				t.Errorf("cut at %d, %.3f of it; want %d, %.3f", at, share, tt.want, tt.share)
			}
		})
	}
}

func TestShedForgetsAfterARest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewShed(ShedOptions{Rand: rand.NewPCG(1, 2)}) // by chance nothing may be admitted in an interval, and no delay seen
		for range 100 {
			if s.Admit(Normal) == nil {
				s.Observe(time.Second)
			}
			time.Sleep(20 * time.Millisecond)
		}
		if s.Snapshot().Level < 0.5 || s.Snapshot().Refused == 0 {
			t.Errorf("overload for two seconds: %+v", s.Snapshot())
		}
		if s.Admit(CriticalPlus+999) != nil {
			t.Error("refused what matters most")
		}
		time.Sleep(10 * time.Second)
		for range 100 {
			if err := s.Admit(Sheddable); err != nil {
				t.Fatalf("%v after a rest: %+v", err, s.Snapshot())
			}
		}
	})
}

// TestShedSnapshotForgets: who only looks sees that an overload is over, too, though no call comes.
func TestShedSnapshotForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewShed(ShedOptions{})
		for range 100 {
			if s.Admit(Normal) == nil {
				s.Observe(time.Second)
			}
			time.Sleep(20 * time.Millisecond)
		}
		if s.Snapshot().Level < 0.5 {
			t.Fatalf("overload for two seconds: %+v", s.Snapshot())
		}
		time.Sleep(10 * time.Second)
		if now := s.Snapshot(); now.Level != 0 || now.Delay != 0 {
			t.Errorf("after ten seconds without a call: %+v", now)
		}
	})
}

func TestPriority(t *testing.T) {
	if PriorityOf(background) != Normal || PriorityOf(WithPriority(background, 60000)) != CriticalPlus+127 {
		t.Error("the default or the bound is wrong")
	}
	seen := map[Priority]bool{}
	for i := range 1000 {
		p := Critical.For(fmt.Sprint("client ", i))
		if p < Critical || p >= CriticalPlus || p != (Critical+50).For(fmt.Sprint("client ", i)) {
			t.Fatalf("client %d has %d", i, p)
		}
		seen[p] = true
	}
	if len(seen) < 100 {
		t.Errorf("1000 clients share %d levels", len(seen))
	}
	for p, want := range map[Priority]string{0: "sheddable", 127: "sheddable", Normal: "normal", Critical + 3: "critical", CriticalPlus: "critical+", 9999: "critical+"} {
		if p.String() != want {
			t.Errorf("%d is %v", p, p)
		}
	}
}

func BenchmarkShed(b *testing.B) {
	s := NewShed(ShedOptions{Queue: NewLimit(LimitOptions{Concurrency: 100})})
	ctx := WithPriority(background, Critical)
	parallel(b, func() {
		if p, err := s.Enter(ctx); err == nil {
			p.Leave(nil)
		}
	})
}

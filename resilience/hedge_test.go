package resilience

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// taught knows that calls take ten milliseconds.
func taught(o HedgeOptions) *Hedge {
	h := NewHedge(o)
	for range 200 {
		_, _ = Race(background, h, func(context.Context) (int, error) { time.Sleep(10 * time.Millisecond); return 0, nil }, nil)
	}
	return h
}

// step is how one of the two calls behaves.
type step struct {
	takes time.Duration
	err   error
	deaf  bool // does not return when cancelled
	panic bool
}

func TestRace(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name          string
		first, second step
		want          int // which won; 0 is none
		err           error
		least, most   time.Duration
		made          int64
		discarded     int64
	}{
		{"fast enough", step{takes: 9 * ms}, step{}, 1, nil, 9 * ms, 9 * ms, 1, 0},
		{"the second wins", step{takes: time.Second}, step{takes: 5 * ms}, 2, nil, 15 * ms, 18 * ms, 2, 0},
		{"the first wins after all", step{takes: 20 * ms}, step{takes: time.Second}, 1, nil, 20 * ms, 20 * ms, 2, 0},
		{"the first wins, the second is deaf", step{takes: 20 * ms}, step{takes: time.Second, deaf: true}, 1, nil, 20 * ms, 20 * ms, 2, 1},
		{"the second wins, the first is deaf", step{takes: time.Second, deaf: true}, step{takes: 5 * ms}, 1, nil, time.Second, time.Second, 2, 1},
		{"the first fails at once", step{err: errDown}, step{}, 0, errDown, 0, 0, 1, 0},
		{"the first fails late", step{takes: 20 * ms, err: errDown}, step{takes: 50 * ms}, 2, nil, 60 * ms, 63 * ms, 2, 0},
		{"the second fails", step{takes: 50 * ms}, step{err: errors.New("other")}, 1, nil, 50 * ms, 50 * ms, 2, 0},
		{"both fail", step{takes: 20 * ms, err: errDown}, step{takes: 50 * ms, err: errors.New("other")}, 0, errDown, 60 * ms, 63 * ms, 2, 0},
		{"the second panics", step{takes: 50 * ms}, step{panic: true}, 1, nil, 50 * ms, 50 * ms, 2, 0},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			h := taught(HedgeOptions{})
			var made, discarded atomic.Int64
			start := time.Now()
			got, err := Race(background, h, func(ctx context.Context) (int, error) {
				which := int(made.Add(1))
				s := []step{tt.first, tt.second}[which-1]
				if s.panic {
					panic("oh")
				}
				if s.deaf {
					ctx = background
				}
				if err := sleep(ctx, s.takes); err != nil {
					return 0, err
				}
				if s.err != nil {
					return 0, s.err
				}
				return which, nil
			}, func(int) { discarded.Add(1) })
			took := time.Since(start)
			if got != tt.want || !errors.Is(err, tt.err) || took < tt.least || took > tt.most {
				t.Errorf("%d, %v after %v; want %d, %v after %v to %v", got, err, took, tt.want, tt.err, tt.least, tt.most)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if made.Load() != tt.made || discarded.Load() != tt.discarded {
				t.Errorf("%d made, %d discarded; want %d, %d", made.Load(), discarded.Load(), tt.made, tt.discarded)
			}
			if s := h.options.Budget.Snapshot(); h.options.Budget.tries != 0 || h.options.Budget.requests.atWork() != 0 {
				t.Errorf("left the budget at %+v", s)
			}
		})
	}
}

// TestRaceOfMany: the further calls begin one delay after another, at most Max of them and none that the budget does not allow, and
// all but the one whose answer comes first are cancelled.
func TestRaceOfMany(t *testing.T) {
	const ms = time.Millisecond
	hangs := step{takes: time.Hour}
	tests := []struct {
		name      string
		most      int
		budget    BudgetOptions
		calls     []step
		want      int // which won; 0 is none
		err       error
		took      time.Duration // in delays of 10ms, and what the call itself takes
		made      int64
		discarded int64
	}{
		{"the last wins", 3, BudgetOptions{}, []step{hangs, hangs, hangs, {takes: 5 * ms}}, 4, nil, 35 * ms, 4, 0},
		{"one in the middle wins", 3, BudgetOptions{}, []step{hangs, hangs, {takes: 5 * ms}}, 3, nil, 25 * ms, 3, 0},
		{"the first wins after all", 3, BudgetOptions{}, []step{{takes: 45 * ms}, hangs, hangs, hangs}, 1, nil, 45 * ms, 4, 0},
		{"no more than there may be", 2, BudgetOptions{}, []step{{takes: time.Second}, hangs, hangs}, 1, nil, time.Second, 3, 0},
		{"no more than the budget allows", 3, BudgetOptions{Ratio: -1, Min: 1}, []step{{takes: time.Second}, hangs}, 1, nil, time.Second, 2, 0},
		{"some fail", 3, BudgetOptions{}, []step{{takes: 15 * ms, err: errDown}, {takes: 12 * ms, err: errors.New("other")}, hangs, {takes: 5 * ms}}, 4, nil, 35 * ms, 4, 0},
		{"all fail", 3, BudgetOptions{}, []step{{takes: 15 * ms, err: errDown}, {takes: 30 * ms, err: errors.New("other")}, {panic: true}, {err: errors.New("third")}}, 0, errDown, 40 * ms, 4, 0},
		{"all that began fail before the next", 3, BudgetOptions{}, []step{{takes: 12 * ms, err: errDown}, {takes: 5 * ms, err: errors.New("other")}}, 0, errDown, 15 * ms, 2, 0},
		{"those that are deaf are discarded", 3, BudgetOptions{}, []step{{takes: 50 * ms}, {takes: time.Second, deaf: true}, {takes: time.Second, deaf: true}, hangs}, 1, nil, 50 * ms, 4, 2},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			if tt.budget == (BudgetOptions{}) {
				tt.budget = BudgetOptions{Min: 9}
			}
			var made, cancelled, discarded atomic.Int64
			var told []time.Duration
			var mu sync.Mutex
			h := taught(HedgeOptions{Max: tt.most, Budget: NewBudget(tt.budget), OnHedge: func(e HedgeEvent) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, e.Delay)
			}})
			delay, _ := h.Delay()
			start := time.Now()
			got, err := Race(background, h, func(ctx context.Context) (int, error) {
				which := int(made.Add(1))
				s := tt.calls[which-1]
				if s.panic {
					panic("oh")
				}
				if s.deaf {
					ctx = background
				}
				if err := sleep(ctx, s.takes); err != nil {
					cancelled.Add(1)
					return 0, err
				}
				if s.err != nil {
					return 0, s.err
				}
				return which, nil
			}, func(int) { discarded.Add(1) })
			took := time.Since(start)
			if got != tt.want || !errors.Is(err, tt.err) || took < tt.took || took > tt.took+3*(delay-10*ms)+ms {
				t.Errorf("%d, %v after %v; want %d, %v after %v", got, err, took, tt.want, tt.err, tt.took)
			}
			synctest.Wait() // those that lose are gone without time passing, if they heed their context
			hanging := int64(0)
			for _, s := range tt.calls[:min(tt.made, int64(len(tt.calls)))] {
				hanging += int64(b2i(s == hangs))
			}
			if cancelled.Load() != hanging {
				t.Errorf("%d were cancelled, want %d", cancelled.Load(), hanging)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if made.Load() != tt.made || discarded.Load() != tt.discarded {
				t.Errorf("%d made, %d discarded; want %d, %d", made.Load(), discarded.Load(), tt.made, tt.discarded)
			}
			for i, d := range told {
				if want := time.Duration(i+1) * delay; d != want {
					t.Errorf("the further call %d began %v after the first, want %v", i+1, d, want)
				}
			}
			if len(told) != int(tt.made)-1 || h.options.Budget.tries != 0 || h.options.Budget.requests.atWork() != 0 {
				t.Errorf("told of %d, the budget is left at %+v", len(told), h.options.Budget.Snapshot())
			}
		})
	}
}

// TestHedgeIsAdjustedLive: what is known of calls stays when the options change.
func TestHedgeIsAdjustedLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := taught(HedgeOptions{Quantile: 0.9})
		for range 40 { // a sixth of them are slower
			h.Observe(time.Second)
		}
		time.Sleep(time.Second)
		if d, ok := h.Delay(); !ok || d < time.Second {
			t.Errorf("before: %v, %v", d, ok)
		}
		h.Update(HedgeOptions{Quantile: 0.5})
		if d, ok := h.Delay(); !ok || d < 10*time.Millisecond || d > 20*time.Millisecond {
			t.Errorf("another quantile: %v, %v", d, ok)
		}
		h.Update(HedgeOptions{Quantile: 0.5, Least: time.Minute})
		if d, ok := h.Delay(); !ok || d != time.Minute {
			t.Errorf("another least: %v, %v", d, ok)
		}
	})
}

func TestRaceIsNotHedged(t *testing.T) {
	spent := BudgetOptions{Ratio: -1, Min: -1}
	for _, tt := range []struct {
		name  string
		hedge func() *Hedge
		ctx   context.Context
	}{
		{"unsafe", func() *Hedge { return taught(HedgeOptions{}) }, Unsafe(background)},
		{"too few known", func() *Hedge { return NewHedge(HedgeOptions{}) }, background},
		{"no budget", func() *Hedge { return taught(HedgeOptions{Budget: NewBudget(spent)}) }, background},
	} {
		inBubble(t, tt.name, func(t *testing.T) {
			made := 0
			_, err := Race(tt.ctx, tt.hedge(), func(context.Context) (int, error) { made++; time.Sleep(time.Second); return 0, nil }, nil)
			if made != 1 || err != nil {
				t.Errorf("%d made, %v", made, err)
			}
		})
	}
}

// TestHedgeCutsTheTail has one call in twenty hang for a second.
func TestHedgeCutsTheTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hedges, made atomic.Int64
		h := NewHedge(HedgeOptions{Quantile: 0.9, OnHedge: func(HedgeEvent) { hedges.Add(1) }})
		call := func(ctx context.Context) (int, error) {
			if made.Add(1)%20 == 0 {
				return 0, sleep(ctx, time.Second)
			}
			return 0, sleep(ctx, 10*time.Millisecond)
		}
		slow := 0
		for range 5000 {
			start := time.Now()
			if _, err := Race(background, h, call, nil); err != nil {
				t.Fatal(err)
			}
			slow += b2i(time.Since(start) > 100*time.Millisecond)
		}
		t.Logf("%d slow of 5000, %d hedges", slow, hedges.Load())
		if slow > 20 || hedges.Load() > 500 {
			t.Errorf("%d of 5000 calls stay slow with %d hedges", slow, hedges.Load())
		}
	})
}

func BenchmarkRace(b *testing.B) {
	call := answer(1, nil)
	b.Run("not hedged", func(b *testing.B) {
		h := NewHedge(HedgeOptions{Volume: 1 << 40})
		parallel(b, func() { _, _ = Race(background, h, call, nil) })
	})
	b.Run("fast enough", func(b *testing.B) {
		h := NewHedge(HedgeOptions{Volume: 1, Least: time.Hour})
		h.recent.add(time.Second)
		parallel(b, func() { _, _ = Race(background, h, call, nil) })
	})
}

package resilience

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// take asks for n retries and says how many it got.
func take(b *Budget, n int) (got int) {
	for range n {
		got += b2i(b.TryRetry())
	}
	return got
}

func begin(b *Budget, n int) {
	for range n {
		b.Begin()
	}
}

func end(b *Budget, n int) {
	for range n {
		b.End()
	}
}

func TestBudgetAllows(t *testing.T) {
	tests := []struct {
		name     string
		options  BudgetOptions
		requests int
		want     int
	}{
		{"the minimum without requests", BudgetOptions{}, 0, 3},
		{"20 %", BudgetOptions{}, 100, 20},
		{"the minimum where that is more", BudgetOptions{}, 10, 3},
		{"whole retries only", BudgetOptions{}, 29, 5},
		{"no minimum", BudgetOptions{Min: -1}, 100, 20},
		{"nothing", BudgetOptions{Min: -1, Ratio: -1}, 100, 0},
		{"half", BudgetOptions{Ratio: 0.5, Min: 1}, 10, 5},
		{"at work only", BudgetOptions{Window: -1}, 100, 20},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			b := NewBudget(tt.options)
			begin(b, tt.requests)
			if got := take(b, 1000); got != tt.want {
				t.Errorf("%d retries, want %d", got, tt.want)
			}
			if s := b.Snapshot(); s.Retries != tt.want || s.Allowed != tt.want || s.Requests != tt.requests || int(s.Refused) != 1000-tt.want {
				t.Errorf("snapshot %+v", s)
			}
		})
	}
}

func TestBudgetWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(BudgetOptions{Window: 16 * time.Second})
		begin(b, 100)
		end(b, 100)
		if got := take(b, 100); got != 20 {
			t.Fatalf("%d retries for requests that have just ended, want 20", got)
		}
		for range 20 {
			b.EndRetry()
		}
		if got := take(b, 100); got != 0 {
			t.Fatalf("%d retries more though fast ones have used the window up", got)
		}
		time.Sleep(18 * time.Second) // a little more than the window
		if got := take(b, 100); got != 3 {
			t.Fatalf("%d retries after the window, want the minimum", got)
		}
		time.Sleep(18 * time.Second)
		if got := take(b, 100); got != 0 {
			t.Fatalf("%d retries more while three are still at work", got)
		}
		begin(b, 100)
		time.Sleep(time.Hour)
		if got := take(b, 100); got != 17 {
			t.Fatalf("%d retries more with 100 requests and three retries still at work, want 17", got)
		}
	})
}

func TestBudgetAtWorkOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(BudgetOptions{Window: -1})
		begin(b, 100)
		if got := take(b, 100); got != 20 {
			t.Fatalf("%d retries, want 20", got)
		}
		end(b, 100)
		for range 20 {
			b.EndRetry()
		}
		if got := take(b, 100); got != 3 {
			t.Fatalf("%d retries, want 3", got)
		}
	})
}

func TestBudgetUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(BudgetOptions{})
		begin(b, 100)
		end(b, 100)
		take(b, 10)
		b.Update(BudgetOptions{Ratio: 0.5})
		if s := b.Snapshot(); s.Requests != 100 || s.Retries != 10 || s.Allowed != 50 {
			t.Errorf("a new ratio lost the window: %+v", s)
		}
		b.Update(BudgetOptions{Ratio: 0.5, Window: time.Second})
		if s := b.Snapshot(); s.Retries != 10 || s.Allowed != 3 {
			t.Errorf("a new window lost the retries at work: %+v", s)
		}
	})
}

// TestBudgetHoldsUnderAStorm has every request fail at once and be retried as often as the budget lets it.
func TestBudgetHoldsUnderAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(BudgetOptions{})
		requests, retries := 0, 0
		for range 60 * 100 { // a minute at 100 requests per second
			b.Begin()
			requests++
			for range 10 {
				if b.TryRetry() {
					retries++
					b.EndRetry()
				}
			}
			b.End()
			time.Sleep(10 * time.Millisecond)
		}
		if share := float64(retries) / float64(requests); share > 0.2 || share < 0.17 {
			t.Errorf("%.3f retries for each request", share)
		}
	})
}

func TestBudgetConcurrent(t *testing.T) {
	b := NewBudget(BudgetOptions{Window: -1, Ratio: -1, Min: 5})
	var now atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				b.Begin()
				if b.TryRetry() {
					if n := now.Add(1); n > 5 {
						t.Errorf("%d retries at once", n)
					}
					now.Add(-1)
					b.EndRetry()
				}
				b.End()
			}
		})
	}
	wg.Wait()
	if s := b.Snapshot(); s.Requests != 0 || s.Retries != 0 {
		t.Errorf("left as %+v", s)
	}
}

func FuzzBudget(f *testing.F) {
	f.Add([]byte("\x00\x00\x01\x02\x02\x02\x02\x03\x04"))
	f.Fuzz(func(t *testing.T, script []byte) {
		synctest.Test(t, func(t *testing.T) {
			b := NewBudget(BudgetOptions{Ratio: 0.5, Min: 1, Window: 16 * time.Second})
			var begun, retried []time.Time
			requests, retries := 0, 0
			for _, op := range script {
				switch op % 5 {
				case 0:
					b.Begin()
					begun = append(begun, time.Now())
					requests++
				case 1:
					if requests > 0 {
						b.End()
						requests--
					}
				case 2:
					if b.TryRetry() {
						retries++
						retried = append(retried, time.Now())
						if most := 1 + max(requests, since(begun, 16*time.Second))/2; retries > most || since(retried, 15*time.Second) > most {
							t.Fatalf("%d retries at once, %d in the window, at most %d", retries, since(retried, 15*time.Second), most)
						}
					}
				case 3:
					if retries > 0 {
						b.EndRetry()
						retries--
					}
				case 4:
					time.Sleep(time.Duration(op) * 10 * time.Millisecond)
				}
			}
		})
	})
}

// since counts the times within the last d.
func since(times []time.Time, d time.Duration) (n int) {
	for _, at := range times {
		n += b2i(time.Since(at) < d)
	}
	return n
}

func BenchmarkBudget(b *testing.B) {
	b.Run("request", func(b *testing.B) {
		k := NewBudget(BudgetOptions{})
		parallel(b, func() { k.Begin(); k.End() })
	})
	b.Run("request, at work only", func(b *testing.B) {
		k := NewBudget(BudgetOptions{Window: -1})
		parallel(b, func() { k.Begin(); k.End() })
	})
	b.Run("retry refused", func(b *testing.B) {
		k := NewBudget(BudgetOptions{Min: -1})
		parallel(b, func() { k.TryRetry() })
	})
}

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

func TestRateTakes(t *testing.T) {
	tests := []struct {
		name    string
		options RateOptions
		pauses  []time.Duration // before each round of asking for 100
		want    []int
	}{
		{"burst, then the rate", RateOptions{PerSecond: 10, Burst: 5}, []time.Duration{0, time.Second, 100 * time.Millisecond, 99 * time.Millisecond}, []int{5, 5, 1, 0}},
		{"a long rest fills no more than the bucket", RateOptions{PerSecond: 10, Burst: 5}, []time.Duration{time.Hour, 200 * time.Millisecond}, []int{5, 2}},
		{"default burst", RateOptions{PerSecond: 200}, []time.Duration{0}, []int{20}},
		{"less than one a second", RateOptions{PerSecond: 0.5}, []time.Duration{0, time.Second, time.Second}, []int{1, 0, 1}},
		{"no bound", RateOptions{}, []time.Duration{0, 0}, []int{100, 100}},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			r := NewRate(tt.options)
			for i, pause := range tt.pauses {
				time.Sleep(pause)
				got := 0
				for range 100 {
					got += b2i(r.TryTake(1))
				}
				if got != tt.want[i] {
					t.Errorf("round %d: %d, want %d", i, got, tt.want[i])
				}
			}
		})
	}
}

func TestRateTakesManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRate(RateOptions{PerSecond: 10, Burst: 5})
		if r.TryTake(6) || !r.TryTake(4) || r.TryTake(2) || !r.TryTake(1) {
			t.Error("counts wrong")
		}
		if got := r.RetryAfter(); got != 100*time.Millisecond {
			t.Errorf("again after %v", got)
		}
		r.Update(RateOptions{PerSecond: 1000, Burst: 1000})
		if !r.TryTake(400) {
			t.Error("a higher rate changes nothing")
		}
	})
}

// TestRateWith: a bucket that takes another's place is as full as that, by number of tokens, and leaves it alone.
func TestRateWith(t *testing.T) {
	for _, tt := range []struct {
		name  string
		from  RateOptions
		taken int
		to    RateOptions
		want  int // tokens
	}{
		{"empty, faster", RateOptions{PerSecond: 10, Burst: 5}, 5, RateOptions{PerSecond: 1000, Burst: 1000}, 0},
		{"empty, slower", RateOptions{PerSecond: 1000, Burst: 50}, 50, RateOptions{PerSecond: 1, Burst: 50}, 0},
		{"some left", RateOptions{PerSecond: 10, Burst: 5}, 2, RateOptions{PerSecond: 20, Burst: 50}, 3},
		{"more left than the burst", RateOptions{PerSecond: 10, Burst: 50}, 10, RateOptions{PerSecond: 20, Burst: 5}, 5},
		{"full", RateOptions{PerSecond: 10, Burst: 5}, 0, RateOptions{PerSecond: 20, Burst: 50}, 50},
		{"no bound before", RateOptions{}, 9, RateOptions{PerSecond: 20, Burst: 50}, 50},
	} {
		inBubble(t, tt.name, func(t *testing.T) {
			count := func(r *Rate) (n int) {
				for r.TryTake(1) {
					n++
				}
				return n
			}
			r := NewRate(tt.from)
			for range tt.taken {
				r.TryTake(1)
			}
			next := r.With(tt.to)
			if got := count(next); got != tt.want {
				t.Errorf("it holds %d tokens, want %d", got, tt.want)
			}
			if tt.from.PerSecond > 0 {
				if got := count(r); got != tt.from.Burst-tt.taken {
					t.Errorf("the one before holds %d", got)
				}
			}
			time.Sleep(time.Minute)
			if got, want := count(next), min(tt.to.Burst, int(60*tt.to.PerSecond)); got != want {
				t.Errorf("after a minute: %d tokens, want %d", got, want)
			}
		})
	}
	if r := NewRate(RateOptions{PerSecond: 1, Burst: 1}).With(RateOptions{}); !r.TryTake(100) {
		t.Error("what has no bound refuses")
	}
}

func TestRateWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRate(RateOptions{PerSecond: 10, Burst: 1, Wait: 250 * time.Millisecond})
		start := time.Now()
		var served, refused atomic.Int64
		for range 5 {
			go func() {
				switch _, err := r.Enter(background); {
				case err == nil:
					served.Add(1)
				case errors.Is(err, ErrRate) && errors.Is(err, ErrRefused) && time.Since(start) == 0:
					refused.Add(1)
				}
			}()
		}
		for i, want := range []int64{1, 2, 3, 3} {
			synctest.Wait()
			if served.Load() != want || refused.Load() != 2 {
				t.Errorf("after %d00ms: %d served, %d refused", i, served.Load(), refused.Load())
			}
			time.Sleep(100 * time.Millisecond)
		}
		_, _ = r.Enter(background)
		ctx, cancel := context.WithTimeout(background, 50*time.Millisecond)
		defer cancel()
		if _, err := r.Enter(ctx); !errors.Is(err, ErrRate) {
			t.Errorf("a turn after the deadline: %v", err)
		}
		stopped, stop := context.WithCancel(background)
		time.AfterFunc(10*time.Millisecond, stop)
		if _, err := r.Enter(stopped); !errors.Is(err, context.Canceled) {
			t.Errorf("the caller left: %v", err)
		}
	})
}

func TestRateConcurrent(t *testing.T) {
	r := NewRate(RateOptions{PerSecond: 1e-6, Burst: 1000})
	var got atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if r.TryTake(1) {
					got.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got.Load() != 1000 {
		t.Errorf("%d tokens of 1000", got.Load())
	}
}

func FuzzRate(f *testing.F) {
	f.Add(uint16(10), uint8(5), []byte("\x01\x00\x20\x01\x80\x05"))
	f.Fuzz(func(t *testing.T, perSecond uint16, burst uint8, script []byte) {
		if perSecond == 0 || burst == 0 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			r := NewRate(RateOptions{PerSecond: float64(perSecond), Burst: int(burst)})
			start, taken := time.Now(), 0
			for _, op := range script {
				if op&1 == 0 {
					time.Sleep(time.Duration(op) * 3 * time.Millisecond)
				} else if n := int(op>>1) % 5; r.TryTake(n) {
					taken += n
				}
				if most := float64(burst) + time.Since(start).Seconds()*float64(perSecond); float64(taken) > most+0.01 {
					t.Fatalf("%d taken, at most %v", taken, most)
				}
			}
		})
	})
}

func BenchmarkRate(b *testing.B) {
	b.Run("taken", func(b *testing.B) {
		r := NewRate(RateOptions{PerSecond: 1e9, Burst: 1e6})
		parallel(b, func() { r.TryTake(1) })
	})
	b.Run("refused", func(b *testing.B) {
		r := NewRate(RateOptions{PerSecond: 1e-3})
		parallel(b, func() { r.TryTake(1) })
	})
}

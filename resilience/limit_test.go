package resilience

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var background = context.Background()

func TestLimitRefusals(t *testing.T) {
	stopped, stop := context.WithCancelCause(background)
	reason := errors.New("the caller went away")
	stop(reason)
	tests := []struct {
		name    string
		options LimitOptions
		held    int
		ctx     context.Context
		want    error
		after   time.Duration
	}{
		{"a free place", LimitOptions{Concurrency: 2}, 1, background, nil, 0},
		{"no bound", LimitOptions{}, 1000, background, nil, 0},
		{"no queue", LimitOptions{Concurrency: 2}, 2, background, ErrQueueFull, 0},
		{"waited in vain", LimitOptions{Concurrency: 2, Queue: 1, Wait: 3 * time.Second}, 2, background, ErrQueueTimeout, 3 * time.Second},
		{"the caller left", LimitOptions{Concurrency: 2, Queue: 1}, 2, stopped, reason, 0},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			l := NewLimit(tt.options)
			for range tt.held {
				if err := l.Acquire(background); err != nil {
					t.Fatal(err)
				}
			}
			start := time.Now()
			err := l.Acquire(tt.ctx)
			if !errors.Is(err, tt.want) || time.Since(start) != tt.after {
				t.Errorf("%v after %v, want %v after %v", err, time.Since(start), tt.want, tt.after)
			}
			if limited := errors.Is(err, ErrLimited); limited != errors.Is(tt.want, ErrLimited) {
				t.Errorf("%v is ErrLimited: %v", err, limited)
			}
			if s := l.Snapshot(); s.Waiting != 0 || s.InUse != tt.held+b2i(err == nil) {
				t.Errorf("left as %+v", s)
			}
		})
	}
}

func TestLimitIsFirstInFirstOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimit(LimitOptions{Concurrency: 1, Queue: 10})
		_ = l.Acquire(background)
		var order []int
		gone, leave := context.WithCancel(background)
		for i := range 10 {
			ctx := background
			if i%3 == 1 {
				ctx = gone
			}
			go func() {
				if l.Acquire(ctx) == nil {
					order = append(order, i)
					time.Sleep(time.Second)
					l.Release()
				}
			}()
			synctest.Wait()
		}
		if l.TryAcquire() {
			t.Error("overtook the queue")
		}
		if s := l.Snapshot(); s.Waiting != 10 || s.InUse != 1 {
			t.Errorf("%+v", s)
		}
		if err := l.Acquire(background); !errors.Is(err, ErrQueueFull) {
			t.Errorf("the queue took an eleventh: %v", err)
		}
		leave()
		synctest.Wait()
		l.Release()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := fmt.Sprint(order); got != "[0 2 3 5 6 8 9]" {
			t.Errorf("served %v", got)
		}
		if s := l.Snapshot(); s.Waiting != 0 || s.InUse != 0 {
			t.Errorf("left as %+v", s)
		}
	})
}

func TestLimitUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimit(LimitOptions{Concurrency: 1, Queue: 10})
		var served atomic.Int64
		for range 6 {
			go func() { _ = l.Acquire(background); served.Add(1) }()
		}
		synctest.Wait()
		for _, step := range []struct {
			act  func()
			want int64
		}{
			{func() {}, 1},
			{func() { l.Update(LimitOptions{Concurrency: 3, Queue: 10}) }, 3},
			{func() { l.Update(LimitOptions{Concurrency: 1, Queue: 10}) }, 3},
			{l.Release, 3},
			{l.Release, 3},
			{l.Release, 4},
			{func() { l.Update(LimitOptions{}) }, 6},
		} {
			step.act()
			synctest.Wait()
			if served.Load() != step.want {
				t.Fatalf("%d served, want %d", served.Load(), step.want)
			}
		}
	})
}

func TestLimitReleaseUnheldPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	NewLimit(LimitOptions{Concurrency: 1}).Release()
}

// TestLimitConcurrent has goroutines come, wait, give up and get places at the same moments: never over the limit, nobody forgotten.
func TestLimitConcurrent(t *testing.T) {
	l := NewLimit(LimitOptions{Concurrency: 3, Queue: 4, Wait: 50 * time.Microsecond})
	var atWork, served atomic.Int64
	var wg sync.WaitGroup
	for g := range 12 {
		wg.Go(func() {
			for i := range 400 {
				ctx, cancel := context.WithTimeout(background, time.Duration(20+10*(i%9))*time.Microsecond)
				if err := l.Acquire(ctx); err == nil {
					if n := atWork.Add(1); n > 3 {
						t.Errorf("%d at work", n)
					}
					served.Add(1)
					for range (i * g) % 500 {
						atWork.Load()
					}
					atWork.Add(-1)
					l.Release()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if s := l.Snapshot(); s.InUse != 0 || s.Waiting != 0 || l.queue.first != nil || served.Load() == 0 {
		t.Errorf("left as %+v with %d served", s, served.Load())
	}
}

// FuzzLimit plays arrivals, departures, patience and new bounds in a bubble: places in use never exceed the bound in force when they were
// given, and nobody waits while a place is free.
func FuzzLimit(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x01\x02\x01\x13\x00\x00\x0a\x01\x01\x01\x04"))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 200 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			o := LimitOptions{Concurrency: 2, Queue: 3, Wait: 2 * time.Second}
			l := NewLimit(o)
			ctx, cancel := context.WithCancel(background)
			held, came := 0, 0
			for _, op := range script {
				switch op % 5 {
				case 0:
					came++
					go func() {
						if l.Acquire(ctx) == nil {
							held++
						}
					}()
				case 1:
					if held > 0 {
						held--
						l.Release()
					}
				case 2:
					time.Sleep(time.Duration(op) * 10 * time.Millisecond)
				case 3:
					o.Concurrency = 1 + int(op)%4
					l.Update(o)
				case 4:
					cancel()
					synctest.Wait()
					ctx, cancel = context.WithCancel(background)
				}
				synctest.Wait()
				s := l.Snapshot()
				if s.InUse != held || s.Waiting > 3 || (s.Waiting > 0 && held < o.Concurrency) {
					t.Fatalf("%d held of %d: %+v", held, o.Concurrency, s)
				}
			}
			cancel()
			synctest.Wait()
			for ; held > 0; held-- {
				l.Release()
			}
			if s := l.Snapshot(); s.InUse != 0 || s.Waiting != 0 {
				t.Fatalf("left as %+v after %d came", s, came)
			}
		})
	})
}

func BenchmarkLimit(b *testing.B) {
	b.Run("free", func(b *testing.B) {
		l := NewLimit(LimitOptions{Concurrency: 1000, Queue: 100})
		parallel(b, func() { _ = l.Acquire(background); l.Release() })
	})
	b.Run("full", func(b *testing.B) {
		l := NewLimit(LimitOptions{Concurrency: 1})
		_ = l.Acquire(background)
		parallel(b, func() { _ = l.Acquire(background) })
	})
	b.Run("queueing", func(b *testing.B) {
		l := NewLimit(LimitOptions{Concurrency: 1, Queue: 100, Wait: time.Second})
		b.SetParallelism(8)
		parallel(b, func() { _ = l.Acquire(background); l.Release() })
	})
}

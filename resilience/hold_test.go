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

func never() bool { return false }

func TestHoldAnswers(t *testing.T) {
	stopped, stop := context.WithCancel(background)
	stop()
	o := HoldOptions{For: 2 * time.Second, Waiters: 2, Bytes: 100}
	tests := []struct {
		name    string
		options HoldOptions
		inside  []int64 // bytes of those who wait already
		ctx     context.Context
		bytes   int64
		ready   func() bool
		want    error
		after   time.Duration
	}{
		{"ready at once", HoldOptions{}, nil, background, 1 << 40, func() bool { return true }, nil, 0},
		{"holding is off", HoldOptions{}, nil, background, 0, never, ErrHoldTimeout, 0},
		{"waited in vain", o, nil, background, 100, never, ErrHoldTimeout, 2 * time.Second},
		{"too many", o, []int64{0, 0}, background, 0, never, ErrHoldFull, 0},
		{"too large", o, nil, background, 101, never, ErrHoldFull, 0},
		{"too large together", o, []int64{60}, background, 41, never, ErrHoldFull, 0},
		{"no memory left, none needed", o, []int64{100}, background, 0, never, ErrHoldTimeout, 2 * time.Second},
		{"the caller left", o, nil, stopped, 0, never, context.Canceled, 0},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			h := NewHold(tt.options)
			for _, bytes := range tt.inside {
				go h.Wait(background, bytes, never)
			}
			synctest.Wait()
			start := time.Now()
			if err := h.Wait(tt.ctx, tt.bytes, tt.ready); !errors.Is(err, tt.want) || time.Since(start) != tt.after {
				t.Errorf("%v after %v, want %v after %v", err, time.Since(start), tt.want, tt.after)
			}
			time.Sleep(time.Minute)
			if h.Waiting() != 0 || h.bytes != 0 {
				t.Errorf("left with %d waiting and %d bytes", h.Waiting(), h.bytes)
			}
		})
	}
}

func TestHoldWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHold(HoldOptions{For: time.Minute, Waiters: 100})
		var up atomic.Int64
		var passed atomic.Int64
		for range 100 {
			go func() {
				if h.Wait(background, 0, func() bool { return up.Add(-1) >= 0 }) == nil {
					passed.Add(1)
				}
			}()
		}
		synctest.Wait()
		for _, room := range []int64{0, 30, 0, 70} {
			before := passed.Load()
			up.Store(room)
			h.Wake()
			synctest.Wait()
			if got := passed.Load() - before; got != room {
				t.Errorf("%d passed, want %d", got, room)
			}
		}
		if h.Waiting() != 0 {
			t.Errorf("%d still wait", h.Waiting())
		}
	})
}

func TestHoldUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHold(HoldOptions{For: time.Minute, Waiters: 1})
		go h.Wait(background, 0, never)
		synctest.Wait()
		h.Update(HoldOptions{For: time.Second, Waiters: 2})
		if err := h.Wait(background, 0, never); !errors.Is(err, ErrHoldTimeout) || h.Waiting() != 1 {
			t.Errorf("%v, %d waiting", err, h.Waiting())
		}
		time.Sleep(time.Minute)
	})
}

// TestHoldMissesNoWake makes ready true and wakes at the very moment somebody enters, again and again.
func TestHoldMissesNoWake(t *testing.T) {
	h := NewHold(HoldOptions{For: 10 * time.Second, Waiters: 100})
	for range 2000 {
		var up atomic.Bool
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := h.Wait(background, 0, up.Load); err != nil {
					t.Error(err)
				}
			})
		}
		up.Store(true)
		h.Wake()
		wg.Wait()
	}
}

func BenchmarkHold(b *testing.B) {
	h := NewHold(HoldOptions{For: time.Minute, Waiters: 100})
	b.Run("ready", func(b *testing.B) {
		parallel(b, func() { _ = h.Wait(background, 0, func() bool { return true }) })
	})
	b.Run("wake nobody", func(b *testing.B) { parallel(b, h.Wake) })
}

package resilience

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestThrottle(t *testing.T) {
	tests := []struct {
		name    string
		accepts func(sent int) bool
		least   float64 // share of the calls that is sent
		most    float64
	}{
		{"all accepted", func(int) bool { return true }, 1, 1},
		{"two of three accepted", func(sent int) bool { return sent%3 != 0 }, 0.99, 1},
		{"50 of 500 a second accepted: twice that is sent", perSecond(50), 0.19, 0.25},
		{"none accepted", func(int) bool { return false }, 0.09, 0.11},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			th := NewThrottle(ThrottleOptions{})
			sent := 0
			const calls = 20000
			for range calls {
				_, err := Guard(background, func(context.Context) (int, error) {
					sent++
					if !tt.accepts(sent) {
						return 0, errDown
					}
					return 0, nil
				}, th)
				if err != nil && !errors.Is(err, errDown) && !errors.Is(err, ErrThrottled) {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Millisecond)
			}
			if share := float64(sent) / calls; share < tt.least || share > tt.most {
				t.Errorf("%.3f were sent, want %v to %v", share, tt.least, tt.most)
			}
		})
	}
}

// perSecond accepts so many a second.
func perSecond(n float64) func(int) bool {
	var r *Rate
	return func(int) bool {
		if r == nil { // in the bubble
			r = NewRate(RateOptions{PerSecond: n, Burst: 10})
		}
		return r.TryTake(1)
	}
}

func TestThrottleLetsGo(t *testing.T) {
	inBubble(t, "after an outage", func(t *testing.T) {
		th := NewThrottle(ThrottleOptions{Window: 16 * time.Second})
		down := true
		call := func(context.Context) (int, error) {
			if down {
				return 0, errDown
			}
			return 0, nil
		}
		run := func(d time.Duration) (good int) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
				_, err := Guard(background, call, th)
				good += b2i(err == nil)
			}
			return good
		}
		run(30 * time.Second)
		if p := th.Refusing(); p != 0.9 {
			t.Errorf("holds back %.2f during the outage", p)
		}
		down = false
		run(2 * 16 * time.Second)
		if good := run(time.Second); good < 195 {
			t.Errorf("%d of 200 pass after it", good)
		}
	})
}

func BenchmarkThrottle(b *testing.B) {
	th := NewThrottle(ThrottleOptions{})
	parallel(b, func() {
		if p, err := th.Enter(background); err == nil {
			p.Leave(nil)
		}
	})
}

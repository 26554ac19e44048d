package resilience

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestBackoffBounds(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name    string
		backoff Backoff
		retry   int
		least   time.Duration
		most    time.Duration
	}{
		{"defaults, first", Backoff{}, 1, 0, 25 * ms},
		{"defaults, third", Backoff{}, 3, 0, 100 * ms},
		{"defaults, capped", Backoff{}, 1 << 40, 0, time.Second},
		{"a retry before the first is the first", Backoff{}, -3, 0, 25 * ms},
		{"equal", Backoff{Initial: 100 * ms, Jitter: EqualJitter}, 2, 100 * ms, 200 * ms},
		{"decorrelated, first", Backoff{Initial: 100 * ms, Jitter: DecorrelatedJitter}, 1, 100 * ms, 300 * ms},
		{"decorrelated, capped", Backoff{Initial: 100 * ms, Jitter: DecorrelatedJitter}, 30, 100 * ms, time.Second},
		{"without jitter", Backoff{Initial: 100 * ms, Factor: 3, Jitter: NoJitter}, 3, 900 * ms, 900 * ms},
		{"factor 1", Backoff{Initial: 100 * ms, Factor: 1}, 50, 0, 100 * ms},
		{"the longest time there is", Backoff{Initial: math.MaxInt64, Max: math.MaxInt64}, 5, 0, 1 << 60},
		{"the longest, decorrelated", Backoff{Initial: math.MaxInt64, Max: math.MaxInt64, Jitter: DecorrelatedJitter}, 5, 1 << 60, 1 << 60},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			low, high := time.Duration(math.MaxInt64), time.Duration(-1)
			for range 500 {
				d := tt.backoff.Delay(tt.retry)
				if d < tt.least || d > tt.most {
					t.Fatalf("delay %v, want %v to %v", d, tt.least, tt.most)
				}
				low, high = min(low, d), max(high, d)
			}
			if spread, room := high-low, tt.most-tt.least; float64(spread) < 0.5*float64(room) {
				t.Errorf("delays from %v to %v only", low, high)
			}
		})
	}
}

func TestBackoffValidate(t *testing.T) {
	tests := []struct {
		backoff Backoff
		want    string // in the error; "" is none
	}{
		{Backoff{}, ""},
		{Backoff{Initial: time.Second, Max: time.Minute, Factor: 1.5, Jitter: EqualJitter}, ""},
		{Backoff{Initial: time.Second, Max: time.Minute, Jitter: NoJitter}, ""},
		{Backoff{Initial: time.Second, Factor: 1}, ""},
		{Backoff{Initial: time.Second, Max: time.Minute, Factor: 1, Jitter: NoJitter}, "would all come back together, every 1s"},
		{Backoff{Initial: time.Second, Max: time.Second, Jitter: NoJitter}, "use FullJitter"},
		{Backoff{Initial: -1}, "cannot be negative"},
		{Backoff{Initial: 2, Max: 1}, "exchange them"},
		{Backoff{Factor: 0.5}, "retries speed up"},
		{Backoff{Factor: math.NaN()}, "use 1 or more"},
		{Backoff{Jitter: 9}, "there is no jitter 9"},
	}
	for _, tt := range tests {
		err := tt.backoff.Validate()
		if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v, want %q", tt.backoff, err, tt.want)
		}
	}
}

func FuzzBackoff(f *testing.F) {
	f.Add(int64(0), int64(0), 0.0, uint8(0), 1)
	f.Add(int64(1<<62), int64(math.MaxInt64), math.Inf(1), uint8(2), 1<<40)
	f.Add(int64(-5), int64(3), math.NaN(), uint8(1), -1)
	f.Fuzz(func(t *testing.T, initial, most int64, factor float64, jitter uint8, retry int) {
		b := Backoff{Initial: time.Duration(initial), Max: time.Duration(most), Factor: factor, Jitter: Jitter(jitter)}
		if d := b.Delay(retry); d < 0 || d > b.withDefaults().Max {
			t.Errorf("%+v.Delay(%d) is %v", b, retry, d)
		}
	})
}

func BenchmarkBackoff(b *testing.B) {
	parallel(b, func() { Backoff{}.Delay(3) })
}

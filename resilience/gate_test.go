package resilience

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var errDown = errors.New("down")

func answer(v int, err error) func(context.Context) (int, error) {
	return func(context.Context) (int, error) { return v, err }
}

// note writes down who enters and leaves.
type note struct {
	name   string
	refuse error
	log    *[]string
}

func (n note) Enter(context.Context) (Pass, error) {
	*n.log = append(*n.log, "+"+n.name)
	return Pass{Gate: n}, n.refuse
}

func (n note) Leave(_ Pass, err error) { *n.log = append(*n.log, fmt.Sprintf("-%s %v", n.name, err)) }

func TestGuardEntersInOrderAndLeavesInReverse(t *testing.T) {
	tests := []struct {
		name   string
		refuse error
		call   func(context.Context) (int, error)
		want   string
	}{
		{"a good call", nil, answer(1, nil), "+a +b +c -c <nil> -b <nil> -a <nil>"},
		{"a failed call", nil, answer(1, errDown), "+a +b +c -c down -b down -a down"},
		{"a refused call", errDown, nil, "+a +b -a down"},
		{"a call that panics", nil, func(context.Context) (int, error) { panic("oh") }, "+a +b +c -c the call panicked -b the call panicked -a the call panicked"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log []string
			func() {
				defer func() { _ = recover() }()
				_, err := Guard(background, tt.call, note{"a", nil, &log}, note{"b", tt.refuse, &log}, note{"c", nil, &log})
				if tt.refuse != nil && !errors.Is(err, tt.refuse) {
					t.Errorf("error %v, want %v", err, tt.refuse)
				}
			}()
			if got := strings.Join(log, " "); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestGuardTakesAnyNumberOfGates(t *testing.T) {
	l := NewLimit(LimitOptions{Concurrency: 20})
	gates := make([]Gate, 20)
	for i := range gates {
		gates[i] = l
	}
	in, err := Guard(background, func(context.Context) (int, error) { return l.Snapshot().InUse, nil }, gates...)
	if in != 20 || err != nil || l.Snapshot().InUse != 0 {
		t.Errorf("%d gates, %v, left with %d", in, err, l.Snapshot().InUse)
	}
}

type comeBack struct{ after time.Duration }

func (b comeBack) Error() string             { return "busy" }
func (b comeBack) RetryAfter() time.Duration { return b.after }

func TestBreakerAsGate(t *testing.T) {
	tests := []struct {
		name    string
		options BreakerOptions
		err     error
		took    time.Duration
		want    BreakerState
		rest    time.Duration // at least
	}{
		{"failures open it", BreakerOptions{Consecutive: 2}, errDown, 0, Open, 0},
		{"a missed deadline is one", BreakerOptions{Consecutive: 2}, context.DeadlineExceeded, 0, Open, 0},
		{"a refusal further in is none", BreakerOptions{Consecutive: 2}, fmt.Errorf("inner: %w", ErrQueueFull), 0, Closed, 0},
		{"nor is a caller who left", BreakerOptions{Consecutive: 2}, context.Canceled, 0, Closed, 0},
		{"slow ones open it", BreakerOptions{SlowRate: 1, Volume: 2}, nil, time.Second, Open, 0},
		{"fast ones do not", BreakerOptions{SlowRate: 1, Volume: 2}, nil, time.Millisecond, Closed, 0},
		{"errors may be classified", BreakerOptions{Consecutive: 2, Classify: func(error) Outcome { return Success }}, errDown, 0, Closed, 0},
		{"the answer says for how long", BreakerOptions{Consecutive: 2}, fmt.Errorf("call: %w", comeBack{30 * time.Second}), 0, Open, 30 * time.Second},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			b := NewBreaker(tt.options)
			time.Sleep(time.Minute)
			for range 2 {
				_, err := Guard(background, func(context.Context) (int, error) { time.Sleep(tt.took); return 0, tt.err }, b)
				if !errors.Is(err, tt.err) {
					t.Fatal(err)
				}
			}
			if b.State() != tt.want || b.RetryAfter() < tt.rest {
				t.Errorf("%v, tries in %v", b.State(), b.RetryAfter())
			}
			if _, err := Guard(background, answer(0, nil), b); errors.Is(err, ErrOpen) != (tt.want == Open) {
				t.Errorf("then %v", err)
			}
		})
	}
}

func TestBreakerUpdateTakesTheNewClassification(t *testing.T) {
	b := NewBreaker(BreakerOptions{Consecutive: 1})
	b.Update(BreakerOptions{Consecutive: 1, Classify: func(error) Outcome { return Ignored }})
	_, _ = Guard(background, answer(0, errDown), b)
	if b.State() != Closed {
		t.Error("the old classification counted")
	}
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDeadline(DeadlineOptions{Least: 5 * time.Millisecond})
		try := func(left, takes time.Duration) error {
			ctx, cancel := context.WithTimeout(background, left)
			defer cancel()
			_, err := Guard(ctx, func(context.Context) (int, error) { time.Sleep(takes); return 0, nil }, d)
			return err
		}
		steps := []struct {
			left, takes time.Duration
			times       int
			want        error
		}{
			{4 * time.Millisecond, 0, 1, ErrTooLate},
			{6 * time.Millisecond, 0, 1, nil},
			{time.Second, 100 * time.Millisecond, 40, nil},
			{95 * time.Millisecond, 0, 1, ErrTooLate},
			{115 * time.Millisecond, 0, 1, nil},
		}
		for i, step := range steps {
			for range step.times {
				if err := try(step.left, step.takes); !errors.Is(err, step.want) {
					t.Fatalf("step %d: %v, want %v (needed %v)", i, err, step.want, d.Needed())
				}
			}
			time.Sleep(time.Second)
		}
		if _, err := Guard(background, answer(0, nil), d); err != nil {
			t.Errorf("a call without a deadline: %v", err)
		}
		time.Sleep(time.Minute)
		if err := try(6*time.Millisecond, 0); err != nil {
			t.Errorf("what it learnt a minute ago still counts: %v", err)
		}
	})
}

func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := func(ctx context.Context) (int, error) { <-ctx.Done(); return 7, ctx.Err() }
		outer, cancel := context.WithTimeout(background, 3*time.Second)
		defer cancel()
		for _, tt := range []struct{ bound, want time.Duration }{{time.Second, time.Second}, {time.Hour, 2 * time.Second}, {0, 0}} {
			start := time.Now()
			if v, err := Within(outer, tt.bound, wait); v != 7 || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != tt.want {
				t.Errorf("within %v: %d, %v after %v, want %v", tt.bound, v, err, time.Since(start), tt.want)
			}
		}
	})
}

func BenchmarkGuard(b *testing.B) {
	breaker, limit := NewBreaker(BreakerOptions{}), NewLimit(LimitOptions{Concurrency: 100})
	call := answer(1, nil)
	parallel(b, func() { _, _ = Guard(background, call, breaker, limit) })
}

func BenchmarkDeadline(b *testing.B) {
	d := NewDeadline(DeadlineOptions{})
	ctx, cancel := context.WithTimeout(background, time.Hour)
	defer cancel()
	call := answer(1, nil)
	parallel(b, func() { _, _ = Guard(ctx, call, d) })
}

func TestEnterAll(t *testing.T) {
	for refuse, want := range map[error]string{nil: "+a +b -b down -a down", ErrOpen: "+a +b -a " + ErrOpen.Error()} {
		var log []string
		leave, err := EnterAll(background, note{"a", nil, &log}, note{"b", refuse, &log})
		if !errors.Is(err, refuse) || (err == nil) != (leave != nil) {
			t.Fatal(err)
		}
		if leave != nil {
			leave(errDown)
		}
		if got := strings.Join(log, " "); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

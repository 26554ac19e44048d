package resilience

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// failing fails so often and then succeeds.
func failing(times int, err error, made *int) func(context.Context) (int, error) {
	return func(context.Context) (int, error) {
		if *made++; *made <= times {
			return 0, err
		}
		return *made, nil
	}
}

func TestDo(t *testing.T) {
	spent := NewBudget(BudgetOptions{Min: -1, Ratio: -1})
	nested := WithAttempt(background, 2)
	tests := []struct {
		name    string
		options RetryOptions
		ctx     context.Context
		fail    int
		err     error
		made    int
		want    string // in the error; "" is success
	}{
		{"success at once", RetryOptions{}, background, 0, nil, 1, ""},
		{"success at the third try", RetryOptions{}, background, 2, errDown, 3, ""},
		{"gives up after three", RetryOptions{}, background, 9, errDown, 3, "gave up after 3 tries: down"},
		{"gives up after one", RetryOptions{Attempts: 1}, background, 9, errDown, 1, "down"},
		{"ten tries", RetryOptions{Attempts: 10, Budget: NewBudget(BudgetOptions{Min: 20})}, background, 9, errDown, 10, ""},
		{"the budget ends it", RetryOptions{Attempts: 10}, background, 9, errDown, 4, "gave up after 4 tries"},
		{"the budget is spent", RetryOptions{Budget: spent}, background, 9, errDown, 1, "down"},
		{"a permanent error", RetryOptions{}, background, 9, fmt.Errorf("call: %w", Permanent(errDown)), 1, "call: down"},
		{"the caller left", RetryOptions{}, background, 9, context.Canceled, 1, "context canceled"},
		{"classified", RetryOptions{Retryable: func(err error) bool { return !errors.Is(err, errDown) }}, background, 9, errDown, 1, "down"},
		{"a retry of an outer layer", RetryOptions{}, nested, 9, errDown, 1, "down"},
		{"unsafe", RetryOptions{}, Unsafe(background), 9, errDown, 1, "down"},
		{"unsafe but not sent", RetryOptions{}, Unsafe(background), 1, fmt.Errorf("dial: %w", ErrNotSent), 2, ""},
		{"unsafe but refused", RetryOptions{}, Unsafe(background), 1, ErrQueueFull, 2, ""},
		{"comes back too late for the deadline", RetryOptions{Total: time.Second}, background, 9, comeBack{2 * time.Second}, 1, "busy"},
		{"comes back when told", RetryOptions{Total: 3 * time.Second}, background, 1, comeBack{2 * time.Second}, 2, ""},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			if tt.options.Budget == spent {
				tt.options.Budget = NewBudget(BudgetOptions{Min: -1, Ratio: -1})
			}
			r, err := NewRetry(tt.options)
			if err != nil {
				t.Fatal(err)
			}
			made := 0
			v, err := Do(tt.ctx, r, failing(tt.fail, tt.err, &made))
			if made != tt.made || (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%d tries, %v; want %d, %q", made, err, tt.made, tt.want)
			}
			if err == nil && v != made || err != nil && !errors.Is(err, tt.err) {
				t.Errorf("got %d, %v", v, err)
			}
			if s := r.options.Budget.Snapshot(); r.options.Budget.tries != 0 || r.options.Budget.requests.atWork() != 0 {
				t.Errorf("left the budget at %+v", s)
			}
		})
	}
}

func TestDoTimes(t *testing.T) {
	hang := func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }
	tests := []struct {
		name    string
		options RetryOptions
		leave   time.Duration // the caller leaves then
		least   time.Duration
		most    time.Duration
		want    error
	}{
		{"each try is bounded", RetryOptions{PerTry: time.Second}, 0, 3 * time.Second, 3*time.Second + 75*time.Millisecond, context.DeadlineExceeded},
		{"all together are bounded", RetryOptions{PerTry: time.Second, Total: 2500 * time.Millisecond}, 0, 2500 * time.Millisecond, 2500 * time.Millisecond, context.DeadlineExceeded},
		{"the caller may leave during a try", RetryOptions{PerTry: time.Second}, 500 * time.Millisecond, 500 * time.Millisecond, 500 * time.Millisecond, context.Canceled},
		{"the caller may leave during a delay", RetryOptions{PerTry: time.Second, Backoff: Backoff{Initial: time.Hour, Max: time.Hour, Jitter: EqualJitter}}, 2 * time.Second, 2 * time.Second, 2 * time.Second, context.Canceled},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			r, err := NewRetry(tt.options)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(background)
			defer cancel()
			if tt.leave > 0 {
				time.AfterFunc(tt.leave, cancel)
			}
			start := time.Now()
			_, err = Do(ctx, r, hang)
			if took := time.Since(start); took < tt.least || took > tt.most || !errors.Is(err, tt.want) {
				t.Errorf("%v after %v, want %v after %v to %v", err, took, tt.want, tt.least, tt.most)
			}
		})
	}
}

func TestDoTellsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told, seen []int
		r, _ := NewRetry(RetryOptions{OnRetry: func(e RetryEvent) {
			told = append(told, e.Attempt)
			if !errors.Is(e.Err, errDown) || e.Delay > 50*time.Millisecond {
				t.Errorf("told %+v", e)
			}
		}})
		_, _ = Do(background, r, func(ctx context.Context) (int, error) { seen = append(seen, AttemptOf(ctx)); return 0, errDown })
		if fmt.Sprint(told, seen) != "[2 3] [1 2 3]" {
			t.Errorf("told of %v, the calls saw %v", told, seen)
		}
	})
}

// TestDoInLayers: three layers of three tries make three calls and not 27.
func TestDoInLayers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := 0
		call := failing(1000, errDown, &made)
		for range 3 {
			r, _ := NewRetry(RetryOptions{})
			inner := call
			call = func(ctx context.Context) (int, error) { return Do(ctx, r, inner) }
		}
		_, _ = call(background)
		if made != 3 {
			t.Errorf("%d calls", made)
		}
	})
}

// TestRetryStorm: a backend that is dead for ten seconds gets at most a fifth more than its clients' calls, through three layers.
func TestRetryStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var made atomic.Int64
		call := func(context.Context) (int, error) { made.Add(1); return 0, errDown }
		for range 3 {
			r, _ := NewRetry(RetryOptions{})
			inner := call
			call = func(ctx context.Context) (int, error) { return Do(ctx, r, inner) }
		}
		const calls = 10 * 200
		for range calls {
			go call(background)
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if amplified := float64(made.Load()) / calls; amplified > 1.2+0.01 {
			t.Errorf("%.2f × the clients' calls", amplified)
		} else {
			t.Logf("%.2f × the clients' calls", amplified)
		}
	})
}

func TestDoPanics(t *testing.T) {
	r, _ := NewRetry(RetryOptions{})
	func() {
		defer func() { _ = recover() }()
		_, _ = Do(background, r, func(context.Context) (int, error) { panic("oh") })
	}()
	if n := r.options.Budget.requests.atWork(); n != 0 {
		t.Errorf("%d requests stay at work", n)
	}
}

func TestNewRetryRefuses(t *testing.T) {
	for _, tt := range []struct {
		options RetryOptions
		want    string
	}{
		{RetryOptions{Backoff: Backoff{Initial: time.Second, Max: time.Second, Jitter: NoJitter}}, "come back together"},
		{RetryOptions{Attempts: -1}, "cannot be negative"},
		{RetryOptions{PerTry: -1}, "cannot be negative"},
	} {
		if _, err := NewRetry(tt.options); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt.options, err)
		}
	}
}

func BenchmarkDo(b *testing.B) {
	r, _ := NewRetry(RetryOptions{})
	call := answer(1, nil)
	parallel(b, func() { _, _ = Do(background, r, call) })
}

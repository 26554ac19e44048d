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

func TestReason(t *testing.T) {
	tests := map[string]error{
		"ok": nil, "open": ErrOpen, "queue_full": ErrQueueFull, "queue_timeout": ErrQueueTimeout, "limited": ErrLimited, "rate": ErrRate,
		"shed": ErrShed, "throttled": ErrThrottled, "too_late": ErrTooLate, "hold_full": ErrHoldFull, "hold_timeout": ErrHoldTimeout,
		"refused": ErrRefused, "canceled": context.Canceled, "deadline": context.DeadlineExceeded, "failed": errDown,
	}
	for want, err := range tests {
		if got := Reason(err); got != want {
			t.Errorf("%v is %s, want %s", err, got, want)
		}
		if err != nil && Reason(&gaveUp{3, fmt.Errorf("call: %w", err)}) != want {
			t.Errorf("%v is something else when wrapped", err)
		}
	}
}

// TestObserver puts one observer on every policy and compares what it was told.
func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		ctx := context.WithValue(background, key{}, "the call's")
		var told []string
		var observe Observer = func(ctx context.Context, e Event) {
			text := fmt.Sprintf("%v %s %s", e.Kind, e.Name, e.Reason())
			switch e.Kind {
			case EventCall:
				text += " " + e.Took.String()
			case EventRetry:
				text += fmt.Sprint(" try ", e.Attempt)
			case EventBreaker:
				text += fmt.Sprintf(" %v→%v", e.From, e.To)
			case EventMode:
				text += fmt.Sprint(" ", e.Open, " ", e.Cause)
			case EventFallback:
				text += fmt.Sprint(" ", e.Number)
			case EventHedge, EventRefusal:
			}
			if v, _ := ctx.Value(key{}).(string); v != "" {
				text += " (" + v + ")"
			}
			told = append(told, text)
		}
		breaker := NewBreaker(BreakerOptions{Consecutive: 1, OnChange: observe.Breaker("db")})
		retry, err := NewRetry(RetryOptions{Attempts: 2, OnRetry: observe.Retry("read")})
		if err != nil {
			t.Fatal(err)
		}
		gate := observe.Gate("gate", breaker)
		_, err = Watch(ctx, observe, "all", func(ctx context.Context) (int, error) {
			return Do(ctx, retry, func(ctx context.Context) (int, error) {
				return Guard(ctx, func(context.Context) (int, error) { time.Sleep(time.Second); return 0, errDown }, gate)
			})
		})
		if !errors.Is(err, ErrOpen) {
			t.Error(err)
		}
		_, which, _ := FirstOf(ctx, answer(0, errDown), Static(1))
		observe.Fallback(ctx, "page", which)
		observe.Fallback(ctx, "page", 0)
		NewMode("less", ModeOptions{OnChange: observe.Mode()}).Force(true)
		hedge := NewHedge(HedgeOptions{Volume: 1, OnHedge: observe.Hedge("slow")})
		for _, takes := range []time.Duration{10 * time.Millisecond, 5 * time.Second} {
			_, _ = Race(ctx, hedge, func(ctx context.Context) (int, error) { return 1, sleep(ctx, takes) }, nil)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		want := []string{
			"breaker db ok closed→open", "retry read failed try 2 (the call's)",
			"refusal gate open (the call's)", "call all open", "fallback page ok 1 (the call's)",
			"mode less ok true by hand", "hedge slow ok (the call's)",
		}
		for i, w := range want {
			if i >= len(told) || !strings.HasPrefix(told[i], w) {
				t.Fatalf("told %q, want %q", told, want)
			}
		}
	})
}

func TestNoObserver(t *testing.T) {
	var none Observer
	limit := NewLimit(LimitOptions{})
	if none.Breaker("") != nil || none.Retry("") != nil || none.Hedge("") != nil || none.Mode() != nil || none.Gate("", limit) != Gate(limit) || Observers(nil, none) != nil {
		t.Error("no observer is something")
	}
	none.Fallback(background, "", 1)
	call := answer(1, nil)
	if n := testing.AllocsPerRun(100, func() { _, _ = Watch(background, none, "", call) }); n != 0 {
		t.Errorf("allocates %v times", n)
	}
	told := 0
	count := func(context.Context, Event) { told++ }
	both := Observers(count, nil, count)
	func() {
		defer func() { _ = recover() }()
		_, _ = Watch(background, both, "", func(context.Context) (int, error) { panic("oh") })
	}()
	if told != 2 {
		t.Errorf("told %d times of a call that panicked", told)
	}
}

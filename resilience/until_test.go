package resilience

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestUntilIsAsTheRealOne compares with context.WithTimeout at every stage, whoever has looked at what before.
func TestUntilIsAsTheRealOne(t *testing.T) {
	type key struct{}
	cause := errors.New("because")
	looks := map[string]func(context.Context){
		"nobody":       func(context.Context) {},
		"at done":      func(ctx context.Context) { ctx.Done() },
		"at the time":  func(ctx context.Context) { ctx.Deadline() },
		"at the error": func(ctx context.Context) { _ = ctx.Err() },
		"by a child":   func(ctx context.Context) { context.AfterFunc(ctx, func() {}) },
	}
	stages := map[string]func(cancel context.CancelCauseFunc, end func()){
		"at work":         func(context.CancelCauseFunc, func()) {},
		"too late":        func(context.CancelCauseFunc, func()) { time.Sleep(time.Second) },
		"given up":        func(cancel context.CancelCauseFunc, _ func()) { cancel(cause) },
		"done":            func(_ context.CancelCauseFunc, end func()) { end() },
		"done, then late": func(_ context.CancelCauseFunc, end func()) { end(); time.Sleep(time.Second) },
	}
	for look, see := range looks {
		for stage, reach := range stages {
			inBubble(t, look+", "+stage, func(t *testing.T) {
				parent, cancel := context.WithCancelCause(context.WithValue(background, key{}, "value"))
				defer cancel(nil)
				want, end := context.WithTimeout(parent, time.Second)
				defer end()
				got := newUntil(parent, time.Second)
				defer got.end()
				see(got)
				reach(cancel, func() { end(); got.end() })
				synctest.Wait()
				if !errors.Is(got.Err(), want.Err()) || !errors.Is(context.Cause(got), context.Cause(want)) {
					t.Errorf("%v because of %v, want %v because of %v", got.Err(), context.Cause(got), want.Err(), context.Cause(want))
				}
				if over(got) != over(want) {
					t.Errorf("done is %v, want %v", over(got), over(want))
				}
				child, stop := context.WithCancel(got)
				defer stop()
				synctest.Wait()
				if !errors.Is(child.Err(), want.Err()) || child.Value(key{}) != "value" {
					t.Errorf("a child has ended with %v, want %v", child.Err(), want.Err())
				}
			})
		}
	}
}

func over(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	default:
		return false
	}
}

func TestUntilKeepsAnEarlierDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		u := newUntil(parent, time.Hour)
		defer u.end()
		if left, ok := u.Deadline(); !ok || time.Until(left) != time.Second {
			t.Errorf("%v left, want its parent's second", time.Until(left))
		}
		if time.Sleep(time.Second); !errors.Is(u.Err(), context.DeadlineExceeded) {
			t.Errorf("ended with %v", u.Err())
		}
	})
}

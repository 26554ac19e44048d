package resilience

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestSoak lets all policies together live through an hour of a dependency that fails, hangs, slows down and recovers: at the end nothing is
// held, nobody waits, and all is as it was.
func TestSoak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		breaker := NewBreaker(BreakerOptions{Consecutive: 10, FailureRate: 0.5, SlowRate: 0.5, Slow: time.Second, Probes: 3})
		limit := NewLimit(LimitOptions{Concurrency: 10, Queue: 20, Wait: time.Second})
		adaptive := NewAdaptive(AdaptiveOptions{Initial: 10, Queue: 10, Wait: time.Second})
		shed := NewShed(ShedOptions{Queue: limit})
		throttle := NewThrottle(ThrottleOptions{})
		deadline := NewDeadline(DeadlineOptions{})
		hold := NewHold(HoldOptions{For: time.Second, Waiters: 10, Bytes: 100})
		hedge := NewHedge(HedgeOptions{})
		retry, err := NewRetry(RetryOptions{PerTry: 3 * time.Second, Total: 8 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(5, 6))
		var mood atomic.Int64 // 0 well, 1 failing, 2 slow, 3 hanging
		var good, atWork atomic.Int64
		dependency := func(ctx context.Context) (int, error) {
			if n := atWork.Add(1); n > 10 {
				t.Errorf("%d at work", n)
			}
			defer atWork.Add(-1)
			switch mood.Load() {
			case 1:
				return 0, errDown
			case 2:
				return 0, sleep(ctx, 2*time.Second)
			case 3:
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return 0, sleep(ctx, 10*time.Millisecond)
		}
		call := func(ctx context.Context) (int, error) {
			return Do(ctx, retry, func(ctx context.Context) (int, error) {
				return Race(ctx, hedge, func(ctx context.Context) (int, error) {
					if err := hold.Wait(ctx, 10, breaker.Ready); err != nil {
						return 0, err
					}
					return Guard(ctx, dependency, throttle, deadline, breaker, adaptive, shed)
				}, nil)
			})
		}
		one := func() {
			ctx, cancel := context.WithTimeout(background, 10*time.Second)
			defer cancel()
			if _, err := call(ctx); err == nil {
				good.Add(1)
			} else if !errors.Is(err, errDown) && !errors.Is(err, ErrRefused) && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
		for end := time.Now().Add(time.Hour); time.Now().Before(end); {
			mood.Store(max(0, int64(random.IntN(7))-3))
			hold.Wake()
			for range 100 + random.IntN(300) {
				go one()
				time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
			}
		}
		mood.Store(0)
		for range 10 * 60 {
			go one()
			time.Sleep(200 * time.Millisecond)
			hold.Wake()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		before := good.Load()
		for range 100 {
			one()
		}
		if n := good.Load() - before; n != 100 {
			t.Errorf("%d of 100 calls succeed when all is well: breaker %+v, limit %+v, throttle %.2f", n, breaker.Snapshot(), limit.Snapshot(), throttle.Refusing())
		}
		for name, s := range map[string]LimitSnapshot{"limit": limit.Snapshot(), "adaptive": adaptive.Snapshot()} {
			if s.InUse != 0 || s.Waiting != 0 {
				t.Errorf("the %s is left as %+v", name, s)
			}
		}
		for name, b := range map[string]*Budget{"retry": retry.options.Budget, "hedge": hedge.options.Budget} {
			if b.tries != 0 || b.requests.atWork() != 0 {
				t.Errorf("the budget of the %s is left as %+v", name, b.Snapshot())
			}
		}
		if hold.Waiting() != 0 || hold.bytes != 0 || breaker.State() != Closed {
			t.Errorf("%d wait with %d bytes, the breaker is %v", hold.Waiting(), hold.bytes, breaker.State())
		}
		t.Logf("%d good calls", good.Load())
	})
}

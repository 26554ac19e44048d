package pool

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/observe/health"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/resilience"
)

func noOutlier(c *config.Service) { c.Outlier.Off = true }

func TestOpenBreakersFailFastAndTryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b", func(c *config.Service) { noOutlier(c); c.Balance.SlowStart = 0 })
		k.fail("a", 10, telemetry.ClassConnect)
		k.near(k.spread(100), 0, map[string]float64{"b": 1})
		k.fail("b", 10, telemetry.ClassConnect)
		k.told("breaker.open a", "breaker.open b", "service.down")
		if _, err := k.Pick(&Query{}); !errors.Is(err, ErrNoMember) {
			t.Fatalf("got %v", err)
		}
		if st := k.state("a"); st.State != "open" || st.Breaker != "open" || st.Share != 0 || st.Evidence == "" {
			t.Errorf("a: %+v", st)
		}
		time.Sleep(time.Second)
		first := k.pick(Query{}) // the trials
		second := k.pick(Query{})
		if first.Name() == second.Name() {
			t.Errorf("both trials go to %s", first.Name())
		}
		if _, err := k.Pick(&Query{}); !errors.Is(err, ErrNoMember) {
			t.Errorf("more than one probe each: %v", err)
		}
		first.Done(Outcome{Took: time.Millisecond})
		k.near(k.spread(50), 0, map[string]float64{first.Name(): 1})
		second.Done(Outcome{Result: Failed})
		k.near(k.spread(50), 0, map[string]float64{first.Name(): 1})
		k.told("breaker.half_open "+first.Name(), "breaker.half_open "+second.Name(), "breaker.closed "+first.Name(), "service.up", "breaker.open "+second.Name())
		time.Sleep(2 * time.Second)
		if m := k.pick(Query{Tried: []*Member{second}}); m.Name() != first.Name() {
			t.Errorf("a trial for who was there already: %s", m.Name())
		}
		m := k.pick(Query{})
		if m.Name() != second.Name() {
			t.Errorf("no trial: %s", m.Name())
		}
		m.Done(Outcome{Took: time.Millisecond})
		k.near(k.spreadBusy(100), 0.05, map[string]float64{"a": .5, "b": .5})
	})
}

// A stream or a session that was answered well closes the breaker at once, not at its end.
func TestAnsweredCountsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a", noOutlier)
		k.fail("a", 10, telemetry.ClassConnect)
		time.Sleep(time.Second)
		m := k.pick(Query{})
		m.Answered(time.Millisecond)
		if st := k.state("a"); st.Breaker != "closed" || st.InFlight != 1 {
			t.Errorf("a: %+v", st)
		}
		time.Sleep(time.Hour)
		m.Done(Outcome{Took: time.Millisecond, Answered: true})
		if st := k.state("a"); st.InFlight != 0 || st.Requests != 11 || st.Failures != 10 {
			t.Errorf("a: %+v", st)
		}
	})
}

func TestHoldWaitsForAMember(t *testing.T) {
	hold := func(k *kit) chan error {
		done := make(chan error, 1)
		go func() { done <- k.Hold(k.t.Context(), 0) }()
		synctest.Wait()
		return done
	}
	result := func(t *testing.T, done chan error) error {
		t.Helper()
		synctest.Wait()
		select {
		case err := <-done:
			return err
		default:
			t.Fatal("still held")
			return nil
		}
	}
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b", func(c *config.Service) { c.Balance.Panic = 0; checked(c) })
		if err := k.Hold(t.Context(), 0); err != nil {
			t.Error(err)
		}
		k.health("a", health.Down)
		k.health("b", health.Down)
		done := hold(k)
		if k.Status().Held != 1 {
			t.Error("nobody is held")
		}
		time.Sleep(time.Second)
		k.health("b", health.Up)
		if err := result(t, done); err != nil {
			t.Error(err)
		}
		k.health("b", health.Down)
		done = hold(k)
		time.Sleep(2*time.Second + time.Millisecond)
		if err := result(t, done); !errors.Is(err, resilience.ErrHoldTimeout) {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- k.Hold(ctx, 0) }()
		synctest.Wait()
		cancel()
		if err := result(t, done); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		done = hold(k)
		k.cfg.Check = nil // any change of the picture is looked at
		k.Set(k.cfg, k.eps)
		if err := result(t, done); err != nil {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // an open breaker whose rest ends wakes, though nothing changes
		k := newKit(t, "a", noOutlier)
		k.fail("a", 10, telemetry.ClassConnect)
		done := hold(k)
		time.Sleep(1100 * time.Millisecond)
		if err := result(t, done); err != nil {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // so does a place that becomes free
		k := newKit(t, "a", func(c *config.Service) { c.Limit = &config.Limit{Concurrency: 10, Member: 1} })
		m := k.pick(Query{})
		done := hold(k)
		m.Done(Outcome{Took: time.Millisecond})
		if err := result(t, done); err != nil {
			t.Error(err)
		}
	})
}

func TestServiceBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a", nil)
		if k.Breaker() != nil {
			t.Error("on without being asked for")
		}
		p, err := k.Admit()
		if err != nil {
			t.Fatal(err)
		}
		p.Done(resilience.Failure, 0)
		k.cfg.Breaker.Service = true
		k.Set(k.cfg, k.eps)
		for range 10 {
			if p, err = k.Admit(); err != nil {
				t.Fatal(err)
			}
			p.Done(resilience.Failure, 0)
		}
		if _, err := k.Admit(); !errors.Is(err, resilience.ErrOpen) {
			t.Errorf("got %v", err)
		}
		k.Set(k.cfg, k.eps) // keeps its state
		if k.Status().Breaker != "open" {
			t.Error("forgotten by a reload")
		}
		k.told(event.BreakerOpen)
	})
}

func TestLimitAndBudgetLiveAcrossSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a", func(c *config.Service) {
			c.Limit = &config.Limit{Concurrency: 1, Queue: 1, Wait: config.Duration(time.Second)}
		})
		if err := k.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 2)
		go func() { done <- k.Enter(t.Context()) }()
		synctest.Wait()
		if err := k.Enter(t.Context()); !errors.Is(err, resilience.ErrQueueFull) {
			t.Errorf("got %v", err)
		}
		if k.Status().Queued != 1 {
			t.Error("nobody queues")
		}
		k.Set(k.cfg, k.eps)
		k.Leave()
		if err := <-done; err != nil {
			t.Error(err)
		}
		go func() { done <- k.Enter(t.Context()) }()
		if err := <-done; !errors.Is(err, resilience.ErrQueueTimeout) {
			t.Errorf("got %v", err)
		}
		k.cfg.Limit = nil
		k.Set(k.cfg, k.eps)
		for range 100 {
			if err := k.Enter(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if k.Budget() == nil || !k.Budget().TryRetry() {
			t.Error("no retry for a hundred requests")
		}
	})
}

// A spare that nobody needs is not tried out on clients.
func TestSparesAreNotTriedWithoutNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b spare!1", noOutlier)
		k.fail("spare", 10, telemetry.ClassConnect)
		time.Sleep(2 * time.Second)
		if shares := k.spread(50); shares["spare"] > 0 {
			t.Error("a trial although the first tier is well")
		}
		k.Drain("a", true)
		if m := k.pick(Query{}); m.Name() != "spare" {
			t.Errorf("no trial although the first tier is short: %s", m.Name())
		}
	})
}

func TestRetryAfterLengthensTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a", noOutlier)
		for range 10 {
			k.on("a").Done(Outcome{Result: Failed, Reason: telemetry.ClassStatus, RetryAfter: 20 * time.Second})
		}
		time.Sleep(19 * time.Second)
		if _, err := k.Pick(&Query{}); !errors.Is(err, ErrNoMember) {
			t.Errorf("got %v", err)
		}
		time.Sleep(2 * time.Second)
		k.pick(Query{})
	})
}

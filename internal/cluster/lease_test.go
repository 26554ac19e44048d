package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

const testTTL = time.Second

// A seat is a node that wants a lease in a test.
type seat struct {
	*Lease
	name string
}

func newSeat(t *testing.T, m *Memory, name string, change func(*LeaseOptions)) seat {
	o := LeaseOptions{Store: m.Client(name), Key: "lease/db", Holder: name, TTL: testTTL}
	if change != nil {
		change(&o)
	}
	l := NewLease(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = l.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return seat{l, name}
}

func (s seat) mustTake(t *testing.T, epoch, want uint64) {
	t.Helper()
	if got, err := s.Take(t.Context(), epoch); err != nil || got != want {
		t.Fatalf("%s: Take = %d, %v; want epoch %d", s.name, got, err, want)
	}
}

func (s seat) mustHold(t *testing.T, want bool) {
	t.Helper()
	if _, _, ok := s.Held(); ok != want {
		t.Fatalf("%s: held = %t, want %t; it sees %s", s.name, ok, want, s.View())
	}
}

func bubble(t *testing.T, test func(t *testing.T, m *Memory)) {
	synctest.Test(t, func(t *testing.T) { test(t, NewMemory()) })
}

func TestLeaseIsKeptForAsLongAsItsHolderLives(t *testing.T) {
	bubble(t, func(t *testing.T, m *Memory) {
		a, b := newSeat(t, m, "a", nil), newSeat(t, m, "b", nil)
		a.mustTake(t, 0, 1)
		for range 100 {
			time.Sleep(testTTL / 10)
			a.mustHold(t, true)
			if _, err := b.Take(t.Context(), 0); !errors.Is(err, ErrHeld) {
				t.Fatalf("b took a held lease: %v", err)
			}
		}
	})
}

func TestCandidateWaitsAFullTTLAfterTheLastRenewal(t *testing.T) {
	bubble(t, func(t *testing.T, m *Memory) {
		a, b := newSeat(t, m, "a", nil), newSeat(t, m, "b", nil)
		a.mustTake(t, 0, 1)
		time.Sleep(10*testTTL + 10*time.Millisecond) // 10 ms after a renewal
		m.Cut("a")
		cut := time.Now()
		_, deadline, _ := a.Held()
		epoch, err := b.Acquire(t.Context())
		if err != nil || epoch != 2 {
			t.Fatalf("Acquire = %d, %v", epoch, err)
		}
		if took := time.Since(cut); took < testTTL-20*time.Millisecond || took > testTTL+20*time.Millisecond {
			t.Errorf("b took the lease %v after the cut, want about the ttl", took)
		}
		if !time.Now().After(deadline) {
			t.Error("b took it before a's deadline")
		}
		a.mustHold(t, false)
		m.Heal("a")
		synctest.Wait()
		time.Sleep(testTTL)
		a.mustHold(t, false)
		b.mustHold(t, true)
		if v := a.View(); v.Holder != "b" || v.Epoch != 2 {
			t.Errorf("a sees %s", v)
		}
	})
}

func TestCandidateThatWasBlindWaitsAnew(t *testing.T) {
	bubble(t, func(t *testing.T, m *Memory) {
		a, b := newSeat(t, m, "a", nil), newSeat(t, m, "b", nil)
		a.mustTake(t, 0, 1)
		time.Sleep(testTTL)
		m.Cut("b") // it sees nothing change for long, and then asks
		time.Sleep(10 * testTTL)
		m.Heal("b")
		if _, err := b.Take(t.Context(), 0); !errors.Is(err, ErrHeld) {
			t.Fatalf("b took it on old knowledge: %v", err)
		}
		a.mustHold(t, true)
	})
}

func TestReleaseLetsTheNextOneInAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, m *Memory) {
		a, b := newSeat(t, m, "a", nil), newSeat(t, m, "b", nil)
		a.mustTake(t, 0, 1)
		got := make(chan uint64)
		go func() { epoch, _ := b.Acquire(t.Context()); got <- epoch }()
		time.Sleep(3 * testTTL)
		released := time.Now()
		if err := a.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.mustHold(t, false)
		if epoch := <-got; epoch != 2 || time.Since(released) > time.Millisecond {
			t.Errorf("b has epoch %d after %v", epoch, time.Since(released))
		}
	})
}

func TestRevokeOpensAnEpochWithoutWaiting(t *testing.T) {
	bubble(t, func(t *testing.T, m *Memory) {
		a, b, c := newSeat(t, m, "a", nil), newSeat(t, m, "b", nil), newSeat(t, m, "c", nil)
		a.mustTake(t, 0, 1)
		time.Sleep(testTTL)
		if epoch, err := b.Revoke(t.Context(), 1); err != nil || epoch != 2 {
			t.Fatalf("Revoke = %d, %v", epoch, err)
		}
		synctest.Wait()
		a.mustHold(t, false)
		if _, err := c.Revoke(t.Context(), 1); !errors.Is(err, ErrStale) {
			t.Errorf("the same epoch was revoked twice: %v", err)
		}
		if _, err := c.Take(t.Context(), 1); !errors.Is(err, ErrStale) {
			t.Errorf("an epoch that is past was taken: %v", err)
		}
		c.mustTake(t, 2, 2)
		c.mustTake(t, 2, 2) // a step done twice
		if _, err := b.Take(t.Context(), 2); !errors.Is(err, ErrStale) {
			t.Errorf("an epoch was taken by two: %v", err)
		}
		if err := c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.mustTake(t, 0, 3)
	})
}

func TestHolderFencesItselfAndResumesItsEpochIfNobodyTookIt(t *testing.T) {
	bubble(t, func(t *testing.T, m *Memory) {
		a := newSeat(t, m, "a", nil)
		a.mustTake(t, 0, 1)
		time.Sleep(testTTL + time.Millisecond)
		for len(a.Changed()) > 0 {
			<-a.Changed()
		}
		_, deadline, _ := a.Held()
		m.Cut("a")
		<-a.Changed()
		if now := time.Now(); now.Before(deadline) || now.After(deadline.Add(time.Millisecond)) {
			t.Errorf("told of the loss at %v, the deadline is %v", now, deadline)
		}
		a.mustHold(t, false)
		time.Sleep(20 * testTTL)
		m.Heal("a")
		<-a.Changed()
		a.mustHold(t, true)
		if epoch, _, _ := a.Held(); epoch != 1 {
			t.Errorf("resumed at epoch %d, want 1: nobody was in between", epoch)
		}
	})
}

func TestDeadlineCountsFromTheSendingOfTheRenewalThatWasMade(t *testing.T) {
	bubble(t, func(t *testing.T, m *Memory) {
		a := newSeat(t, m, "a", nil)
		a.mustTake(t, 0, 1)
		time.Sleep(testTTL)
		m.Client("a").Delay(func() (time.Duration, time.Duration) { return 0, testTTL / 3 })
		time.Sleep(2 * testTTL)
		for range 400 {
			time.Sleep(7 * time.Millisecond)
			_, deadline, ok := a.Held()
			kv, _ := m.Get(t.Context(), "lease/db")
			var r LeaseRecord
			if err := json.Unmarshal(kv.Value, &r); err != nil {
				t.Fatal(err)
			}
			if ok && time.Until(deadline) > testTTL-testTTL/8-testTTL/3 {
				t.Fatalf("a deadline %v away was counted from the answer, not from the sending", time.Until(deadline))
			}
		}
		a.mustHold(t, true)
	})
}

func TestTakeWhoseAnswerIsLostIsNotKept(t *testing.T) {
	bubble(t, func(t *testing.T, m *Memory) {
		a, b := newSeat(t, m, "a", nil), newSeat(t, m, "b", nil)
		a.mustTake(t, 0, 1)
		if err := a.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		m.Pause("a") // what a sends arrives later
		ctx, cancel := context.WithTimeout(t.Context(), testTTL/2)
		defer cancel()
		if _, err := a.Take(ctx, 0); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("Take on a paused link: %v", err)
		}
		m.Heal("a")
		synctest.Wait()
		a.mustHold(t, false)
		if v := b.View(); v.Holder != "a" || v.Epoch != 2 {
			t.Fatalf("b sees %s", v)
		}
		if epoch, err := b.Acquire(t.Context()); err != nil || epoch != 3 {
			t.Errorf("what nobody keeps did not lapse: %d, %v", epoch, err)
		}
		a.mustHold(t, false)
	})
}

func TestProcessThatComesBackTakesItsOwnOnlyWhenSole(t *testing.T) {
	bubble(t, func(t *testing.T, m *Memory) {
		a := newSeat(t, m, "a", nil)
		a.mustTake(t, 0, 1)
		again := newSeat(t, m, "a", nil)
		if _, err := again.Take(t.Context(), 0); !errors.Is(err, ErrHeld) {
			t.Errorf("another process of the same name took it: %v", err)
		}
		sole := newSeat(t, m, "a", func(o *LeaseOptions) { o.Sole = true })
		sole.mustTake(t, 0, 2)
		synctest.Wait()
		a.mustHold(t, false)
	})
}

func TestEpochsGrowEvenWhenTheRecordIsLost(t *testing.T) {
	bubble(t, func(t *testing.T, m *Memory) {
		a, b := newSeat(t, m, "a", nil), newSeat(t, m, "b", nil)
		a.mustTake(t, 0, 1)
		synctest.Wait()
		if err := m.Delete(t.Context(), "lease/db", Whatever); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		a.mustHold(t, false)
		b.mustTake(t, 0, 2)
	})
}

func TestUnreadableRecordIsLeftAlone(t *testing.T) {
	bubble(t, func(t *testing.T, m *Memory) {
		if _, err := m.Put(t.Context(), "lease/db", []byte("{"), Absent); err != nil {
			t.Fatal(err)
		}
		a := newSeat(t, m, "a", nil)
		if _, err := a.Take(t.Context(), 0); err == nil {
			t.Error("took a lease whose record cannot be read")
		}
	})
}

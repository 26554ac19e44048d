package resilience

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestDegraded(t *testing.T) {
	if Degraded(background) != nil || WithDegraded(background) != background || WithDegraded(background, "") != background {
		t.Error("nothing is something")
	}
	a := WithDegraded(background, "a", "b", "a")
	b, c := WithDegraded(a, "c"), WithDegraded(a, "d", "b")
	if got := fmt.Sprint(Degraded(a), Degraded(b), Degraded(c), IsDegraded(b, "c"), IsDegraded(c, "c")); got != "[a b] [a b c] [a b d] true false" {
		t.Error(got)
	}
	for i := range 100 {
		a = WithDegraded(a, fmt.Sprint(i))
	}
	if n := len(Degraded(a)); n != mostDegraded {
		t.Errorf("names %d modes", n)
	}
}

func TestModeFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMode("less", ModeOptions{Open: 0.5, For: time.Second, Rest: 3 * time.Second})
		var level atomic.Uint64 // hundredths
		level.Store(90)
		ctx, cancel := context.WithCancel(background)
		ended := make(chan error)
		go func() { ended <- m.Follow(ctx, func() float64 { return float64(level.Load()) / 100 }) }()
		time.Sleep(2 * time.Second)
		opened := m.Open()
		synctest.Wait()
		level.Store(40) // above half of Open: stays
		time.Sleep(5 * time.Second)
		stays := m.Open()
		synctest.Wait()
		level.Store(10)
		time.Sleep(5 * time.Second)
		cancel()
		if err := <-ended; !opened || !stays || m.Open() || !errors.Is(err, context.Canceled) {
			t.Error(opened, stays, m.Open(), err)
		}
	})
}

package lag

import (
	"testing"
	"time"
)

func TestLag(t *testing.T) {
	begin := time.Now()
	at := func(seconds float64) time.Time { return begin.Add(time.Duration(seconds * float64(time.Second))) }
	c := NewClock(10 * time.Second)
	if l := c.Lag("b", at(0)); l.Known {
		t.Fatalf("the lag of a stranger is %+v", l)
	}
	c.Standby("b", 50)
	if l := c.Lag("b", at(0)); l.Known {
		t.Fatalf("without a primary the lag is %+v", l)
	}
	for _, s := range []struct {
		name     string
		at       float64
		primary  uint64 // 0: not heard
		standby  uint64
		time     float64
		bytes    uint64
		unknown  bool
		takeover bool
	}{
		{name: "behind from the beginning: nothing is known", at: 0, primary: 100, standby: 50, unknown: true},
		{name: "has all", at: 1, primary: 100, standby: 100, time: 0},
		{name: "still has all", at: 2, primary: 100, standby: 100, time: 0},
		{name: "the primary goes on", at: 3, primary: 200, standby: 100, time: 1, bytes: 100},
		{name: "and on", at: 4, primary: 300, standby: 100, time: 2, bytes: 200},
		{name: "it applies half", at: 5, primary: 300, standby: 200, time: 2, bytes: 100},
		{name: "a position that is not a sample", at: 6, primary: 400, standby: 250, time: 3, bytes: 150},
		{name: "it catches up", at: 7, primary: 400, standby: 400, time: 0},
		{name: "the primary is silent", at: 9, standby: 400, time: 2},
		{name: "and another has less", at: 10, primary: 390, standby: 390, takeover: true},
		{name: "of which it lacks some", at: 12, primary: 410, standby: 390, time: 2, bytes: 20},
	} {
		if s.takeover {
			c.Primary("c", 2, s.primary, at(s.at))
		} else if s.primary > 0 {
			c.Primary(c.primaryOr("a"), max(c.epoch, 1), s.primary, at(s.at))
		}
		c.Standby("b", s.standby)
		got := c.Lag("b", at(s.at))
		if got.Known == s.unknown || got.Time != time.Duration(s.time*float64(time.Second)) || got.Bytes != s.bytes {
			t.Errorf("%s: %+v", s.name, got)
		}
	}
	c.Forget("b")
	if l := c.Lag("b", at(20)); l.Known {
		t.Errorf("forgotten: %+v", l)
	}
}

func (c *Clock) primaryOr(node string) string {
	if c.primary != "" {
		return c.primary
	}
	return node
}

// A standby that is always 250 ms behind is shown so, to within the distance of samples, however long it goes on.
func TestClockIsBoundedAndExact(t *testing.T) {
	begin := time.Now()
	c := NewClock(time.Second)
	for i := range 100_000 {
		now := begin.Add(time.Duration(i) * time.Millisecond)
		c.Primary("a", 1, uint64(1+i), now)
		c.Standby("b", uint64(max(1, 1+i-250)))
		got := c.Lag("b", now)
		if i > 2000 && (got.Bytes != 250 || got.Time < 250*time.Millisecond || got.Time > 260*time.Millisecond) {
			t.Fatalf("after %d: %+v", i, got)
		}
	}
	if len(c.past) > 2*samples {
		t.Errorf("%d samples are kept", len(c.past))
	}
}

package pool

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/health"
)

func TestSlowStart(t *testing.T) {
	for _, policy := range []string{"p2c", "round_robin", "least_requests", "hash"} {
		synctest.Test(t, func(t *testing.T) {
			k := newKit(t, "a b c", func(c *config.Service) { c.Balance.Policy = policy; checked(c) })
			for _, name := range []string{"a", "b", "c"} { // at the start all are new: nobody is slow
				k.health(name, health.Up)
				k.succeed(name, 1, time.Millisecond)
			}
			third := 1. / 3
			k.near(k.spreadBusy(900), 0.05, map[string]float64{"a": third, "b": third, "c": third})
			k.health("c", health.Down)
			time.Sleep(5 * time.Second)
			k.health("c", health.Up)
			time.Sleep(time.Millisecond)
			for _, name := range []string{"a", "b", "c"} {
				k.succeed(name, 1, time.Millisecond)
			}
			want := func(f float64) {
				t.Helper()
				share := f / (2 + f)
				k.near(k.spreadBusy(1500), 0.035, map[string]float64{"a": (1 - share) / 2, "b": (1 - share) / 2, "c": share})
			}
			want(0.1)
			if st := k.state("c"); st.Evidence != "3 of 3 probes; slow start, at 10% of its share" {
				t.Errorf("evidence %q", st.Evidence)
			}
			time.Sleep(5 * time.Second)
			want(0.55)
			time.Sleep(5*time.Second + time.Millisecond)
			want(1)
			if st := k.state("c"); st.Evidence != "3 of 3 probes" {
				t.Errorf("still in its slow start: %q", st.Evidence)
			}
		})
	}
}

// When the settled ones go, those in their slow start have all the traffic, in proportion to each other.
func TestSlowStartAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b c", func(c *config.Service) { checked(c) })
		for _, st := range []health.State{health.Up, health.Down} {
			k.health("b", st)
			k.health("c", st)
		}
		k.health("a", health.Up)
		k.health("b", health.Up)
		time.Sleep(8 * time.Second)
		k.health("c", health.Up)
		k.health("a", health.Down)
		time.Sleep(time.Millisecond)
		k.succeed("b", 1, time.Millisecond)
		k.succeed("c", 1, time.Millisecond)
		k.near(k.spreadBusy(600), 0.08, map[string]float64{"b": .9, "c": .1}) // b is at 82 % of its share, c at 10 %
		time.Sleep(10 * time.Second)
		k.near(k.spreadBusy(600), 0.05, map[string]float64{"b": .5, "c": .5})
	})
}

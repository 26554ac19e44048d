package pool

import (
	"errors"
	"testing"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/health"
)

func TestChecksNeverTakeEverythingDown(t *testing.T) {
	k := newKit(t, "a b c d", func(c *config.Service) { c.Balance.SlowStart = 0; c.Balance.Policy = "round_robin"; checked(c) })
	k.health("a", health.Down)
	k.health("b", health.Down)
	k.near(k.spread(100), 0.01, map[string]float64{"c": .5, "d": .5}) // half are up: believed
	k.told("member.down a", "member.down b")
	k.health("c", health.Down)
	k.told("member.down c", "service.panic")
	k.near(k.spread(100), 0.01, map[string]float64{"a": .25, "b": .25, "c": .25, "d": .25})
	k.Drain("a", true) // nothing overrides a drain
	k.near(k.spread(99), 0.01, map[string]float64{"b": .333, "c": .333, "d": .333})
	k.health("d", health.Down) // all: still used
	k.near(k.spread(99), 0.01, map[string]float64{"b": .333, "c": .333, "d": .333})
	if st := k.Status(); st.State != "panic" || st.Evidence != "1 drained, 3 down" {
		t.Errorf("status %q, %q", st.State, st.Evidence)
	}
	if st := k.state("d"); st.State != "down" || st.Share == 0 || st.Evidence != "3 of 3 probes (used all the same: too few members are up)" {
		t.Errorf("d: %+v", st)
	}
	k.kinds()
	k.health("b", health.Up)
	k.health("c", health.Up)
	k.told("member.up b", "member.up c", "service.calm")
	k.near(k.spread(100), 0.01, map[string]float64{"b": .5, "c": .5})
}

func TestPanicOff(t *testing.T) {
	k := newKit(t, "a b", func(c *config.Service) { c.Balance.Panic = 0; checked(c) })
	k.health("a", health.Down)
	k.health("b", health.Down)
	if _, err := k.Pick(&Query{}); !errors.Is(err, ErrNoMember) {
		t.Errorf("got %v", err)
	}
	k.told("member.down a", "member.down b", "service.down")
	if st := k.Status(); st.State != "down" || st.Evidence != "2 down" {
		t.Errorf("status %q, %q", st.State, st.Evidence)
	}
	k.health("a", health.Up)
	k.told("member.up a", "service.up")
}

func TestSparesSpareThePanic(t *testing.T) {
	k := newKit(t, "a b c spare!1", func(c *config.Service) { c.Balance.SlowStart = 0; checked(c) })
	for _, name := range []string{"a", "b", "c"} {
		k.health(name, health.Down)
	}
	k.near(k.spread(100), 0.01, map[string]float64{"spare": 1})
	k.health("spare", health.Down) // everywhere: as if all were up
	k.near(k.spreadBusy(99), 0.02, map[string]float64{"a": .333, "b": .333, "c": .333})
	k.told("member.down a", "service.spill", "member.down b", "member.down c", "member.down spare", "service.panic", "service.spill_ended")
}

func TestMembersNobodyLookedAtYet(t *testing.T) {
	k := newKit(t, "a b", func(c *config.Service) { checked(c) })
	k.near(k.spreadBusy(100), 0.02, map[string]float64{"a": .5, "b": .5}) // at the start all count
	k.health("a", health.Up)
	k.near(k.spreadBusy(100), 0.02, map[string]float64{"a": .5, "b": .5})
	k.health("b", health.Starting) // gets nothing
	k.near(k.spreadBusy(100), 0.02, map[string]float64{"a": 1})
	k.health("b", health.Up)
	k.told("member.up a", "member.starting b", "member.up b")

	k.Set(k.cfg, members("a b c")) // into a service at work: only after its first good probe
	k.near(k.spreadBusy(100), 0.6, map[string]float64{"a": 1, "b": 0})
	if st := k.state("c"); st.State != "unknown" || st.Share != 0 {
		t.Errorf("c: %+v", st)
	}
	k.health("c", health.Up)
	if st := k.state("c"); st.State != "up" || st.Share == 0 || st.Share > 0.1 {
		t.Errorf("c: %+v", st)
	}
	k.told("member.added c", "member.up c")
}

func TestUnknownNamesAreIgnoredOrRefused(t *testing.T) {
	k := newKit(t, "a", nil)
	k.health("x", health.Down)
	k.GoodProbe("x")
	if err := k.Drain("x", true); err == nil || err.Error() != `service web has no member "x": it has a` {
		t.Errorf("got %v", err)
	}
	k.told()
}

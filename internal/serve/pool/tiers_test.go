package pool

import (
	"math"
	"testing"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/health"
)

// The rows of Envoy's own table of priority levels, in 1/1.4 of a tier.
func TestTiersTakeOverProgressively(t *testing.T) {
	for _, c := range []struct{ fit, want []float64 }{
		{[]float64{100, 100}, []float64{100, 0}},
		{[]float64{72, 100}, []float64{100, 0}},
		{[]float64{71, 100}, []float64{99.4, 0.6}},
		{[]float64{50, 100}, []float64{70, 30}},
		{[]float64{25, 100}, []float64{35, 65}},
		{[]float64{0, 100}, []float64{0, 100}},
		{[]float64{25, 25}, []float64{50, 50}},
		{[]float64{100, 100, 100}, []float64{100, 0, 0}},
		{[]float64{50, 100, 100}, []float64{70, 30, 0}},
		{[]float64{25, 25, 100}, []float64{35, 35, 30}},
		{[]float64{25, 25, 20}, []float64{35. / 98 * 100, 35. / 98 * 100, 28. / 98 * 100}},
		{[]float64{0, 0}, []float64{0, 0}},
	} {
		var ts []tier
		for _, fit := range c.fit {
			ts = append(ts, tier{total: 100, fit: fit})
		}
		for i, got := range loads(ts) {
			if math.Abs(got*100-c.want[i]) > 0.01 {
				t.Errorf("%v fit: tier %d gets %.2f, want %.2f", c.fit, i, got*100, c.want[i])
			}
		}
	}
}

func TestZoneShares(t *testing.T) {
	for _, c := range []struct {
		name string
		fit  map[string]float64
		want map[string]float64
	}{
		{"even", map[string]float64{"a": 2, "b": 2}, map[string]float64{"a": 1}},
		{"more at home", map[string]float64{"a": 3, "b": 1}, map[string]float64{"a": 1}},
		{"one of two gone at home", map[string]float64{"a": 1, "b": 2}, map[string]float64{"a": 2. / 3, "b": 1. / 3}},
		{"small zone", map[string]float64{"a": 1, "b": 9}, map[string]float64{"a": .2, "b": .8}},
		{"none at home", map[string]float64{"a": 0, "b": 2, "c": 2}, map[string]float64{"b": .5, "c": .5}},
		{"zone unknown here", map[string]float64{"b": 1, "c": 3}, map[string]float64{"b": .25, "c": .75}},
		{"only those with surplus", map[string]float64{"a": 1, "b": 1, "c": 4}, map[string]float64{"a": .5, "c": .5}},
		{"nobody", map[string]float64{"a": 0, "b": 0}, nil},
	} {
		for i, z := range zoneShares("a", c.fit) {
			if math.Abs(z.share-c.want[z.name]) > 1e-9 {
				t.Errorf("%s: zone %s gets %v, want %v", c.name, z.name, z.share, c.want[z.name])
			}
			if (z.name == "a") != (i == 0) && c.fit["a"] > 0 {
				t.Errorf("%s: own zone is not first", c.name)
			}
		}
	}
}

func TestOwnZoneFirstThenSpill(t *testing.T) {
	k := newKitIn(t, "par", "p1@par p2@par l1@lon l2@lon", func(c *config.Service) {
		c.Balance.SlowStart = 0
		c.Balance.Policy = "round_robin"
		checked(c)
	})
	k.near(k.spread(1000), 0.01, map[string]float64{"p1": .5, "p2": .5})
	k.health("p1", health.Down)
	k.near(k.spread(4000), 0.03, map[string]float64{"p2": 2. / 3, "l1": 1. / 6, "l2": 1. / 6})
	k.told("member.down p1", "service.spill")
	if st := k.state("p2"); math.Abs(st.Share-2./3) > 0.01 {
		t.Errorf("share %v", st.Share)
	}
	k.health("p2", health.Down)
	k.near(k.spread(1000), 0.03, map[string]float64{"l1": .5, "l2": .5})
	k.health("p1", health.Up)
	k.health("p2", health.Up)
	k.near(k.spread(1000), 0.01, map[string]float64{"p1": .5, "p2": .5})

	k.cfg.Balance.PreferZone = false
	k.Set(k.cfg, k.eps)
	k.near(k.spread(1000), 0.01, map[string]float64{"p1": .25, "p2": .25, "l1": .25, "l2": .25})
}

func TestSparesTakeOver(t *testing.T) {
	k := newKit(t, "a b c d spare!1", func(c *config.Service) {
		c.Balance.SlowStart = 0
		c.Balance.Policy = "round_robin"
		checked(c)
	})
	k.near(k.spread(1000), 0.01, map[string]float64{"a": .25, "b": .25, "c": .25, "d": .25})
	k.health("a", health.Down)
	k.near(k.spread(999), 0.01, map[string]float64{"b": .333, "c": .333, "d": .333})
	k.health("b", health.Down)
	k.near(k.spread(4000), 0.03, map[string]float64{"c": .35, "d": .35, "spare": .3})
	k.health("c", health.Down)
	k.near(k.spread(4000), 0.03, map[string]float64{"d": .35, "spare": .65})
	k.health("d", health.Down)
	k.near(k.spread(100), 0.01, map[string]float64{"spare": 1})
	if st := k.Status(); st.State != "degraded" || st.Evidence != "4 down" {
		t.Errorf("status %+v", st)
	}
	k.health("a", health.Up)
	k.health("b", health.Up)
	k.health("c", health.Up)
	k.near(k.spread(999), 0.01, map[string]float64{"a": .333, "b": .333, "c": .333})
}

func TestDrainShrinksTheTier(t *testing.T) {
	k := newKit(t, "a b spare!1", func(c *config.Service) { c.Balance.SlowStart = 0; c.Balance.Policy = "round_robin" })
	if err := k.Drain("a", true); err != nil {
		t.Fatal(err)
	}
	k.near(k.spread(4000), 0.03, map[string]float64{"b": .7, "spare": .3})
	k.told("member.drained a", "service.spill")
	k.Drain("a", false)
	k.near(k.spread(1000), 0.03, map[string]float64{"a": .5, "b": .5})
	k.told("member.resumed a", "service.spill_ended")
}

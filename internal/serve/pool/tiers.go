package pool

import (
	"cmp"
	"slices"
)

// overprovision is how much more than its share a tier is trusted to carry before the next one helps: Envoy's factor. A tier
// with 1/1.4 = 71 % of its weight well still takes everything.
const overprovision = 1.4

// tier is the members of one priority.
type tier struct {
	priority int
	members  []*core
	total    float64 // weight of all
	fit      float64 // weight of those that may be picked
	up, of   int     // members that are up by checks, of those not drained
	panics   bool    // checks are not believed
}

// health is how much of the traffic the tier can carry, 0..1.
func (t *tier) health() float64 {
	if t.total == 0 {
		return 0
	}
	return min(1, overprovision*t.fit/t.total)
}

// tiers decides who is eligible. Checks are not believed in a tier of which fewer than the panic share is up, unless the tiers
// together can carry everything. An ejection that leaves nobody is lifted.
func (s *Service) tiers(set *settings, now int64) []tier {
	for {
		ts := s.sorted(set)
		var health float64
		for i := range ts {
			health += ts[i].health()
		}
		if health < 1 && set.checked {
			panicking(ts, set)
		}
		anybody := false
		for _, c := range s.members {
			anybody = anybody || c.fit
		}
		if anybody || !s.liftOne(set, now) {
			return ts
		}
	}
}

// sorted puts the members into their tiers and judges each for itself.
func (s *Service) sorted(set *settings) (ts []tier) {
	for _, c := range s.members {
		i, found := slices.BinarySearchFunc(ts, c.priority, func(t tier, p int) int { return cmp.Compare(t.priority, p) })
		if !found {
			ts = slices.Insert(ts, i, tier{priority: c.priority})
		}
		t := &ts[i]
		t.members = append(t.members, c)
		c.tierPanics = false
		c.fit = c.sound(set) && c.willing()
		if c.weight <= 0 {
			continue
		}
		t.total += float64(c.weight)
		if c.fit {
			t.fit += float64(c.weight)
		}
		if !c.draining {
			t.of++
			if c.sound(set) {
				t.up++
			}
		}
	}
	return ts
}

// willing is eligibility but for checks.
func (c *core) willing() bool {
	return c.weight > 0 && !c.draining && c.ejection.until == 0 && c.closed() && !c.service.Frozen()
}

// panicking finds the tiers in which checks are not believed, and adds all of their members that are not drained or ejected. Where
// that is every tier, none is known to be worse than another: each counts for what it has.
func panicking(ts []tier, set *settings) {
	everywhere := true
	for i := range ts {
		t := &ts[i]
		if t.of == 0 {
			continue
		}
		t.panics = float64(t.up) < set.panic*float64(t.of)-1e-9
		everywhere = everywhere && t.panics
	}
	for i := range ts {
		t := &ts[i]
		if !t.panics {
			continue
		}
		if everywhere {
			t.fit = 0
		}
		for _, c := range t.members {
			c.tierPanics = true
			if c.fit = c.willing(); c.fit && everywhere {
				t.fit += float64(c.weight)
			}
		}
	}
}

// loads is what share of the traffic goes to each tier, as Envoy has it: the first takes what its health allows, the next what
// is left, and where all together cannot carry everything, each takes in proportion.
func loads(ts []tier) []float64 {
	shares := make([]float64, len(ts))
	var sum float64
	for i := range ts {
		shares[i] = ts[i].health()
		sum += shares[i]
	}
	left := 1.0
	for i := range shares {
		if sum <= 0 {
			break
		}
		shares[i] = min(left, shares[i]/min(1, sum))
		left -= shares[i]
	}
	return shares
}

// needed is the priority of the last tier that traffic may have to go to: those before it cannot carry everything.
func needed(ts []tier) (priority int) {
	sum := 0.0
	for i := range ts {
		if sum >= 1 {
			break
		}
		priority = ts[i].priority
		sum += ts[i].health()
	}
	return priority
}

// zone is the members of a tier that stand together, and their share of the tier's traffic from this node.
type zone struct {
	name  string
	share float64
}

// zoneFor is the zone that counts for a member.
func (c *core) zoneFor(set *settings, own string) string {
	if !set.preferZone || own == "" {
		return ""
	}
	return c.origin.Load().zone
}

// zones shares a tier's traffic among its zones, this node's own first.
func (t *tier) zones(set *settings, own string) []zone {
	fit := map[string]float64{}
	for _, c := range t.members {
		if c.weight > 0 {
			z := c.zoneFor(set, own)
			fit[z] += 0
			if c.fit {
				fit[z] += float64(c.weight)
			}
		}
	}
	return zoneShares(own, fit)
}

// zoneShares shares traffic of the zone own among zones by the weight that is fit there. It takes every zone to have the same
// traffic, as Envoy's zone aware routing does where it is not told: the own zone takes all of its traffic while it has its part of
// the weight, otherwise as much as its weight is of that part, so that its members get no more than all others. What is
// left goes to the zones that have more than their part, by how much more.
func zoneShares(own string, fit map[string]float64) []zone {
	var total float64
	zones := make([]zone, 0, len(fit))
	for name, weight := range fit {
		total += weight
		zones = append(zones, zone{name: name})
	}
	slices.SortFunc(zones, func(a, b zone) int {
		return cmp.Or(cmp.Compare(sign(a.name != own), sign(b.name != own)), cmp.Compare(a.name, b.name))
	})
	if total == 0 {
		return zones
	}
	n := float64(len(zones))
	left, surplus := 1.0, 0.0
	if _, ok := fit[own]; ok {
		zones[0].share = min(1, n*fit[own]/total)
		left -= zones[0].share
	} else {
		n = 0 // nobody is at home: all weight is surplus
	}
	over := func(z zone) float64 { return max(0, n*fit[z.name]/total-1) }
	if n == 0 {
		over = func(z zone) float64 { return fit[z.name] }
	}
	for _, z := range zones {
		surplus += over(z)
	}
	for i := range zones {
		if surplus > 0 {
			zones[i].share += left * over(zones[i]) / surplus
		}
	}
	return zones
}

func sign(b bool) int {
	if b {
		return 1
	}
	return 0
}

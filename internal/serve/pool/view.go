package pool

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"
)

// view is what Pick reads: immutable, replaced as a whole.
type view struct {
	*settings
	groups []group          // by preference: tiers in order, this node's own zone first
	trials []*core          // members whose breaker is not closed; those whose rest is over get the next request
	sticky map[string]*core // by key: who may get requests of its own clients
	panics bool             // checks are not believed in some tier
}

// group is the members of one tier in one zone that may be picked.
type group struct {
	upto    uint64 // of 1<<32: a random number below it, and not below the one of the group before, means this group
	slots   []slot
	uniform bool // all slots have weight 1
	turns   *turns
	ring    *ring // consistent hashing only
	seats   []int // by member of the ring: its slot, or -1
	total   float64
}

// slot is one member of a group; its weight is in proportion to the heaviest of the group, 1.
type slot struct {
	core   *core
	weight float64 // with its slow start
	warm   float64 // how far it is in its slow start, against who is furthest
	stride uint64
}

// turns is the round robin of a place, which goes on over views.
type turns struct {
	_ pad
	n atomic.Uint64
	_ pad
}

func (v *view) hasRoom(c *core) bool { return v.limit <= 0 || c.inFlight() < v.limit }

// rebuild makes the view anew: ends what is over, decides who is eligible, shares the traffic out and tells what has changed.
// The caller holds the lock.
func (s *Service) rebuild() {
	now := s.now()
	set := s.view.Load().settings
	s.expire(now)
	tiers := s.tiers(set, now)
	v := &view{settings: set}
	warming := s.warmUp(set, now)
	shares := map[*core]float64{}
	var upto float64
	for i, load := range loads(tiers) {
		t := &tiers[i]
		v.panics = v.panics || t.panics
		for _, z := range t.zones(set, s.options.Zone) {
			upto += load * z.share
			g := s.group(set, place{t.priority, z.name}, t, now)
			g.upto = uint64(min(upto, 1) * (1 << 32))
			for _, sl := range g.slots {
				shares[sl.core] = load * z.share * sl.weight / g.total
			}
			v.groups = append(v.groups, g)
		}
	}
	v.topUp()
	v.lists(s.members, needed(tiers), now)
	for _, c := range s.members {
		c.share.Store(math.Float64bits(shares[c]))
		c.unsound.Store(!c.sound(set))
	}
	s.view.Store(v)
	s.cuts(set, now)
	s.notify(v, tiers)
	s.schedule(now, s.next(set, now, warming))
	s.outbox = append(s.outbox, s.hold.Wake)
}

// topUp gives the last group that has a share what rounding left.
func (v *view) topUp() {
	for i := len(v.groups) - 1; i >= 0; i-- {
		last := v.groups[i].upto
		v.groups[i].upto = 1 << 32
		if i == 0 || last > v.groups[i-1].upto {
			return
		}
	}
}

// lists fills in who is on trial, up to the last tier that is needed, and whom sticky clients may stay with.
func (v *view) lists(members []*core, needed int, now int64) {
	if v.settings.sticky {
		v.sticky = make(map[string]*core, len(members))
	}
	for _, c := range members {
		if c.ejection.until != 0 || !c.sound(v.settings) && !c.tierPanics {
			continue
		}
		if v.sticky != nil && (!c.draining || now < c.drainSince+v.drain) {
			v.sticky[c.key] = c
		}
		if !c.draining && c.weight > 0 && !c.closed() && c.priority <= needed {
			v.trials = append(v.trials, c)
		}
	}
}

// group makes the group of a place out of the members of its tier.
func (s *Service) group(set *settings, at place, t *tier, now int64) group {
	g := group{uniform: true, turns: s.turns[at]}
	if g.turns == nil {
		g.turns = &turns{}
		g.turns.n.Store(s.options.Rand() >> 40)
		s.turns[at] = g.turns
	}
	var all []*core
	top, warmest := 0.0, 0.0
	for _, c := range t.members {
		if c.weight <= 0 || c.zoneFor(set, s.options.Zone) != at.zone {
			continue
		}
		all = append(all, c)
		if c.fit {
			warm := c.warmth(set, now)
			w := float64(c.weight) * warm
			top, warmest = max(top, w), max(warmest, warm)
			g.slots = append(g.slots, slot{core: c, weight: w, warm: warm})
		}
	}
	for i := range g.slots {
		sl := &g.slots[i]
		sl.weight /= top
		sl.warm /= warmest
		sl.core.warmNow = sl.warm
		sl.stride = max(1, uint64(sl.weight*strideMax))
		g.total += sl.weight
		g.uniform = g.uniform && sl.weight == 1
	}
	if set.policy == consistent {
		g.seat(s, at, all)
	}
	return g
}

// seat puts the group's members on the ring of their place. The ring has all members, eligible or not, so that one that comes
// or goes moves only its own keys.
func (g *group) seat(s *Service, at place, all []*core) {
	slices.SortFunc(all, func(a, b *core) int { return cmp.Compare(a.tag, b.tag) })
	r := s.rings[at]
	if r == nil || !r.of(all) {
		r = newRing(all)
		s.rings[at] = r
	}
	g.ring, g.seats = r, make([]int, len(all))
	for i, c := range all {
		g.seats[i] = slices.IndexFunc(g.slots, func(sl slot) bool { return sl.core == c })
	}
}

// cuts closes the channels of members whose sessions must end, and gives those that come back a new one.
func (s *Service) cuts(set *settings, now int64) {
	for _, c := range s.members {
		over := c.draining && now >= c.drainSince+set.drain
		c.cut(over || set.cut && c.down(set) && !c.tierPanics)
	}
	for i := len(s.leaving) - 1; i >= 0; i-- {
		if c := s.leaving[i]; now >= c.drainSince+set.drain {
			c.cut(true)
			s.leaving = slices.Delete(s.leaving, i, i+1)
		}
	}
}

func (c *core) cut(now bool) {
	switch g := c.gone.Load(); {
	case now && !g.closed:
		g.closed = true
		close(g.c)
	case !now && g.closed:
		c.gone.Store(&signal{c: make(chan struct{})})
	}
}

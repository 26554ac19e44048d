package pool

import "math"

// Hash is a Query's, of what the hash policy goes by: FNV-1a with the finaliser of MurmurHash3, so that a client comes to the same member on every
// node.
func Hash(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// pickHash is consistent hashing with bounded loads (V. Mirrokni, M. Thorup, M. Zadimoghaddam: Consistent Hashing with Bounded Loads,
// SODA 2018): a key goes to the first member on the ring, from its place on, that has less than bound times its share of the load.
// Members that are not eligible, or were tried, are passed over; one in its slow start takes only some of its keys, and more and
// more of them.
func (s *Service) pickHash(v *view, q *Query) *Member {
	if !q.HasHash {
		return s.pickLoad(v, q)
	}
	key := mix(q.Hash)
	g := v.group(mix(key)) // by the key: it must not go to another zone each time
	if len(g.slots) == 0 {
		return nil
	}
	fair := -1.0
	at := g.ring.from(key)
	for range g.ring.points {
		p := g.ring.points[at]
		if at++; at == len(g.ring.points) {
			at = 0
		}
		seat := g.seats[p.member]
		if seat < 0 {
			continue
		}
		sl := &g.slots[seat]
		if len(q.Tried) > 0 && q.tried(sl.core) {
			continue
		}
		if w := sl.warm; w < 1 && float64(mix(key^sl.core.tag)>>11)/(1<<53) >= w {
			continue
		}
		if n := sl.core.inFlight(); n > 0 {
			if fair < 0 {
				fair = g.fair()
			}
			if float64(n+1) > math.Ceil(v.bound*fair*sl.weight) {
				continue
			}
		}
		if m := s.take(v, sl.core, 0); m != nil {
			return m
		}
	}
	return nil
}

// fair is the load that a member of weight 1 has when this request too is shared out evenly. With many members it is estimated from
// some of them.
func (g *group) fair() float64 {
	var load int64
	var weight float64
	few := g.slots[:min(len(g.slots), 64)]
	for i := range few {
		load += few[i].core.inFlight()
		weight += few[i].weight
	}
	return float64(load+1) / weight
}

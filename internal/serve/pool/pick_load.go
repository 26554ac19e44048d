package pool

import "math"

const (
	scanLatency  = 5  // up to so many members p2c compares all
	scanRequests = 32 // up to so many members least_requests compares all; beyond, that many at random
)

// pickLoad is p2c and least_requests: among the members of a group, or among two of them drawn at random where they are many, the
// one that costs least. Two choices are exponentially better than one (M. Mitzenmacher, The Power of Two Choices in Randomized
// Load Balancing, 2001), and herd less than all; with a few members all is as cheap, and in-flight counts that are exact here keep
// the herd apart.
func (s *Service) pickLoad(v *view, q *Query) *Member {
	r := s.options.Rand()
	g := v.group(r)
	now := s.now()
	var c *core
	if n := len(g.slots); n <= scanLatency || v.policy == leastRequests && n <= scanRequests {
		c = g.least(v, q, r, now, false)
	} else {
		c = g.leastOfSome(v, q, r, now)
	}
	if c == nil {
		return nil
	}
	return s.take(v, c, now)
}

// cost is what sending another request to a member is expected to cost: its latency for each request it has at work by weight, or
// for least_requests only how many it has.
func (v *view) cost(sl *slot, now int64) float64 {
	n := float64(sl.core.inFlight())
	if v.policy != leastLatency {
		return n / sl.weight
	}
	latency := sl.core.expected(now)
	if latency == 0 && sl.core.untold() {
		return unmeasured * n / sl.weight
	}
	return latency * (1 + n/sl.weight)
}

// least compares all members of a group, from a random one on. One that weighs less than the heaviest takes part only as often as
// its weight says: load alone keeps to the weights while there is load, but not when one request comes at a time.
func (g *group) least(v *view, q *Query, r uint64, now int64, again bool) (best *core) {
	n := uint64(len(g.slots))
	if n == 0 {
		return nil
	}
	thin := !g.uniform && !again
	for {
		lowest := math.Inf(1)
		at := uint64(uint32(r)) * n >> 32
		for range n {
			sl := &g.slots[at]
			if at++; at == n {
				at = 0
			}
			if thin && sl.weight < 1 {
				if r = mix(r); float64(r>>11)/(1<<53) >= sl.weight {
					continue
				}
			}
			if len(q.Tried) > 0 && !again && q.tried(sl.core) || !v.hasRoom(sl.core) {
				continue
			}
			if cost := v.cost(sl, now); cost < lowest {
				best, lowest = sl.core, cost
			}
		}
		if best != nil || !thin {
			return best
		}
		thin = false
	}
}

// leastOfSome compares two members drawn by weight; least_requests, which promises more, draws more.
func (g *group) leastOfSome(v *view, q *Query, r uint64, now int64) (best *core) {
	draws := 2
	if v.policy == leastRequests {
		draws = scanRequests
	}
	lowest, n := math.Inf(1), uint64(len(g.slots))
	last := n
	for tries := 0; draws > 0 && tries < 64; tries++ {
		r = mix(r)
		at := uint64(uint32(r)) * n >> 32
		sl := &g.slots[at]
		if at == last || !g.uniform && float64(r>>32)/(1<<32) >= sl.weight {
			continue
		}
		last = at
		draws--
		if len(q.Tried) > 0 && q.tried(sl.core) || !v.hasRoom(sl.core) {
			continue
		}
		if cost := v.cost(sl, now); cost < lowest {
			best, lowest = sl.core, cost
		}
	}
	return best
}

// mix makes the next random number out of one (Steele, Lea and Flood: splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

package pool

import (
	"cmp"
	"math/bits"
	"slices"
)

const (
	pointsEach = 512     // of the heaviest member: shares are within some 5 % of even
	pointsMost = 1 << 16 // of all together
)

// ring is a circle of points, several for each member by its weight (D. Karger et al., Consistent Hashing and Random Trees,
// STOC 1997). A member that leaves gives up its own keys, one that joins takes only what becomes its own.
type ring struct {
	points  []point
	members []ringMember
}

type point struct {
	hash   uint64
	member int // index in members
}

type ringMember struct {
	tag    uint64
	weight int
}

func membersOf(all []*core) []ringMember {
	members := make([]ringMember, len(all))
	for i, c := range all {
		members[i] = ringMember{c.tag, c.weight}
	}
	return members
}

// of says whether this is the ring of these members, in this order.
func (r *ring) of(all []*core) bool { return slices.Equal(r.members, membersOf(all)) }

// newRing makes the ring of members in the order of their tags.
func newRing(all []*core) *ring {
	r := &ring{members: membersOf(all)}
	heaviest := 1
	for _, m := range r.members {
		heaviest = max(heaviest, m.weight)
	}
	// Powers of two, so that a change of the heaviest or of the number seldom changes how many points the others have.
	unit := 1 << bits.Len(uint(heaviest-1))
	each := pointsEach
	for each > 16 && each<<bits.Len(uint(len(all))) > pointsMost {
		each /= 2
	}
	for i, m := range r.members {
		for p := range max(1, m.weight*each/unit) {
			r.points = append(r.points, point{mix(m.tag ^ mix(uint64(p))), i})
		}
	}
	slices.SortFunc(r.points, func(a, b point) int { return cmp.Or(cmp.Compare(a.hash, b.hash), a.member-b.member) })
	return r
}

// from is the index of the first point at or after a key.
func (r *ring) from(key uint64) int {
	low, high := 0, len(r.points)
	for low < high {
		if middle := (low + high) / 2; r.points[middle].hash < key {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low == len(r.points) {
		return 0
	}
	return low
}

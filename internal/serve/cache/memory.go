package cache

import (
	"hash/maphash"
	"sync/atomic"
)

// memory is the upper tier: entries by resource, thrown out by S3-FIFO (Yang et al., "FIFO queues are all you need for cache
// eviction", SOSP 2023), in bytes.
//
// New entries go through a small queue of a tenth of the room, and only what is asked for again there reaches the main one; what left the
// small queue lately and comes back goes to the main queue at once. So a crawler that asks for everything once does not push out
// what is asked for all day, which is what LRU suffers from; and a hit moves nothing, it counts in an atomic, so that readers share a
// lock where LRU makes them queue for it. Against TinyLFU it needs no sketch and no tuning, at miss ratios that are on a par.
//
// The Cache's lock guards it: writing to it needs the lock, reading a shared one.
type memory struct {
	limit   int64 // bytes of entries and of answers being written
	used    int64 // bytes of entries
	writing int64 // bytes set aside for answers that are being written

	resources   map[string]*resource
	small, main queue
	ghosts      ghosts
}

// A resource is what is stored under one key: a few variants.
type resource struct {
	key   string
	slots []*slot
}

// A slot holds an entry in one of the queues.
type slot struct {
	entry      *Entry // another one with the same variant may take its place
	hits       atomic.Uint32
	resource   *resource
	in         *queue
	prev, next *slot
}

// mostHits is how far hits are counted: the algorithm needs no more.
const mostHits = 3

func (s *slot) hit() {
	if n := s.hits.Load(); n < mostHits {
		s.hits.CompareAndSwap(n, n+1) // a count lost to another hit is no loss
	}
}

// A queue is a list of slots from the newest to the oldest.
type queue struct {
	head, tail *slot
	bytes      int64
	count      int
}

func (q *queue) push(s *slot) {
	s.in, s.prev, s.next = q, nil, q.head
	if q.head != nil {
		q.head.prev = s
	} else {
		q.tail = s
	}
	q.head = s
	q.bytes += s.entry.cost
	q.count++
}

func (q *queue) remove(s *slot) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		q.head = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		q.tail = s.prev
	}
	s.prev, s.next, s.in = nil, nil, nil
	q.bytes -= s.entry.cost
	q.count--
}

// maxVariants bounds what is stored under one key; the oldest goes first.
const maxVariants = 64

// find is the slot with the newest entry that the request may be answered with.
func (m *memory) find(q *Query) *slot {
	r := m.resources[string(q.key)]
	if r == nil {
		return nil
	}
	var best *slot
	for _, s := range r.slots {
		if q.selects(s.entry.hidden, s.entry.by) && (best == nil || s.entry.received.After(best.entry.received)) {
			best = s
		}
	}
	return best
}

// has says whether anything is stored under the query's key.
func (m *memory) has(q *Query) bool { return m.resources[string(q.key)] != nil }

// put stores an entry in the place of the one with its variant. It reports false where there is no room.
func (m *memory) put(e *Entry) bool {
	if e.cost > m.limit/2 {
		m.drop(e)
		return false
	}
	if s := m.sameVariant(e); s != nil {
		m.replace(s, e)
		return m.fit(0)
	}
	r := m.resources[e.key]
	if r != nil && len(r.slots) >= maxVariants {
		m.remove(oldest(r))
	}
	if !m.fit(e.cost) {
		return false
	}
	if r = m.resources[e.key]; r == nil { // looked for again: fit may have emptied it
		r = &resource{key: e.key}
		m.resources[e.key] = r
	}
	s := &slot{entry: e, resource: r}
	r.slots = append(r.slots, s)
	if m.ghosts.take(e.ghost()) {
		m.main.push(s)
	} else {
		m.small.push(s)
	}
	m.used += e.cost
	return true
}

func oldest(r *resource) *slot {
	old := r.slots[0]
	for _, s := range r.slots {
		if s.entry.received.Before(old.entry.received) {
			old = s
		}
	}
	return old
}

func (e *Entry) sameVariant(o *Entry) bool {
	if e.hidden != o.hidden || len(e.by) != len(o.by) {
		return false
	}
	for i := range e.by {
		if e.by[i] != o.by[i] {
			return false
		}
	}
	return true
}

// replace changes a slot's entry where it is.
func (m *memory) replace(s *slot, e *Entry) {
	grown := e.cost - s.entry.cost
	s.in.bytes += grown
	m.used += grown
	s.entry = e
}

// drop removes what is stored of an entry's variant.
func (m *memory) drop(e *Entry) {
	if s := m.sameVariant(e); s != nil {
		m.remove(s)
	}
}

// sameVariant is the slot of the entry's variant, nil without one.
func (m *memory) sameVariant(e *Entry) *slot {
	if r := m.resources[e.key]; r != nil {
		for _, s := range r.slots {
			if s.entry.sameVariant(e) {
				return s
			}
		}
	}
	return nil
}

func (m *memory) remove(s *slot) {
	s.in.remove(s)
	m.used -= s.entry.cost
	r := s.resource
	for i := range r.slots {
		if r.slots[i] == s {
			r.slots = append(r.slots[:i:i], r.slots[i+1:]...)
			break
		}
	}
	if len(r.slots) == 0 {
		delete(m.resources, r.key)
	}
}

// fit makes room for so many more bytes.
func (m *memory) fit(more int64) bool {
	for m.used+m.writing+more > m.limit {
		if !m.evict() {
			return false
		}
	}
	return true
}

// evict throws one entry out. It reports false where there is none.
func (m *memory) evict() bool {
	for m.small.count+m.main.count > 0 {
		if m.small.count > 0 && (m.small.bytes > m.limit/10 || m.main.count == 0) {
			s := m.small.tail
			if s.hits.Load() > 1 {
				m.small.remove(s)
				s.hits.Store(0)
				m.main.push(s)
				continue
			}
			m.ghosts.add(s.entry.ghost(), m.small.count+m.main.count)
			m.remove(s)
			return true
		}
		s := m.main.tail
		if n := s.hits.Load(); n > 0 {
			s.hits.Store(n - 1)
			m.main.remove(s)
			m.main.push(s)
			continue
		}
		m.remove(s)
		return true
	}
	return false
}

// ghosts remember which entries left the small queue lately, as many as there are entries in memory.
type ghosts struct {
	set   map[uint64]uint64 // to when it was added
	order []uint64
	first uint64 // number of the ghost at the front of order
}

var ghostSeed = maphash.MakeSeed()

func (e *Entry) ghost() uint64 {
	var h maphash.Hash
	h.SetSeed(ghostSeed)
	_, _ = h.WriteString(e.key) // never fails
	_, _ = h.WriteString(e.hidden)
	for i := range e.by {
		_, _ = h.WriteString(e.by[i].value)
	}
	return h.Sum64()
}

func (g *ghosts) add(id uint64, most int) {
	if g.set == nil {
		g.set = map[uint64]uint64{}
	}
	g.set[id] = g.first + uint64(len(g.order))
	g.order = append(g.order, id)
	for len(g.order) > max(most, 64) {
		if g.set[g.order[0]] == g.first {
			delete(g.set, g.order[0])
		}
		g.order = g.order[1:]
		g.first++
	}
}

func (g *ghosts) take(id uint64) bool {
	_, ok := g.set[id]
	delete(g.set, id)
	return ok
}

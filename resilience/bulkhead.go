package resilience

import (
	"context"
	"hash/maphash"
	"iter"
	"sync"
	"sync/atomic"
)

// BulkheadOptions bounds what each key may use.
type BulkheadOptions struct {
	LimitOptions     // of each compartment
	Compartments int // how many keys have one of their own at once; 1000 where not given
	// Key says whose compartment a call belongs in, by its context; KeyOf where nil.
	Key func(context.Context) string
}

// BulkheadSnapshot is a bulkhead at one moment, for display.
type BulkheadSnapshot struct {
	Compartments      int // at work, or idle and not yet forgotten
	InUse, Waiting    int // in all of them
	Refused, TimedOut uint64
	Shared            LimitSnapshot // of those who found no compartment free
}

// Bulkhead is a Limit for each key (a dependency, a tenant), so that one that is slow or greedy drowns alone, as a ship's
// compartment does, and not with it all that have to do with the others (M. Nygard, Release It!, 2nd ed., ch. 5).
//
// Keys may come from outside, and so many that nobody could keep a limit for each: a compartment that nobody is in has nothing
// to remember, and the one idle for longest is forgotten when room is needed. While all of them are occupied, further keys
// share one more. A Limit beside it bounds them all together.
type Bulkhead struct {
	key    func(context.Context) string
	seed   maphash.Seed
	shards []bulkheadShard
	shared compartment

	mu      sync.Mutex // over updates
	options atomic.Pointer[LimitOptions]
}

// bulkheadShard holds the compartments of some of the keys.
type bulkheadShard struct {
	mu           sync.Mutex
	most         int
	compartments map[string]*compartment
	idle         compartment // a ring: next has been idle for longest
	retired      [2]uint64   // refused and timed out in those that are forgotten
	_            [64]byte
}

// compartment is the limit of one key. Its other fields are under the shard's mutex.
type compartment struct {
	limit      Limit
	shard      *bulkheadShard // nil: the shared one
	key        string
	inside     int // calls that are in it or wait for it
	prev, next *compartment
}

// perShard is how many compartments are worth a lock of their own.
const perShard = 64

// NewBulkhead makes a bulkhead that knows of no keys yet.
func NewBulkhead(o BulkheadOptions) *Bulkhead {
	b := &Bulkhead{key: o.Key, seed: maphash.MakeSeed()}
	if b.key == nil {
		b.key = KeyOf
	}
	most := orDefault(o.Compartments, 1000)
	n := 1
	for n < 16 && most/(2*n) >= perShard {
		n *= 2
	}
	b.shards = make([]bulkheadShard, n)
	for i := range b.shards {
		s := &b.shards[i]
		s.most = (most + i) / n // together just as many
		s.compartments = map[string]*compartment{}
		s.idle.prev, s.idle.next = &s.idle, &s.idle
	}
	b.Update(o.LimitOptions)
	return b
}

type keyKey struct{}

// WithKey says in whose compartment of a Bulkhead calls under this context belong.
func WithKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, keyKey{}, key)
}

// KeyOf is what WithKey has said; "" where nobody has.
func KeyOf(ctx context.Context) string {
	key, _ := ctx.Value(keyKey{}).(string)
	return key
}

// Enter takes a place in the compartment of the context's key, as Limit does.
func (b *Bulkhead) Enter(ctx context.Context) (Pass, error) { return b.EnterKey(ctx, b.key(ctx)) }

// EnterKey takes a place in the compartment of a key; Leave must be called on the Pass.
func (b *Bulkhead) EnterKey(ctx context.Context, key string) (Pass, error) {
	c := b.of(key)
	pass, err := c.limit.Enter(ctx)
	if err != nil {
		c.left()
		return Pass{}, err
	}
	pass.Gate = c
	return pass, nil
}

// Leave gives the place back.
func (c *compartment) Leave(p Pass, err error) {
	c.limit.Leave(p, err)
	c.left()
}

// of finds the compartment of a key, or makes one, and counts the caller in.
func (b *Bulkhead) of(key string) *compartment {
	s := &b.shards[0]
	if len(b.shards) > 1 {
		s = &b.shards[maphash.String(b.seed, key)&uint64(len(b.shards)-1)]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.compartments[key]
	if c == nil {
		if len(s.compartments) >= s.most && !s.forget() {
			return &b.shared
		}
		c = &compartment{shard: s, key: key}
		c.limit.Update(*b.options.Load())
		s.compartments[key] = c
	} else if c.inside == 0 {
		c.prev.next, c.next.prev = c.next, c.prev
	}
	c.inside++
	return c
}

// forget drops the compartment that has been idle for longest, if one is idle. The caller holds the mutex.
func (s *bulkheadShard) forget() bool {
	c := s.idle.next
	if c == &s.idle {
		return false
	}
	c.prev.next, c.next.prev = c.next, c.prev
	delete(s.compartments, c.key)
	s.retired[0] += c.limit.refused.Load()
	s.retired[1] += c.limit.expired.Load()
	return true
}

// left counts somebody out.
func (c *compartment) left() {
	s := c.shard
	if s == nil {
		return
	}
	s.mu.Lock()
	if c.inside--; c.inside == 0 {
		c.prev, c.next = s.idle.prev, &s.idle
		c.prev.next, c.next.prev = c, c
	}
	s.mu.Unlock()
}

// Update puts new bounds of each compartment in force; who is at work or waits stays.
func (b *Bulkhead) Update(o LimitOptions) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.options.Store(&o)
	b.shared.limit.Update(o)
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		for _, c := range s.compartments {
			c.limit.Update(o)
		}
		s.mu.Unlock()
	}
}

// All gives each compartment's key and state, for display; those of forgotten keys are gone.
func (b *Bulkhead) All() iter.Seq2[string, LimitSnapshot] {
	return func(yield func(string, LimitSnapshot) bool) {
		for i := range b.shards {
			for key, snapshot := range b.shards[i].all() {
				if !yield(key, snapshot) {
					return
				}
			}
		}
	}
}

// all copies, so that nobody is kept waiting by who looks.
func (s *bulkheadShard) all() map[string]LimitSnapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]LimitSnapshot, len(s.compartments))
	for key, c := range s.compartments {
		all[key] = c.limit.Snapshot()
	}
	return all
}

// Snapshot is the bulkhead now, for display.
func (b *Bulkhead) Snapshot() BulkheadSnapshot {
	shared := b.shared.limit.Snapshot()
	sum := BulkheadSnapshot{Shared: shared, InUse: shared.InUse, Waiting: shared.Waiting, Refused: shared.Refused, TimedOut: shared.TimedOut}
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		sum.Refused += s.retired[0]
		sum.TimedOut += s.retired[1]
		s.mu.Unlock()
		for _, l := range s.all() {
			sum.Compartments++
			sum.InUse += l.InUse
			sum.Waiting += l.Waiting
			sum.Refused += l.Refused
			sum.TimedOut += l.TimedOut
		}
	}
	return sum
}

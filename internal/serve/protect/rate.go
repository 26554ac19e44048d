package protect

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/resilience"
)

// Rate bounds requests in a time: all together, or those of each key.
type Rate struct {
	config config.Rate
	all    *resilience.Rate // nil where keys are told apart, or nodes share it
	keys   *buckets
	shared *Share // nil where it is this node's own
}

// NewRate makes a rate of a validated configuration. Its buckets hold what those of the rate before it do, where that is not nil and
// counts the same; others are full.
func NewRate(c config.Rate, before *Rate) (*Rate, error) {
	perSecond, err := config.ParseFrequency(c.Requests)
	if err != nil {
		return nil, err
	}
	r := &Rate{config: c}
	if before != nil && (before.config.Per != c.Per || before.config.Header != c.Header) {
		before = nil
	}
	if c.Per == "service" || c.Per == "" {
		o := resilience.RateOptions{PerSecond: perSecond, Burst: c.Burst}
		if before != nil && before.all != nil {
			r.all = before.all.With(o)
		} else {
			r.all = resilience.NewRate(o)
		}
		return r, nil
	}
	burst := c.Burst
	if burst == 0 {
		burst = max(1, int(perSecond/10))
	}
	r.keys = newBuckets(perSecond, burst, c.Keys)
	if before != nil && before.keys != nil {
		r.keys.inherit(before.keys)
	}
	return r, nil
}

// Share is this node's part of a rate that all nodes have together; nil where it is this node's own.
func (r *Rate) Share() *Share { return r.shared }

// Config is what it was made of.
func (r *Rate) Config() config.Rate { return r.config }

// Take takes a token of the key, which nobody looks at where all requests are counted together. Where there is none, ok is false, and
// wait says when there will be one.
func (r *Rate) Take(key []byte) (wait time.Duration, ok bool) {
	switch {
	case r.keys != nil:
		return r.keys.take(key)
	case r.shared != nil:
		return r.shared.take()
	}
	if r.all.TryTake(1) {
		return 0, true
	}
	return r.all.RetryAfter(), false
}

// buckets is a token bucket for each key, in a fixed amount of memory. A bucket is one number, the time at which it will be full again
// (the generic cell rate algorithm, ITU-T I.371). One that is full again is the same as one that never was: its slot is free for
// another key, so that nothing needs to be swept, and under more keys than there is room for, the one that is closest to full
// makes room: it gains a few tokens.
type buckets struct {
	each, depth int64 // nanoseconds for one token, and for a bucket full of them
	seed        maphash.Seed
	base        time.Time
	sets        []bucketSet
}

// ways is how many slots a key may have its bucket in.
const ways = 8

type bucketSet struct {
	mu    sync.Mutex
	slots [ways]bucket
}

type bucket struct {
	key  uint64
	full int64 // when it is full again
}

func newBuckets(perSecond float64, burst, keys int) *buckets {
	n := 1
	for n*ways < 2*keys { // room for all, however unevenly they fall
		n *= 2
	}
	each := max(1, int64(float64(time.Second)/perSecond))
	return &buckets{each: each, depth: each * int64(burst), seed: maphash.MakeSeed(), base: time.Now(), sets: make([]bucketSet, n)}
}

// inherit takes over how many tokens are in the buckets of the ones before. Nobody uses these yet.
func (b *buckets) inherit(before *buckets) {
	b.seed, b.base = before.seed, before.base
	now := int64(time.Since(b.base))
	for i := range before.sets {
		was := &before.sets[i]
		was.mu.Lock()
		slots := was.slots
		was.mu.Unlock()
		for _, s := range slots {
			if s.full > now {
				held := min(float64(before.depth-(s.full-now))/float64(before.each), float64(b.depth/b.each))
				*b.set(s.key).slot(s.key) = bucket{s.key, now + b.depth - int64(held*float64(b.each))}
			}
		}
	}
}

func (b *buckets) set(hash uint64) *bucketSet { return &b.sets[hash&uint64(len(b.sets)-1)] }

// slot is the key's, or the one that makes room for it.
func (set *bucketSet) slot(hash uint64) *bucket {
	slot := &set.slots[0]
	for i := range set.slots {
		s := &set.slots[i]
		if s.key == hash {
			return s
		}
		if s.full < slot.full {
			slot = s
		}
	}
	return slot
}

func (b *buckets) take(key []byte) (time.Duration, bool) {
	hash := maphash.Bytes(b.seed, key)
	now := int64(time.Since(b.base))
	set := b.set(hash)
	set.mu.Lock()
	defer set.mu.Unlock()
	slot := set.slot(hash)
	from := now
	if slot.key == hash {
		from = max(slot.full, now)
	}
	if early := from + b.each - b.depth - now; early > 0 {
		return time.Duration(early), false
	}
	slot.key, slot.full = hash, from+b.each
	return 0, true
}

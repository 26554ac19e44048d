package resilience

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// StaleOptions says for how long an answer is of use.
type StaleOptions struct {
	Entries         int           // answers kept; 1000 where not given; the one used longest ago goes first
	Fresh           time.Duration // so old, an answer is as good as a new one
	WhileRevalidate time.Duration // so long after that, it is given while a new one is fetched in the background
	IfError         time.Duration // so long after that it was fresh, it is given when a new one cannot be had
	Refresh         time.Duration // bounds a fetch in the background; 30s where not given
}

// Freshness is how an answer was come by.
type Freshness uint8

// The kinds of freshness.
const (
	Fetched      Freshness = iota // just now, by this call or one that it waited for
	Fresh                         // kept and fresh
	Revalidating                  // kept and stale; a new one is on its way
	StaleOnError                  // kept and stale; a new one could not be had
)

// Stale keeps answers to give them again while they are fresh, while new ones are fetched, and when new ones cannot be had
// (RFC 5861). Calls for the same key at the same time are made once, and all get the answer, so that an answer that expires
// does not send everybody to the other side.
type Stale[K comparable, V any] struct {
	options StaleOptions
	clock   clock

	mu      sync.Mutex
	entries map[K]*entry[K, V]
	newest  entry[K, V] // a ring: next is the one used last, prev the one used longest ago
}

// entry is an answer, the fetching of one, or both.
type entry[K comparable, V any] struct {
	key        K
	value      V
	kept       bool
	since      time.Duration
	flight     *flight[V]
	prev, next *entry[K, V]
}

// flight is a fetch that others wait for.
type flight[V any] struct {
	landed    chan struct{}
	value     V
	err       error
	abandoned bool // its caller left: says nothing about the other side
}

// NewStale makes an empty cache.
func NewStale[K comparable, V any](o StaleOptions) *Stale[K, V] {
	o.Entries = orDefault(o.Entries, 1000)
	o.Refresh = orDefault(o.Refresh, 30*time.Second)
	s := &Stale[K, V]{options: o, clock: newClock(), entries: map[K]*entry[K, V]{}}
	s.newest.prev, s.newest.next = &s.newest, &s.newest
	return s
}

// Get gives the answer for a key: a kept one, or a new one by fetch. Its error is that of the fetch, or the context's cause.
func (s *Stale[K, V]) Get(ctx context.Context, key K, fetch func(context.Context) (V, error)) (V, Freshness, error) {
	for {
		s.mu.Lock()
		e := s.use(key)
		age := s.clock.now() - e.since - s.options.Fresh // above 0: stale for so long
		value, kept, f := e.value, e.kept, e.flight
		switch {
		case kept && age <= 0:
			s.mu.Unlock()
			return value, Fresh, nil
		case kept && age <= s.options.WhileRevalidate:
			if f == nil {
				f = e.depart()
				go s.refresh(ctx, e, f, fetch)
			}
			s.mu.Unlock()
			return value, Revalidating, nil
		case f != nil:
			s.mu.Unlock()
			select {
			case <-f.landed:
			case <-ctx.Done():
				return value, Fetched, context.Cause(ctx)
			}
			if f.abandoned {
				continue
			}
		default:
			f = e.depart()
			s.mu.Unlock()
			s.fly(ctx, e, f, fetch)
		}
		if f.err != nil && kept && age <= s.options.IfError && !f.abandoned {
			return value, StaleOnError, nil
		}
		return f.value, Fetched, f.err
	}
}

// use finds the entry of a key, or makes one in the place of the one used longest ago. The caller holds the mutex.
func (s *Stale[K, V]) use(key K) *entry[K, V] {
	e := s.entries[key]
	if e == nil {
		if len(s.entries) >= s.options.Entries {
			s.drop(s.newest.prev)
		}
		e = &entry[K, V]{key: key}
		s.entries[key] = e
	} else {
		e.prev.next, e.next.prev = e.next, e.prev
	}
	e.prev, e.next = &s.newest, s.newest.next
	e.prev.next, e.next.prev = e, e
	return e
}

// drop forgets an entry. A fetch for it goes on, for those who wait.
func (s *Stale[K, V]) drop(e *entry[K, V]) {
	e.prev.next, e.next.prev = e.next, e.prev
	delete(s.entries, e.key)
}

// Forget drops the answer for a key.
func (s *Stale[K, V]) Forget(key K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[key]; e != nil {
		s.drop(e)
	}
}

// Len is how many answers are kept or being fetched.
func (s *Stale[K, V]) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

func (e *entry[K, V]) depart() *flight[V] {
	e.flight = &flight[V]{landed: make(chan struct{}), err: errPanicked}
	return e.flight
}

// fly fetches an answer and keeps it. It lands also when fetch panics.
func (s *Stale[K, V]) fly(ctx context.Context, e *entry[K, V], f *flight[V], fetch func(context.Context) (V, error)) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		e.flight = nil
		switch {
		case f.err == nil:
			e.value, e.kept, e.since = f.value, true, s.clock.now()
		case !e.kept && s.entries[e.key] == e:
			s.drop(e)
		}
		close(f.landed)
	}()
	f.value, f.err = fetch(ctx)
	f.abandoned = f.err != nil && ctx.Err() != nil
}

// refresh fetches in the background. The call that began it does not end it, and nobody is there to recover a panic.
func (s *Stale[K, V]) refresh(ctx context.Context, e *entry[K, V], f *flight[V], fetch func(context.Context) (V, error)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.Refresh)
	defer cancel()
	s.fly(ctx, e, f, func(ctx context.Context) (value V, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("fetching an answer panicked: %v", p)
			}
		}()
		return fetch(ctx)
	})
}

package cache

import (
	"context"
	"time"
)

// Outcome is how a leader's question to the origin ended, as far as those who wait for its answer are concerned.
type Outcome uint8

const (
	// Stored says that the answer is in the cache.
	Stored Outcome = iota + 1
	// Passed says that the answer is nobody else's. Who waited asks by himself, and others do not wait for a while.
	Passed
	// Failed says that the service did. Who has something stale gives it, the others ask by themselves.
	Failed
	// Aborted says that the leader's client left before the answer was complete. One of those who wait takes its place.
	Aborted
)

// A flight is a question to the origin that others wait for.
type flight struct {
	key     string
	since   time.Time
	done    chan struct{}
	outcome Outcome // valid when done is closed
}

// A Lead obliges its holder to tell how its question ended, by Done. The zero Lead obliges to nothing.
type Lead struct {
	cache  *Cache
	flight *flight
}

// Done tells how the question ended; the first call counts.
func (l *Lead) Done(o Outcome) {
	f, c := l.flight, l.cache
	if f == nil {
		return
	}
	l.flight = nil
	c.mu.Lock()
	if c.flights[f.key] == f {
		delete(c.flights, f.key)
	}
	if o == Passed {
		c.passes.remember(f.key, time.Now())
	}
	c.mu.Unlock()
	f.outcome = o
	close(f.done)
}

// Leads says whether the holder has to call Done.
func (l *Lead) Leads() bool { return l.flight != nil }

// join makes the caller the leader for the query, or returns the flight that is under way. There is neither where the answers to such queries turned
// out to be nobody else's, unless the answer is for the cache alone anyway.
func (c *Cache) join(q *Query, alone bool) (lead Lead, under *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q.text = c.flightKey(q.text[:0], q)
	now := time.Now()
	if f := c.flights[string(q.text)]; f != nil && now.Sub(f.since) < c.options.Load().staleFlight() {
		return Lead{}, f
	}
	if !alone && c.passes.recent(q.text, now) {
		return Lead{}, nil
	}
	f := &flight{key: string(q.text), since: now, done: make(chan struct{})}
	c.flights[f.key] = f
	return Lead{cache: c, flight: f}, nil
}

// staleFlight is after how long a leader has company: its answer takes too long, or it was lost.
func (o *Options) staleFlight() time.Duration { return max(2*o.Wait, 10*time.Second) }

// flightKey tells apart the queries that cannot be expected to get the same answer: by the key, what is hidden, and the values of the fields by which
// the variants differ that are known so far.
func (c *Cache) flightKey(dst []byte, q *Query) []byte {
	dst = append(append(append(dst, q.key...), 0), q.Hidden...)
	r := c.memory.resources[string(q.key)]
	if r == nil {
		return dst
	}
	for _, by := range r.slots[len(r.slots)-1].entry.by {
		dst = append(dst, 0)
		dst = q.appendSelecting(dst, by.name)
	}
	return dst
}

// wait waits for a flight to end, for at most the time left. ok is false where it did not, or too many wait.
func (c *Cache) wait(ctx context.Context, f *flight, left time.Duration) (o Outcome, ok bool) {
	if n := c.waiting.Add(1); n > int64(c.options.Load().Waiters) || left <= 0 {
		c.waiting.Add(-1)
		return 0, false
	}
	defer c.waiting.Add(-1)
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-f.done:
		return f.outcome, true
	case <-t.C:
	case <-ctx.Done():
	}
	return 0, false
}

// passes remember for a while which answers are nobody else's, so that those who ask do not wait for each other in vain. It is a table
// of fixed size: a key that loses its place to another is only forgotten.
type passes struct {
	keys  [256]uint64
	until [256]time.Time
}

// passFor is how long it is remembered.
const passFor = 10 * time.Second

func (p *passes) remember(key string, now time.Time) {
	h := hashOf([]byte(key))
	p.keys[h%256], p.until[h%256] = h, now.Add(passFor)
}

func (p *passes) recent(key []byte, now time.Time) bool {
	h := hashOf(key)
	return p.keys[h%256] == h && now.Before(p.until[h%256])
}

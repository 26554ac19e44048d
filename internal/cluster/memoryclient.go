package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A link is what lies between a client and a Memory.
type link int

const (
	linkUp     link = iota
	linkCut         // messages are lost
	linkPaused      // messages are kept
)

// A MemoryClient is one client's handle of a Memory; a Store.
type MemoryClient struct {
	memory *Memory

	mu    sync.Mutex
	link  link
	state chan struct{} // closed and replaced when link changes
	kept  []func()      // requests on the way while paused
	delay func() (there, back time.Duration)
}

// Delay makes each message take its time: to the store and back. nil takes the delay away. A request whose caller has
// given up still arrives.
func (c *MemoryClient) Delay(delay func() (there, back time.Duration)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delay = delay
}

func (c *MemoryClient) set(l link) {
	c.mu.Lock()
	c.link = l
	kept := c.kept
	c.kept = nil
	close(c.state)
	c.state = make(chan struct{})
	c.mu.Unlock()
	if l == linkUp {
		for _, deliver := range kept {
			deliver()
		}
	}
}

func (c *MemoryClient) looks() (link, <-chan struct{}, time.Duration, time.Duration) {
	c.mu.Lock()
	delay := c.delay
	l, state := c.link, c.state
	c.mu.Unlock()
	var there, back time.Duration
	if delay != nil {
		there, back = delay()
	}
	return l, state, there, back
}

// do carries a request to the store and its answer back.
func (c *MemoryClient) do(ctx context.Context, request func()) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	done := make(chan struct{})
	_, _, there, back := c.looks()
	deliver := func() { request(); c.answer(back, done) }
	send := func() {
		c.mu.Lock()
		l := c.link
		if l == linkPaused {
			c.kept = append(c.kept, deliver)
		}
		c.mu.Unlock()
		if l == linkUp {
			deliver()
		}
	}
	if there > 0 {
		time.AfterFunc(there, send)
	} else {
		send()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
}

// answer sends the answer back; one that finds the link down is lost (cut) or kept (paused).
func (c *MemoryClient) answer(back time.Duration, done chan struct{}) {
	arrive := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch c.link {
		case linkUp:
			close(done)
		case linkPaused:
			c.kept = append(c.kept, func() { close(done) })
		}
	}
	if back > 0 {
		time.AfterFunc(back, arrive)
	} else {
		arrive()
	}
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }

// Get returns a key; ErrNotFound.
func (c *MemoryClient) Get(ctx context.Context, key string) (KV, error) {
	type answer struct {
		kv  KV
		err error
	}
	a := make(chan answer, 1)
	if err := c.do(ctx, func() { kv, err := c.memory.get(key); a <- answer{kv, err} }); err != nil {
		return KV{}, fmt.Errorf("get %s: %w", key, err)
	}
	got := <-a
	if got.err != nil {
		return KV{}, fmt.Errorf("get %s: %w", key, got.err)
	}
	return got.kv, nil
}

// List returns the keys under a prefix and the store's revision.
func (c *MemoryClient) List(ctx context.Context, prefix string) ([]KV, int64, error) {
	type answer struct {
		all      []KV
		revision int64
	}
	a := make(chan answer, 1)
	if err := c.do(ctx, func() { all, r := c.memory.list(prefix); a <- answer{all, r} }); err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", prefix, err)
	}
	got := <-a
	return got.all, got.revision, nil
}

// Put writes a key if it is at the revision previous; ErrConflict.
func (c *MemoryClient) Put(ctx context.Context, key string, value []byte, previous int64) (int64, error) {
	type answer struct {
		revision int64
		err      error
	}
	a := make(chan answer, 1)
	if err := c.do(ctx, func() { r, err := c.memory.put(key, value, previous); a <- answer{r, err} }); err != nil {
		return 0, fmt.Errorf("put %s: %w", key, err)
	}
	got := <-a
	if got.err != nil {
		return 0, fmt.Errorf("put %s: %w", key, got.err)
	}
	return got.revision, nil
}

// Delete removes a key if it is at the revision previous; ErrConflict.
func (c *MemoryClient) Delete(ctx context.Context, key string, previous int64) error {
	a := make(chan error, 1)
	if err := c.do(ctx, func() { a <- c.memory.delete(key, previous) }); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	if err := <-a; err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

// Watch begins with the whole state and goes on with each change; while the link is down nothing arrives.
func (c *MemoryClient) Watch(ctx context.Context, prefix string) <-chan Update {
	out := make(chan Update)
	go c.watch(ctx, prefix, out)
	return out
}

func (c *MemoryClient) watch(ctx context.Context, prefix string, out chan<- Update) {
	defer close(out)
	var seen int64
	for ctx.Err() == nil {
		l, state, _, back := c.looks()
		if l != linkUp {
			select {
			case <-state:
			case <-ctx.Done():
			}
			continue
		}
		u, revision, changed := c.memory.since(prefix, seen)
		if u.Reset || len(u.Changes) > 0 {
			if !c.arrives(ctx, back) {
				continue // lost on the way: asked for again
			}
			select {
			case out <- u:
				seen = revision
			case <-ctx.Done():
			}
			continue
		}
		seen = revision
		select {
		case <-changed:
		case <-state:
		case <-ctx.Done():
		}
	}
}

// arrives waits out the way back and says whether the link was still up at its end.
func (c *MemoryClient) arrives(ctx context.Context, back time.Duration) bool {
	if back > 0 {
		t := time.NewTimer(back)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return false
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link == linkUp
}

package httpproxy

import "sync"

// A crew counts the goroutines at work. Unlike a sync.WaitGroup it may begin again while somebody waits: connections are accepted until the
// very end.
type crew struct {
	mu   sync.Mutex
	n    int
	free sync.Cond
}

// Add counts one that begins.
func (c *crew) Add() {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
}

// Done counts one that ended.
func (c *crew) Done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 && c.free.L != nil {
		c.free.Broadcast()
	}
}

// Go runs f in a goroutine that counts.
func (c *crew) Go(f func()) {
	c.Add()
	go func() {
		defer c.Done()
		f()
	}()
}

// Wait waits until none is at work.
func (c *crew) Wait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free.L = &c.mu
	for c.n > 0 {
		c.free.Wait()
	}
}

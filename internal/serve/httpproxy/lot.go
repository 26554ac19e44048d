package httpproxy

import (
	"context"
	"runtime/debug"
	"sync"
	"time"
)

// A lot keeps connections that have been idle for a while. One that is parked has no goroutine, hence no stack, and no
// buffer: one goroutine waits for all of them, with a poller of its own. Whoever takes a connection out of the lot owns it.
type lot struct {
	server *Server

	mu     sync.Mutex
	poller *poller // made with the first connection that is parked
	ended  bool
	parked []*clientConn // by descriptor
	count  int
	since  int     // connections parked since memory was last given back
	last   instant // when the last one was
	gave   instant // when memory was last given back
}

// Memory is given back to the system when so many connections were parked and none has been for a moment, and not too often.
const (
	giveBackFor   = 1000
	giveBackAfter = 2 * time.Second
	giveBackEvery = 30 * time.Second
)

// giveBack returns the memory of the goroutines that ended: left alone, the runtime keeps their stacks until the next collection, which may
// be minutes away on a node whose connections idle.
func (l *lot) giveBack() {
	t := now()
	l.mu.Lock()
	due := l.since >= giveBackFor && t-l.last > int64(giveBackAfter) && (l.gave == 0 || t-l.gave > int64(giveBackEvery))
	if due {
		l.since, l.gave = 0, t
	}
	l.mu.Unlock()
	if due {
		debug.FreeOSMemory()
	}
}

// park hands a connection over. When it reports true the connection is no longer the caller's.
func (l *lot) park(c *clientConn) bool {
	fd, ok := descriptor(&c.link)
	if !ok || c.port.draining() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open() {
		return false
	}
	for fd >= len(l.parked) {
		l.parked = append(l.parked, make([]*clientConn, 1024)...)
	}
	l.parked[fd] = c
	c.place = int32(fd)
	l.count++
	l.since++
	l.last = now()
	if !c.detached {
		c.detached = true
		c.port.detached.Add(1)
	}
	if l.poller.add(fd) != nil {
		l.remove(c)
		return false
	}
	if c.port.draining() && l.remove(c) { // it may have looked for c before it was here
		return false
	}
	return true
}

// open makes the poller where there is none yet. The caller holds the mutex.
func (l *lot) open() bool {
	if l.poller != nil || l.ended {
		return l.poller != nil && !l.ended
	}
	p, err := newPoller()
	if err != nil {
		l.ended = true // connections keep their goroutines
		return false
	}
	l.poller = p
	l.server.work.Add()
	go l.watch(p)
	return true
}

// remove takes c out; false where it was not in. The caller holds the mutex.
func (l *lot) remove(c *clientConn) bool {
	if int(c.place) >= len(l.parked) || l.parked[c.place] != c {
		return false
	}
	l.poller.remove(int(c.place))
	l.parked[c.place] = nil
	l.count--
	return true
}

// wake gives c a goroutine again if it is parked.
func (l *lot) wake(c *clientConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.remove(c) {
		l.resume(c)
	}
}

// resume serves a connection that was taken out. The caller holds the mutex, so that the lot does not end meanwhile.
func (l *lot) resume(c *clientConn) {
	l.server.work.Add()
	go func() {
		defer l.server.work.Done()
		c.server.carry(c)
	}()
}

// watch waits for parked connections until the server's context is done: for something to read, or the end of their time.
func (l *lot) watch(p *poller) {
	defer l.server.work.Done()
	stop := context.AfterFunc(l.server.ctx, p.interrupt)
	defer stop()
	swept := now()
	for l.server.ctx.Err() == nil {
		ready := p.wait(sweepEvery)
		l.mu.Lock()
		for _, fd := range ready {
			if int(fd) < len(l.parked) && l.parked[fd] != nil {
				c := l.parked[fd]
				l.remove(c)
				l.resume(c)
			}
		}
		if t := now(); t-swept >= int64(sweepEvery) {
			swept = t
			l.sweep(t)
		}
		l.mu.Unlock()
		l.giveBack()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.parked {
		if c != nil && l.remove(c) {
			l.resume(c)
		}
	}
	l.ended = true
	p.close()
}

// sweep wakes the connections whose idle time is over. The caller holds the mutex.
func (l *lot) sweep(t instant) {
	for _, c := range l.parked {
		if c == nil {
			continue
		}
		if by := c.idleBy(); by != 0 && t >= by && l.remove(c) {
			l.resume(c)
		}
	}
}

package reach

import (
	"context"
	"net"
	"sync"
)

// Live is the sessions that a server has at work. Its zero value has none.
type Live struct {
	mu     sync.Mutex
	cuts   map[*context.CancelFunc]struct{} // each cuts its session
	closed bool                             // no session begins any more
	empty  chan struct{}                    // closed when the last session ends; nil while nobody waits for it
}

// Begin counts a session; cut is called to end it, and end must be when it has ended. It says false when the server has ended.
func (l *Live) Begin(cut context.CancelFunc) (end func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, false
	}
	if l.cuts == nil {
		l.cuts = map[*context.CancelFunc]struct{}{}
	}
	key := &cut
	l.cuts[key] = struct{}{}
	return func() { l.end(key) }, true
}

func (l *Live) end(key *context.CancelFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.cuts, key)
	if len(l.cuts) == 0 && l.empty != nil {
		close(l.empty)
		l.empty = nil
	}
}

// Count is how many sessions there are now, those being set up included.
func (l *Live) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.cuts)
}

// Drain waits until all sessions have ended or ctx is done, then cuts the rest and says how many those were. No session begins
// after it.
func (l *Live) Drain(ctx context.Context) (cut int) {
	select {
	case <-l.ended():
	case <-ctx.Done():
	}
	l.mu.Lock()
	l.closed = true
	cut = len(l.cuts)
	for c := range l.cuts {
		(*c)()
	}
	l.mu.Unlock()
	<-l.ended()
	return cut
}

// ended is closed once there is no session.
func (l *Live) ended() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.cuts) == 0 {
		done := make(chan struct{})
		close(done)
		return done
	}
	if l.empty == nil {
		l.empty = make(chan struct{})
	}
	return l.empty
}

// Reset closes a connection so that the other side sees at once that this is no orderly end.
func Reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails only on a closed connection
	}
	_ = c.Close()
}

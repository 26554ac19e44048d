package pool

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/resilience"
)

// classes is how many classes of priority there are; a class is a priority's upper part.
const classes = 4

func classOf(p resilience.Priority) int { return min(int(p>>7), classes-1) }

// A line is where requests wait for a place under the service's limit: the most important class first, and within a class first in,
// first out. When it is full, the last of the least important makes room for who is more important. Critical requests so keep
// their latency even before shedding knows of an overload.
type line struct {
	take   func() (permit, bool) // takes a place if one is free
	queued func()                // told of each that waits

	length atomic.Int64 // of those who wait; changed under the mutex only

	mu      sync.Mutex
	queue   int
	wait    time.Duration
	waiters [classes]waiters
	unused  *waiter
}

// permit is a place under a limit: the adaptive one's knows it, the fixed one's is nobody's in particular.
type permit struct {
	adaptive *resilience.Adaptive
	pass     resilience.Pass
}

// waiter is somebody in a line.
type waiter struct {
	told       chan struct{} // holds one
	place      permit
	refused    bool
	standing   time.Duration // when the place came: how long the one had waited who waited longest
	class      int
	since      time.Time
	timer      *time.Timer
	prev, next *waiter
	queued     bool
}

// waiters is a list, first in, first out.
type waiters struct{ first, last *waiter }

func (l *line) update(queue int, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue, l.wait = queue, wait
	l.grant()
}

// enter gets a place, waiting for it where it must, and says how long who waited longest had been waiting then. Errors:
// resilience.ErrQueueFull, resilience.ErrQueueTimeout, or the context's cause.
func (l *line) enter(ctx context.Context, class int) (p permit, standing time.Duration, err error) {
	l.mu.Lock()
	l.length.Add(1) // from here on, who leaves looks for us
	if l.length.Load() == 1 {
		if p, ok := l.take(); ok {
			l.length.Add(-1)
			l.mu.Unlock()
			return p, 0, nil
		}
	}
	if int(l.length.Load()) > l.queue && !l.displace(class) {
		l.length.Add(-1)
		l.mu.Unlock()
		return permit{}, 0, resilience.ErrQueueFull
	}
	w := l.push(class)
	wait := l.wait
	l.mu.Unlock()
	l.queued()
	return l.await(ctx, w, wait)
}

// welcomes says whether a request of the class should wait although the level would refuse it: where nobody waits, lest the next free place
// finds nobody, and where somebody waits who is less important.
func (l *line) welcomes(class int) bool {
	switch {
	case l.length.Load() == 0:
		return true
	case class == 0:
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range class {
		if l.waiters[c].first != nil {
			return true
		}
	}
	return false
}

// displace refuses the last of the least important who waits, if that is less important than the class. The caller holds the mutex.
func (l *line) displace(class int) bool {
	for c := range class {
		if w := l.waiters[c].last; w != nil {
			l.remove(w)
			w.refused = true
			w.told <- struct{}{}
			return true
		}
	}
	return false
}

func (l *line) await(ctx context.Context, w *waiter, wait time.Duration) (permit, time.Duration, error) {
	var expired <-chan time.Time
	if wait > 0 {
		if w.timer == nil {
			w.timer = time.NewTimer(wait)
		} else {
			w.timer.Reset(wait)
		}
		expired = w.timer.C
	}
	var err error
	select {
	case <-w.told:
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-expired:
		err = resilience.ErrQueueTimeout
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && w.queued {
		l.remove(w)
		l.recycle(w)
		return permit{}, 0, err
	}
	if err != nil {
		<-w.told // at the same moment it was told: a place that came is taken all the same
	}
	p, standing, refused := w.place, w.standing, w.refused
	l.recycle(w)
	if refused {
		return permit{}, 0, resilience.ErrQueueFull
	}
	return p, standing, nil
}

// left passes free places on, after one was given back.
func (l *line) left() {
	if l.length.Load() > 0 {
		l.mu.Lock()
		l.grant()
		l.mu.Unlock()
	}
}

// grant passes free places on to those who wait. The caller holds the mutex.
func (l *line) grant() {
	for l.length.Load() > 0 {
		w := l.next()
		if w == nil {
			return // who is about to wait has looked for a place itself
		}
		p, ok := l.take()
		if !ok {
			return
		}
		w.standing = time.Since(l.oldest())
		l.remove(w)
		w.place = p
		w.told <- struct{}{}
	}
}

// next is who gets the next place.
func (l *line) next() *waiter {
	for c := classes - 1; c >= 0; c-- {
		if w := l.waiters[c].first; w != nil {
			return w
		}
	}
	return nil
}

// oldest is since when the one has waited who has waited longest. Somebody waits.
func (l *line) oldest() time.Time {
	var oldest time.Time
	for c := range l.waiters {
		if w := l.waiters[c].first; w != nil && (oldest.IsZero() || w.since.Before(oldest)) {
			oldest = w.since
		}
	}
	return oldest
}

func (l *line) push(class int) *waiter {
	w := l.unused
	if w == nil {
		w = &waiter{told: make(chan struct{}, 1)}
	} else {
		l.unused = w.next
	}
	q := &l.waiters[class]
	*w = waiter{told: w.told, timer: w.timer, class: class, since: time.Now(), prev: q.last, queued: true}
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	return w
}

func (l *line) remove(w *waiter) {
	q := &l.waiters[w.class]
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
	l.length.Add(-1)
}

func (l *line) recycle(w *waiter) { w.next, l.unused = l.unused, w }

package resilience

import "time"

// waiter is somebody in a queue.
type waiter struct {
	granted    chan struct{} // holds one
	timer      *time.Timer
	places     int // of a Limit: asked for, then given
	prev, next *waiter
	queued     bool
}

// after is a channel that receives when the waiter has waited so long; never for 0.
func (w *waiter) after(wait time.Duration) <-chan time.Time {
	switch {
	case wait <= 0:
		return nil
	case w.timer == nil:
		w.timer = time.NewTimer(wait)
	default:
		w.timer.Reset(wait)
	}
	return w.timer.C
}

// stop stops the timer, after which it can be used again (Go 1.23).
func (w *waiter) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// queue is first in, first out; anyone may leave it from within. It keeps the waiters it has made for use again: they are as
// many as have waited at once. They belong to their queue, and not to a sync.Pool, as timers and channels of one synctest
// bubble cannot be used in another.
type queue struct {
	first, last *waiter
	unused      *waiter
}

func (q *queue) push() *waiter {
	w := q.unused
	if w == nil {
		w = &waiter{granted: make(chan struct{}, 1)}
	} else {
		q.unused = w.next
	}
	w.queued, w.prev, w.next = true, q.last, nil
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	return w
}

func (q *queue) pop() *waiter {
	w := q.first
	q.remove(w)
	return w
}

// remove says whether the waiter still stood in the queue.
func (q *queue) remove(w *waiter) bool {
	if !w.queued {
		return false
	}
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
	w.queued, w.prev, w.next = false, nil, nil
	return true
}

// recycle keeps a waiter that has left.
func (q *queue) recycle(w *waiter) { w.next, q.unused = q.unused, w }

package resilience

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// HoldOptions bounds a waiting room. The zero value holds nobody.
type HoldOptions struct {
	For     time.Duration // how long one waits at most; 0 turns holding off
	Waiters int           // how many wait at once
	Bytes   int64         // how much memory they keep together
}

// Hold is a waiting room for calls that nothing can serve at the moment: clients see latency instead of errors while a member comes
// back or a primary changes.
type Hold struct {
	waiting atomic.Int64

	mu      sync.Mutex
	options HoldOptions
	bytes   int64
	woken   chan struct{} // closed by Wake; nil while nobody waits for it
}

// NewHold makes an empty waiting room.
func NewHold(o HoldOptions) *Hold { return &Hold{options: o} }

// Wait returns nil as soon as ready is true, asked at once and after each Wake, in the caller's goroutine and under no lock.
// bytes is what the caller keeps in memory meanwhile. Errors: ErrHoldFull, ErrHoldTimeout, or the context's cause.
func (h *Hold) Wait(ctx context.Context, bytes int64, ready func() bool) error {
	if ready() {
		return nil
	}
	wait, err := h.enter(bytes)
	if err != nil {
		return err
	}
	defer h.leave(bytes)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		woken := h.signal() // before asking: a Wake after the answer is then not missed
		if ready() {
			return nil
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			return ErrHoldTimeout
		}
	}
}

func (h *Hold) enter(bytes int64) (time.Duration, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.options
	switch {
	case o.For <= 0:
		return 0, ErrHoldTimeout
	case h.waiting.Load() >= int64(o.Waiters), bytes > 0 && bytes > o.Bytes-h.bytes:
		return 0, ErrHoldFull
	}
	h.bytes += bytes
	h.waiting.Add(1)
	return o.For, nil
}

func (h *Hold) leave(bytes int64) {
	h.mu.Lock()
	h.bytes -= bytes
	h.waiting.Add(-1)
	h.mu.Unlock()
}

// signal is closed by the next Wake.
func (h *Hold) signal() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.woken == nil {
		h.woken = make(chan struct{})
	}
	return h.woken
}

// Wake lets all who wait ask again whether they can go. It costs one load while nobody waits.
func (h *Hold) Wake() {
	if h.waiting.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.woken != nil {
		close(h.woken)
		h.woken = nil
	}
}

// Waiting is how many wait.
func (h *Hold) Waiting() int { return int(h.waiting.Load()) }

// Update puts new bounds in force for those who come from now on.
func (h *Hold) Update(o HoldOptions) {
	h.mu.Lock()
	h.options = o
	h.mu.Unlock()
}

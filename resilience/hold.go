package resilience

import (
	"context"
	"time"
)

// HoldOptions bounds a waiting room. The zero value holds nobody.
type HoldOptions struct {
	For     time.Duration // how long one waits at most; 0 turns holding off
	Waiters int           // how many wait at once
	Bytes   int64         // how much memory they keep together
}

// Hold is a waiting room for calls that nothing can serve at the moment.
type Hold struct{}

// NewHold makes an empty waiting room.
func NewHold(o HoldOptions) *Hold { panic("not yet") }

// Wait returns nil as soon as ready is true, asked at once and after each Wake. bytes is what the caller keeps in memory
// meanwhile. Errors: ErrHoldFull, ErrHoldTimeout, or the context's cause.
func (h *Hold) Wait(ctx context.Context, bytes int64, ready func() bool) error { panic("not yet") }

// Wake lets all who wait ask again whether they can go.
func (h *Hold) Wake() { panic("not yet") }

// Waiting is how many wait.
func (h *Hold) Waiting() int { panic("not yet") }

// Update puts new bounds in force for those who come from now on.
func (h *Hold) Update(o HoldOptions) { panic("not yet") }

package resilience

import (
	"context"
	"time"
)

// LimitOptions bounds calls at work and calls that wait.
type LimitOptions struct {
	Concurrency int           // calls at work at once; 0 is no bound
	Queue       int           // calls that wait for a place; 0 refuses at once
	Wait        time.Duration // how long one waits; 0 is no bound but the context's
}

// LimitSnapshot is a limit at one moment, for display.
type LimitSnapshot struct {
	Concurrency, Queue int
	InUse, Waiting     int
	Refused, TimedOut  uint64 // since it was made: at the full queue; after waiting
}

// Limit bounds how many calls are at work at once; more wait, first in, first out.
type Limit struct{}

// NewLimit makes a limit with every place free.
func NewLimit(o LimitOptions) *Limit { panic("not yet") }

// Acquire takes a place, waiting for it where it must; where nil, Release must follow. Errors: ErrQueueFull, ErrQueueTimeout
// (both are ErrLimited), or the context's cause.
func (l *Limit) Acquire(ctx context.Context) error { panic("not yet") }

// TryAcquire takes a place if one is free and nobody waits for it; where true, Release must follow.
func (l *Limit) TryAcquire() bool { panic("not yet") }

// Release gives a place back, to who waits longest where anyone does.
func (l *Limit) Release() { panic("not yet") }

// Update puts new bounds in force; places in use and those who wait stay.
func (l *Limit) Update(o LimitOptions) { panic("not yet") }

// Snapshot is the limit now, for display.
func (l *Limit) Snapshot() LimitSnapshot { panic("not yet") }

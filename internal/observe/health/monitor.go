package health

import (
	"context"
	"log/slog"
)

// Options configures a Monitor.
type Options struct {
	// Log is for debugging.
	Log *slog.Logger
	// OnTransition is told of every change of state, in order for each target, without any lock held.
	OnTransition func(Transition)
	// OnResult is told of every look, before the transition it causes, in order for each target, without any lock held.
	OnResult func(Target, Result)
	// Prober looks; the real probes where nil.
	Prober Prober
	// Concurrency is how many looks there may be at once; 512 where not given.
	Concurrency int
	// Rand gives numbers in [0, 1) for jitter; math/rand/v2 where nil.
	Rand func() float64
}

// Monitor looks at targets on their schedules.
type Monitor struct{}

// NewMonitor returns a monitor without targets. Run makes it look.
func NewMonitor(o Options) *Monitor { panic("not yet") }

// Set replaces the targets. Unchanged ones keep state and schedule, ones with another check or TLS keep their state, ones
// with another address begin anew. It may be called before and during Run.
func (m *Monitor) Set(targets []Target) { panic("not yet") }

// Status tells the state of a member; false where it is not a target.
func (m *Monitor) Status(service, member string) (Status, bool) { panic("not yet") }

// Run looks until ctx ends, and returns when no look is under way any more.
func (m *Monitor) Run(ctx context.Context) error { panic("not yet") }

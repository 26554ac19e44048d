package resilience

import (
	"context"
	"time"
)

// Within makes a call that may take d at most: its context ends then, or when the caller's does if that is sooner. Everything
// called under that context sees the time that remains; adapters pass it on to other processes. 0 is no bound but the
// caller's.
func Within[T any](ctx context.Context, d time.Duration, call func(context.Context) (T, error)) (T, error) {
	return try(ctx, d, call)
}

// DeadlineOptions says which calls come too late.
type DeadlineOptions struct {
	Least    time.Duration // what any call needs
	Quantile float64       // 0..1: this quantile of recent successful calls is needed; 0.5 where not given
	Volume   int           // successes to have seen before the quantile is believed; 20 where not given
	Window   time.Duration // time looked back on; 30s where not given
}

// Deadline is a gate that refuses, at the door, a call whose context ends before it can finish: its work would be thrown away,
// at the expense of calls that can still be of use. What calls need is learnt from those that succeed; a call without a
// deadline passes. A quantile above the median would refuse calls that mostly make it. Source: Google SRE, "Addressing
// Cascading Failures" (deadlines).
type Deadline struct {
	least  time.Duration
	recent *latencies
}

// NewDeadline makes a gate that knows of no calls yet.
func NewDeadline(o DeadlineOptions) *Deadline {
	return &Deadline{o.Least, newLatencies(orDefault(o.Quantile, 0.5), orDefault(o.Volume, 20), orDefault(o.Window, 30*time.Second))}
}

// Needed is the time that a call must have left.
func (d *Deadline) Needed() time.Duration {
	need, _ := d.recent.value()
	return max(need, d.least)
}

// Enter refuses with ErrTooLate.
func (d *Deadline) Enter(ctx context.Context) (Pass, error) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d.Needed() {
		return Pass{}, ErrTooLate
	}
	return Pass{Gate: d, Begun: d.recent.clock.now()}, nil
}

// Leave learns from a success how long it took.
func (d *Deadline) Leave(p Pass, err error) {
	if err == nil {
		d.recent.add(d.recent.clock.now() - p.Begun)
	}
}

package resilience

import "time"

// Observe tells how long a call took that succeeded but was not made by Race: by who makes the further calls in a way of its own, and asks only
// Delay.
func (h *Hedge) Observe(took time.Duration) { h.recent.add(took) }

// Observe tells how long a call took that succeeded but did not pass Enter: by who asks only Needed.
func (d *Deadline) Observe(took time.Duration) { d.recent.add(took) }

package resilience

import "time"

// clock counts from when its owner was made. The monotonic reading costs half of time.Now, and inside a synctest bubble it is the
// bubble's.
type clock struct{ base time.Time }

func newClock() clock { return clock{time.Now()} }

func (c clock) now() time.Duration { return time.Since(c.base) }

// at is the wall time of a reading.
func (c clock) at(now time.Duration) time.Time { return c.base.Add(now) }

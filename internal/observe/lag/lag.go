// Package lag measures how far standbys are behind their primary, in bytes and in time, from the positions that each node
// reports of its own instance. Time is that of this node's monotonic clock alone: a standby lags for as long as the primary
// has had something that the standby has not applied. What databases say themselves (such as the age of the last
// transaction) grows while nothing is written, or compares the clocks of two machines.
//
// It judges nothing, and knows no engine.
package lag

import "time"

// Lag is how far a standby is behind.
type Lag struct {
	// Known is false of a standby that was never seen with what the primary had.
	Known bool `json:"known"`
	// Time since which the standby may be without something. It is exact to about two intervals of the reports, and goes on
	// growing while nothing is heard of the primary: nobody knows what it has written since.
	Time time.Duration `json:"time"`
	// Bytes between what the primary was last seen to have and what the standby has applied.
	Bytes uint64 `json:"bytes"`
}

// samples bounds how many positions of a primary are remembered.
const samples = 128

// A Clock follows the members of one service. It is not safe for use by several goroutines.
type Clock struct {
	span    time.Duration // over which lag is to be told apart
	primary string
	epoch   uint64
	newest  sample
	past    []sample // oldest first, at least span/samples apart
	current map[string]time.Time
	applied map[string]uint64
}

type sample struct {
	at       time.Time
	position uint64
}

// NewClock returns a clock for limits up to span.
func NewClock(span time.Duration) *Clock {
	return &Clock{span: span, current: map[string]time.Time{}, applied: map[string]uint64{}}
}

// Primary takes what the primary of an epoch had at a time. Of a new primary older positions do not count: it may have less
// than the last one.
func (c *Clock) Primary(node string, epoch, position uint64, at time.Time) {
	if node != c.primary || epoch != c.epoch {
		c.primary, c.epoch, c.past, c.newest = node, epoch, nil, sample{}
	}
	if at.Before(c.newest.at) || position < c.newest.position {
		return
	}
	c.newest = sample{at, position}
	if n := len(c.past); n == 0 || at.Sub(c.past[n-1].at) >= c.span/samples {
		c.past = append(c.past, c.newest)
	}
	if n := len(c.past); n > 2*samples {
		c.past = append(c.past[:0], c.past[n-samples:]...)
	}
}

// Standby takes what a standby has applied.
func (c *Clock) Standby(node string, applied uint64) {
	c.applied[node] = applied
	if c.newest.at.IsZero() {
		return
	}
	as := c.current[node]
	if applied >= c.newest.position {
		as = c.newest.at
	}
	for i := len(c.past) - 1; i >= 0 && c.past[i].at.After(as); i-- {
		if c.past[i].position <= applied {
			as = c.past[i].at
		}
	}
	if !as.IsZero() {
		c.current[node] = as
	}
}

// Forget drops a member, such as one that was made anew.
func (c *Clock) Forget(node string) {
	delete(c.current, node)
	delete(c.applied, node)
}

// Lag returns how far a standby is behind.
func (c *Clock) Lag(node string, now time.Time) Lag {
	as, known := c.current[node]
	if !known {
		return Lag{}
	}
	l := Lag{Known: true, Time: max(0, now.Sub(as))}
	if at := c.applied[node]; c.newest.position > at {
		l.Bytes = c.newest.position - at
	}
	return l
}

package resilience

import "time"

// BreakerSnapshot is a breaker at one moment, for display.
type BreakerSnapshot struct {
	State       BreakerState
	Forced      bool          // by Isolate or ForceClose: stays until Reset
	Cause       string        // why it is in this state
	Since       time.Time     // when it came into this state
	RetryAfter  time.Duration // time until an open one tries
	Calls       int           // in the window; only while closed and judged by a rate
	Failures    int           // in the window
	Slow        int           // in the window
	Consecutive int           // failures in a row
	Probes      int           // at work now, while half-open
	Refused     uint64        // calls refused since it was made
}

// Snapshot is the breaker now, for display.
func (b *Breaker) Snapshot() BreakerSnapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, now := b.era.Load(), b.clock.now()
	s := BreakerSnapshot{State: e.state, Forced: e.forced, Cause: e.cause, Since: b.clock.at(e.since)}
	s.Refused = uint64(b.refused.sum())
	switch e.state {
	case Closed:
		s.Consecutive = int(e.tally.streak.Load())
		if e.tally.rated {
			t := e.tally.pace.ticker.at(now)
			s.Calls, s.Failures, s.Slow = e.tally.calls.sum(t), e.tally.failed.sum(t), e.tally.slow.sum(t)
		}
	case Open:
		s.RetryAfter = b.RetryAfter()
	case HalfOpen:
		s.Probes = e.trial.atWork
	}
	return s
}

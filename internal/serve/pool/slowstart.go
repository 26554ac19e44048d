package pool

import "time"

// coldShare is what a member begins its slow start with, of its full share.
const coldShare = 0.1

// warm begins a member's slow start.
func (c *core) warm(now int64) { c.warmSince = now }

// warmUp ends slow starts that are over, and says whether any goes on. Shares are relative: where all members begin together, none
// is slow.
func (s *Service) warmUp(set *settings, now int64) (going bool) {
	for _, c := range s.members {
		if c.warmSince != 0 && now-c.warmSince >= set.slowStart {
			c.warmSince = 0
		}
		going = going || c.fit && c.warmSince != 0
	}
	return going
}

// warmth is how far the member is in its slow start: coldShare to 1.
func (c *core) warmth(set *settings, now int64) float64 {
	if c.warmSince == 0 || set.slowStart <= 0 {
		return 1
	}
	return min(1, coldShare+(1-coldShare)*float64(now-c.warmSince)/float64(set.slowStart))
}

// expire ends what is over: ejections.
func (s *Service) expire(now int64) {
	for _, c := range s.members {
		if c.ejection.until != 0 && now >= c.ejection.until {
			s.restore(c, now, "its time is over")
		}
	}
}

// next is the moment at which a view must be made anew without anything having happened; 0 for none.
func (s *Service) next(set *settings, now int64, warming bool) int64 {
	var next int64
	sooner := func(t int64) {
		if t > now && (next == 0 || t < next) {
			next = t
		}
	}
	for _, c := range s.members {
		sooner(c.ejection.until)
		if c.draining {
			sooner(c.drainSince + set.drain)
		}
		if b := c.breaker.Load(); b != nil { // its rest over, held requests may try
			if rest := b.RetryAfter(); rest > 0 {
				sooner(now + int64(rest) + 1)
			}
		}
	}
	for _, c := range s.leaving {
		sooner(c.drainSince + set.drain)
	}
	if warming {
		sooner(now + max(set.slowStart/20, int64(50*time.Millisecond)))
	}
	return next
}

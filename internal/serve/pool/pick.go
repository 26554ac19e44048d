package pool

import "github.com/backstay/backstay/internal/observe/telemetry"

// Query says what is known about a request that wants a member.
type Query struct {
	Hash    uint64    // Hash of what the hash policy goes by
	HasHash bool      // false: there is nothing to hash, any member will do
	Sticky  string    // value of the sticky cookie; empty without one
	Tried   []*Member // members that this request was sent to already; they come last
}

func (q *Query) tried(c *core) bool {
	for _, m := range q.Tried {
		if m.core == c {
			return true
		}
	}
	return false
}

// Pick chooses a member, counts the request in flight there and takes its breaker's permit: Done must follow exactly once.
// Errors: ErrNoMember, ErrBusy. It allocates nothing and takes no lock.
//
// It is asked in order: the member that a sticky client was on; a member whose open breaker may be tried again; the policy of the
// service among the members of one tier and zone; and where none of these can take the request, any member that can, those
// that were tried already last.
func (s *Service) Pick(q *Query) (*Member, error) {
	v := s.view.Load()
	if q.Sticky != "" {
		if c := v.sticky[q.Sticky]; c != nil && !q.tried(c) {
			if m := s.take(v, c, 0); m != nil {
				return m, nil
			}
		}
	}
	for _, c := range v.trials {
		if !q.tried(c) && c.ready() {
			if m := s.take(v, c, 0); m != nil {
				return m, nil
			}
		}
	}
	if len(v.groups) == 0 {
		return nil, ErrNoMember
	}
	var m *Member
	switch v.policy {
	case roundRobin:
		m = s.pickTurn(v, q)
	case consistent:
		m = s.pickHash(v, q)
	default:
		m = s.pickLoad(v, q)
	}
	if m == nil {
		return s.pickAny(v, q)
	}
	return m, nil
}

// group chooses the group by a random number.
func (v *view) group(r uint64) *group {
	last := len(v.groups) - 1
	for i := range last {
		if r>>32 < v.groups[i].upto {
			return &v.groups[i]
		}
	}
	return &v.groups[last]
}

// turnGroup is group; a random number is needed only where there is a choice of groups.
func (s *Service) turnGroup(v *view) *group {
	if len(v.groups) == 1 {
		return &v.groups[0]
	}
	return v.group(s.options.Rand())
}

// take counts a request in flight on the member and takes the permit of its breaker; nil where there is no room or no permit. now is 0
// where the policy does not look at silences.
func (s *Service) take(v *view, c *core, now int64) *Member {
	if n := c.begin(now); v.limit > 0 && n > v.limit {
		c.end(false)
		return nil
	}
	m, err := c.allow()
	if err != nil {
		c.end(false)
		return nil
	}
	if v.panics && c.unsound.Load() {
		s.metrics.Count(telemetry.Panicked)
	}
	return m
}

// pickAny looks through all groups, also those that have no share now, for the least loaded member that was not tried, and then
// among those that were.
func (s *Service) pickAny(v *view, q *Query) (*Member, error) {
	now, busy := s.now(), false
	for _, again := range [...]bool{false, true} {
		if again && len(q.Tried) == 0 {
			break
		}
		for i := range v.groups {
			for range v.groups[i].slots { // whoever is full in this instant is not asked again for long
				c := v.groups[i].least(v, q, s.options.Rand(), now, again)
				if c == nil {
					break
				}
				if m := s.take(v, c, now); m != nil {
					return m, nil
				}
			}
			busy = busy || len(v.groups[i].slots) > 0
		}
	}
	if busy && v.limit > 0 {
		return nil, ErrBusy
	}
	return nil, ErrNoMember
}

package pool

import (
	"fmt"
	"strings"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/observe/health"
)

// sound says whether the member's checks allow traffic. One that no check has judged yet counts as good, unless it joined a
// service at work.
func (c *core) sound(set *settings) bool {
	if !set.checked {
		return true
	}
	switch c.status.State {
	case health.Up:
		return true
	case health.Down, health.Starting:
		return false
	}
	return !c.awaiting
}

func (c *core) down(set *settings) bool { return set.checked && c.status.State == health.Down }

// SetHealth says what a member's checks add up to.
func (s *Service) SetHealth(member string, st health.Status) {
	s.lock()
	defer s.unlock()
	changed := false
	for _, c := range s.members {
		if c.name == member {
			changed = s.setHealth(c, st) || changed
		}
	}
	if changed {
		s.rebuild()
	}
}

// setHealth says whether the state is another.
func (s *Service) setHealth(c *core, st health.Status) bool {
	from := c.status.State
	c.status = st
	if from == st.State {
		return false
	}
	now := s.now()
	r := event.Record{Member: c.name, Evidence: st.Evidence}
	switch st.State {
	case health.Up:
		r.Kind, r.Message = event.MemberUp, fmt.Sprintf("Member %s of service %s is up.", c.name, s.name)
		if from != health.Unknown || c.awaiting {
			c.warm(now)
			c.renew(now)
		}
		c.awaiting = false
	case health.Down:
		r.Kind, r.Message = event.MemberDown, fmt.Sprintf("Member %s of service %s is down.", c.name, s.name)
		c.ejection.goodProbes = 0
	case health.Starting:
		r.Kind, r.Message = event.MemberStarting, fmt.Sprintf("Member %s of service %s is starting.", c.name, s.name)
	default:
		return true
	}
	s.record(r)
	return true
}

// renew makes the member one that nothing is known of by traffic, but for what is slow to learn.
func (c *core) renew(now int64) {
	c.forget(now)
	c.recent.clear()
	c.streak.Store(0)
}

// GoodProbe says that a probe of the member went well. It ends an ejection for failures in a row, which a probe would have met
// with, but not one for a failure rate or for latency, which a few good looks say nothing against. It takes the second good probe
// after the ejection: the first may have begun before it. Where failures came back soon after a probe had ended an ejection, probes
// evidently do not see what is wrong, and the next ejection lasts its full time.
func (s *Service) GoodProbe(member string) {
	s.lock()
	defer s.unlock()
	for _, c := range s.members {
		e := &c.ejection
		if c.name != member || e.until == 0 || e.cause != failuresInARow || e.distrust {
			continue
		}
		if e.goodProbes++; e.goodProbes >= 2 {
			now := s.now()
			s.restore(c, now, "probes find it good")
			e.byProbe = true
			s.rebuild()
		}
	}
}

// Drain lets go of a member (true) or takes it back (false). A name that stands for several addresses means all of them. Error:
// no such member.
func (s *Service) Drain(member string, drain bool) error {
	s.lock()
	defer s.unlock()
	var names []string
	found := false
	for _, c := range s.members {
		names = append(names, c.name)
		if c.name == member || c.address == member || strings.HasPrefix(c.name, member+"/") {
			found = true
			s.drain(c, drain)
		}
	}
	if !found {
		return fmt.Errorf("service %s has no member %q: it has %s", s.name, member, orNone(strings.Join(names, ", ")))
	}
	s.rebuild()
	return nil
}

func (s *Service) drain(c *core, drain bool) {
	if c.draining == drain {
		return
	}
	c.draining, c.drainSince = drain, s.now()
	r := event.Record{Member: c.name, Kind: event.MemberDrained,
		Message: fmt.Sprintf("Member %s of service %s is drained: no new requests, %d at work.", c.name, s.name, c.inFlight())}
	if !drain {
		c.warm(c.drainSince)
		c.renew(c.drainSince)
		r.Kind, r.Message = event.MemberResumed, fmt.Sprintf("Member %s of service %s is taken back.", c.name, s.name)
	}
	s.record(r)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

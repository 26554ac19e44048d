package pool

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/observe/health"
	"github.com/backstay/backstay/internal/observe/resolve"
	"github.com/backstay/backstay/resilience"
)

// Set puts a configuration and its endpoints in force. Members with the same name and address keep all their state; limits,
// breakers and budget are changed in place. Members that are gone get no new requests; their idle connections are closed at
// once and their sessions are cut after the drain timeout.
func (s *Service) Set(cfg config.Service, eps []resolve.Endpoint) {
	set := newSettings(cfg)
	s.lock()
	defer s.unlock()
	if s.ended {
		return
	}
	now := s.now()
	s.limit.Update(limitOptions(cfg.Limit))
	s.setProtection(cfg)
	s.hold.Update(holdOptions(cfg.Hold))
	s.budget.Update(budgetOptions(cfg.Retry))
	s.setBreaker(cfg.Breaker)
	before := s.view.Load()
	rewindow := before.outlier.width != set.outlier.width
	s.setMembers(eps, set, now)
	for _, c := range s.members {
		c.setBreaker(set.breaker)
		if rewindow {
			c.recent.clear()
		}
		if c.status.State == health.Unknown && !set.checked {
			c.awaiting = false
		}
	}
	s.view.Store(&view{settings: set}) // rebuild keeps the settings of the view it follows
	s.begun = true
	s.metrics.Sample(s.sample)
	s.rebuild()
}

// setMembers makes the members those of the endpoints.
func (s *Service) setMembers(eps []resolve.Endpoint, set *settings, now int64) {
	working := s.begun && slices.ContainsFunc(s.members, func(c *core) bool { return c.fit })
	old := map[[2]string]*core{}
	for _, c := range slices.Concat(s.leaving, s.members) {
		old[[2]string{c.name, c.address}] = c
	}
	var members []*core
	kept, names := map[*core]bool{}, map[string]bool{}
	for _, e := range eps {
		names[e.Name] = true
		c := old[[2]string{e.Name, e.Address}]
		switch {
		case c == nil:
			c = newCore(s, e)
			old[[2]string{e.Name, e.Address}] = c
			s.join(c, working, set, now)
		case kept[c]:
			continue // listed twice
		case c.leaving:
			c.leaving = false
			c.kept.revive()
			s.join(c, working, set, now)
		}
		c.origin.Store(&origin{e.Zone, e.Host})
		c.weight, c.priority = e.Weight, e.Priority
		kept[c] = true
		members = append(members, c)
	}
	for _, c := range s.members {
		if !kept[c] {
			s.part(c, names[c.name], now)
		}
	}
	s.leaving = slices.DeleteFunc(s.leaving, func(c *core) bool { return !c.leaving })
	slices.SortFunc(members, func(a, b *core) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.address, b.address))
	})
	s.members = members
	for _, c := range members { // after those that left took their series away
		if m := s.options.Metrics.Member(s.name, c.name); m != c.metrics.Load() {
			m.Sample(c.sample)
			c.metrics.Store(m)
		}
	}
}

// join welcomes a member. One that joins a service at work starts slowly and, with a check, only after its first good probe.
func (s *Service) join(c *core, working bool, set *settings, now int64) {
	c.joined, c.warmSince, c.awaiting = now, 0, false
	if !s.begun {
		return
	}
	if working {
		c.warmSince, c.awaiting = now, set.checked && c.status.State != health.Up
	}
	s.record(event.Record{Kind: event.MemberAdded, Member: c.name, Message: fmt.Sprintf("Member %s (%s) joined service %s.", c.name, c.address, s.name)})
}

// part takes leave of a member. renewed says that its name goes on at another address, and with it its metrics.
func (s *Service) part(c *core, renewed bool, now int64) {
	c.leaving, c.fit = true, false
	if !c.draining {
		c.drainSince = now
	}
	s.leaving = append(s.leaving, c)
	if held := c.kept.remove(); held != nil {
		s.outbox = append(s.outbox, func() { _ = held.Close() })
	}
	if !renewed {
		c.metrics.Load().Remove()
	}
	s.record(event.Record{Kind: event.MemberRemoved, Member: c.name, Message: fmt.Sprintf("Member %s (%s) left service %s.", c.name, c.address, s.name)})
}

// Cut ends at once the sessions of a member that was removed, without the rest of its drain timeout.
func (s *Service) Cut(member string) {
	s.lock()
	defer s.unlock()
	s.leaving = slices.DeleteFunc(s.leaving, func(c *core) bool {
		if c.name == member {
			c.cut(true)
		}
		return c.name == member
	})
}

// Close ends the service: all members are removed and their sessions cut at once, no timer is left, and Pick finds nobody.
func (s *Service) Close() {
	s.lock()
	defer s.unlock()
	if s.ended {
		return
	}
	s.ended = true
	var closers []io.Closer
	for _, c := range slices.Concat(s.members, s.leaving) {
		if held := c.kept.remove(); held != nil {
			closers = append(closers, held)
		}
		c.leaving = true
		c.cut(true)
		c.metrics.Load().Remove()
	}
	s.members, s.leaving = nil, nil
	s.view.Store(&view{settings: s.view.Load().settings})
	s.schedule(0, 0)
	s.metrics.Remove()
	s.outbox = append(s.outbox, s.hold.Wake, func() {
		for _, held := range closers {
			_ = held.Close()
		}
	})
}

// setBreaker turns the service's own breaker on, off, or to other settings.
func (s *Service) setBreaker(c config.Breaker) {
	if c.Off || !c.Service {
		s.breaker.Store(nil)
		return
	}
	o := breakerOptions(c)
	o.OnChange = func(change resilience.BreakerChange) { s.breakerChanged(nil, change) }
	if b := s.breaker.Load(); b != nil {
		b.Update(o)
		return
	}
	s.breaker.Store(resilience.NewBreaker(o))
}

func (c *core) setBreaker(o *resilience.BreakerOptions) {
	if o == nil {
		c.breaker.Store(nil)
		return
	}
	with := *o
	with.OnChange = func(change resilience.BreakerChange) { c.service.breakerChanged(c, change) }
	if b := c.breaker.Load(); b != nil {
		b.Update(with)
		return
	}
	c.breaker.Store(resilience.NewBreaker(with))
}

// breakerChanged takes a change of a member's breaker, or with nil of the service's own.
func (s *Service) breakerChanged(c *core, change resilience.BreakerChange) {
	s.lock()
	defer s.unlock()
	if s.ended {
		return
	}
	r := event.Record{Evidence: change.Cause}
	who := "service " + s.name
	if c != nil {
		who, r.Member = fmt.Sprintf("member %s of service %s", c.name, s.name), c.name
	}
	switch change.To {
	case resilience.Open:
		r.Kind, r.Message = event.BreakerOpen, fmt.Sprintf("The breaker of %s opened: no requests for %s.", who, brief(change.Reset))
		if c != nil {
			c.metrics.Load().BreakerOpened()
		}
	case resilience.HalfOpen:
		r.Kind, r.Message = event.BreakerHalfOpen, fmt.Sprintf("The breaker of %s lets a request try.", who)
	case resilience.Closed:
		r.Kind, r.Message = event.BreakerClosed, fmt.Sprintf("The breaker of %s closed.", who)
		if c != nil {
			now := s.now()
			c.warm(now)
			c.renew(now)
		}
	}
	s.record(r)
	s.rebuild()
}

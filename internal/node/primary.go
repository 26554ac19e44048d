package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/control"
	"github.com/backstay/backstay/internal/observe/resolve"
	"github.com/backstay/backstay/internal/serve/snapshot"
)

// followRoutes carries what the loop agrees on to this node's own parts: the data plane gets the primary as the service's
// only member, or none; the guard is told for how long this node's authority lasts; the store's leader is moved off a
// primary.
func (s *stateful) followRoutes(ctx context.Context) error {
	routes := s.control.Routes()
	last := map[string]control.Route{}
	ticker := time.NewTicker(s.profile.Heartbeat)
	defer ticker.Stop()
	defer s.dog.Close() // the guards go by their last word until the instances have been stopped
	for {
		changed := routes.Changed()
		services := s.config().Engines()
		for name := range last {
			if !slices.ContainsFunc(services, func(sc config.Service) bool { return sc.Name == name }) {
				delete(last, name) // its guard stops the instance at the time it was told last
				s.dog.Release(name)
				s.node.forgetPrimary(name)
				s.unsettle(name)
			}
		}
		for _, sc := range services {
			now := time.Now()
			r := routes.Route(sc.Name)
			r.Service = sc.Name // nothing may be known of it yet
			s.watchdog(r, now)
			s.guard(sc.Name)
			ending := s.settle(ctx, r, now)
			if !r.Valid(now) && !ending {
				r = control.Route{Service: sc.Name, Epoch: r.Epoch, Hold: r.Hold}
			}
			if was, ok := last[sc.Name]; !ok || was.Primary != r.Primary || was.Epoch != r.Epoch || was.Address != r.Address {
				last[sc.Name] = r
				s.node.setPrimary(r)
				s.tell(r)
			}
			if !ending { // after the former primary has made room
				s.node.freeze(sc.Name, false)
			}
			s.watch(sc.Name, now)
		}
		s.unburden(ctx, last)
		select {
		case <-changed:
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// tell puts a change of route on the event log.
func (s *stateful) tell(r control.Route) {
	rec := event.Record{Kind: event.ServicePrimary, Service: r.Service, Member: r.Primary, Fields: map[string]any{"epoch": r.Epoch}}
	switch {
	case r.Primary != "":
		rec.Message = fmt.Sprintf("clients are sent to %s, the primary of epoch %d", r.Primary, r.Epoch)
	case r.Hold:
		rec.Message = "clients are held while the primary moves"
	default:
		rec.Message = "there is no primary that this node may send clients to; they are held"
	}
	s.node.append(rec)
}

// guard tells the instance's guard for how long this node has authority, that of a promotion under way too, or that the
// instance is known to take no writes. Otherwise the guard goes by the last word: where authority is over and this process
// gets no further, it ends the instance. It is called by the loop before a promotion, too: what is said last is newest.
func (s *stateful) guard(service string) {
	i := s.crew.instance(service)
	if i == nil {
		return
	}
	i.telling.Lock()
	defer i.telling.Unlock()
	now, r := time.Now(), s.control.Routes().Route(service)
	switch {
	case now.Before(r.Authority):
		if err := i.guard.Keep(r.Authority.Sub(now)); err != nil {
			s.log.Warn("the guard does not listen", "service", service, "error", err)
		}
	case r.Harmless:
		_ = i.guard.Standby() // a guard that does not listen has nothing to be told
	}
}

// watchdog tells the device for how long this node has authority, that of a promotion under way too, and that it has
// none once its instance is known to take no writes.
func (s *stateful) watchdog(r control.Route, now time.Time) {
	if s.dog == nil {
		return
	}
	if s.crew.instance(r.Service) == nil {
		s.dog.Release(r.Service)
		return
	}
	switch {
	case now.Before(r.Authority):
		s.dog.Keep(r.Service, r.Authority)
	case r.Harmless:
		s.dog.Release(r.Service)
	}
}

// unburden moves the store's leader off a node that is a primary: the death of both at once would cost an election more.
func (s *stateful) unburden(ctx context.Context, routes map[string]control.Route) {
	if !s.moved.IsZero() && time.Since(s.moved) < 10*s.profile.StoreElection {
		return
	}
	busy := map[string]bool{}
	for _, r := range routes {
		busy[r.Primary] = true
	}
	if !busy[s.self.Name] || s.store.Leader() != s.self.Name {
		return
	}
	for _, node := range s.leaders() {
		if busy[node.Name] || node.Name == s.self.Name || !s.hears(node.Name) {
			continue
		}
		s.moved = time.Now()
		go func() {
			ctx, cancel := context.WithTimeout(ctx, 5*s.profile.StoreElection)
			defer cancel()
			if err := s.store.MoveLeader(ctx, node.Name); err != nil {
				s.log.Info("the store's leader stays on the primary's node for now", "error", err)
			}
		}()
		return
	}
}

// leaders lists the nodes in the order in which they should lead the store: those without a database first, whose death
// then costs an election and nothing else.
func (s *stateful) leaders() []config.Node {
	var free, others []config.Node
	for _, node := range s.config().Nodes {
		if slices.ContainsFunc(s.config().Engines(), func(c config.Service) bool { return slices.Contains(c.Engine.Fleet().Nodes, node.Name) }) {
			others = append(others, node)
		} else {
			free = append(free, node)
		}
	}
	return append(free, others...)
}

// hears says whether another node was heard lately.
func (s *stateful) hears(node string) bool {
	c := s.link.Contacts()[node]
	return c.Broken == "" && time.Since(c.Received) < s.profile.Suspicion
}

// setPrimary makes the primary the only member of a service; without one its clients are held. Sessions of a former
// primary are cut at once, also those that came to it to read.
func (n *Node) setPrimary(r control.Route) {
	n.mu.Lock()
	defer n.mu.Unlock()
	was := n.primaries[r.Service].Primary
	n.primaries[r.Service] = r
	n.renew(func(s *snapshot.Service) bool { return s.Name == r.Service || s.Of == r.Service })
	snap := n.snapshot.Load()
	if snap == nil || was == "" || was == r.Primary {
		return
	}
	for _, s := range snap.Services {
		if s.Of == r.Service {
			s.Pool.Cut(was)
			s.Pool.Cut(asPrimary(was))
		}
	}
}

// renew tells the pools of some services whom they consist of now. The caller holds the mutex.
func (n *Node) renew(which func(*snapshot.Service) bool) {
	snap := n.snapshot.Load()
	if snap == nil {
		return
	}
	for _, s := range snap.Services {
		if which(s) && n.pools[s.Name] != nil {
			n.members(s)
		}
	}
}

// forgetPrimary forgets the primary of a service that is gone, and who could be read from.
func (n *Node) forgetPrimary(service string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.primaries, service)
	delete(n.readers, service)
}

// members tells a service's pool whom it consists of: its endpoints, its primary where it has an engine, or those that may
// be read from. The caller holds the mutex.
func (n *Node) members(s *snapshot.Service) {
	c := s.Config
	var endpoints []resolve.Endpoint
	switch r := n.primaries[cmp.Or(s.Of, s.Name)]; {
	case s.Standbys != nil:
		endpoints = readable(n.readers[s.Name], r, s.Standbys.OrPrimary)
	case c.Engine == nil:
		endpoints = n.resolver.Endpoints(c.Name)
	default:
		if r.Primary != "" {
			endpoints = []resolve.Endpoint{{Name: r.Primary, Address: r.Address, Weight: 1}}
		}
		c = forPrimary(c)
	}
	n.pools[s.Name].Set(c, endpoints)
}

// forPrimary turns off what would take the only member out, or keep a former one in: who is primary is agreed elsewhere.
func forPrimary(c config.Service) config.Service {
	c.Outlier.Off, c.Breaker.Off = true, true
	c.OnMemberDown, c.DrainTimeout = "cut", 0
	c.Balance.SlowStart = 0
	return c
}

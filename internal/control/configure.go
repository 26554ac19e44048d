package control

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
)

// Configure replaces the services and this node's engines while the Control runs, and returns when what is not looked after
// any more is let go: nobody renews its lease from then on, and its instance is the caller's to stop. Services that stay go
// on as they are, with a new declaration; its timings and its name do not change. A service whose engine is another one, or
// that has one now, begins anew on this node.
func (c *Control) Configure(ctx context.Context, services []failover.Service, engines map[string]Engine) error {
	for _, u := range c.declare(services, engines) {
		select {
		case <-u.over:
			c.routes.drop(u.svc.Name)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case c.configured <- struct{}{}:
	default:
	}
	return nil
}

// declare makes the units those of the services, and returns the ones that are to end.
func (c *Control) declare(services []failover.Service, engines map[string]Engine) (ending []*unit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := map[string]*unit{}
	for _, s := range services {
		s = s.WithDefaults()
		if u := c.units[s.Name]; u != nil && u.engine == engines[s.Name] {
			next[s.Name] = u
			u.redeclare(s)
			continue
		}
		next[s.Name] = newUnit(c, s, engines[s.Name])
	}
	for name, u := range c.units {
		if next[name] == u {
			continue
		}
		if u.begun {
			u.end()
			ending = append(ending, u)
		}
	}
	c.units = next
	return ending
}

// start runs the units that do not run yet.
func (c *Control) start(ctx context.Context, parts *sync.WaitGroup) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range c.units {
		if u.begun {
			continue
		}
		u.begun = true
		ctx, cancel := context.WithCancel(ctx)
		u.end = cancel
		parts.Go(func() {
			defer close(u.over)
			defer cancel()
			u.run(ctx)
		})
	}
}

func (c *Control) unit(service string) *unit {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.units[service]
}

func (c *Control) all() map[string]*unit {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.units)
}

// redeclare gives the loop another declaration; the Control's mutex is held.
func (u *unit) redeclare(s failover.Service) {
	u.declared.Store(&s)
	u.wake()
}

// heed takes a new declaration in. Only what a loop alone reads is changed.
func (u *unit) heed(now time.Time) {
	s := u.declared.Swap(nil)
	if s == nil {
		return
	}
	for _, m := range u.svc.Members {
		if m.Node != u.c.o.Self && !slices.ContainsFunc(s.Members, func(o failover.Member) bool { return o.Node == m.Node }) {
			u.former[m.Node] = now.Add(u.svc.TTL)
		}
	}
	u.svc.Members, u.svc.Voters, u.svc.Protection, u.svc.Quorum = s.Members, s.Voters, s.Protection, s.Quorum
	u.svc.HoldDown, u.svc.MaxLag = s.HoldDown, s.MaxLag
}

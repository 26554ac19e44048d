package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/act/postgres"
	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/control"
	"github.com/backstay/backstay/internal/serve/pool"
)

// verifiers reads the password verifiers of services' roles.
type verifiers struct {
	mu sync.Mutex
	by map[string]*postgres.Verifiers // service
}

// verifiersOf returns what reads those of a service; nil where its engine has none.
func (s *stateful) verifiersOf(service string) *postgres.Verifiers {
	sc, ok := s.config().Service(service)
	if !ok || sc.Engine == nil || sc.Engine.Postgres == nil {
		return nil
	}
	passwords := sc.Engine.Postgres.Passwords
	path := passwords.Superuser
	if passwords == (config.PostgresPasswords{}) {
		path = s.secret(service, "superuser")
	}
	v := &s.verifiers
	v.mu.Lock()
	defer v.mu.Unlock()
	if one := v.by[service]; one != nil && one.Password == path {
		return one
	}
	if v.by == nil {
		v.by = map[string]*postgres.Verifiers{}
	}
	v.by[service] = &postgres.Verifiers{Password: path} // the connection of one before closes when it has been idle
	return v.by[service]
}

// rolePassword is asked when a client of a kept session logs in.
func (n *Node) rolePassword(ctx context.Context, service, address, role string) (string, []byte, error) {
	if n.stateful != nil {
		if v := n.stateful.verifiersOf(service); v != nil {
			return v.Lookup(ctx, address, role)
		}
	}
	return "", nil, fmt.Errorf("no service %s with the engine postgres", service)
}

// keeps says whether a listener of the service keeps sessions: their clients can be made to wait.
func (n *Node) keeps(service string) bool {
	snap := n.snapshot.Load()
	return snap != nil && slices.ContainsFunc(snap.Config.Listeners, func(l config.Listener) bool {
		return l.KeepSessions && l.Service == service && l.Standbys == nil
	})
}

// freeze lets new work of a service's clients wait, or go on.
func (n *Node) freeze(service string, on bool) *pool.Service {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.pools[service]
	if p != nil {
		p.Freeze(on)
	}
	return p
}

// settling sees to it that the loop hears when clients of a service have ended what they had begun.
type settling struct {
	plan string
	stop context.CancelFunc
}

// settle begins, or goes on, to let what is at work end for the plan that a route is held for. Where no sessions are kept, nothing can
// be waited for.
func (s *stateful) settle(ctx context.Context, r control.Route, now time.Time) (ending bool) {
	at := s.settling[r.Service]
	if !r.Hold || r.Plan == "" {
		s.unsettle(r.Service)
		return false
	}
	ending = r.Ending(now) && s.node.keeps(r.Service)
	if at.plan == r.Plan {
		return ending
	}
	if at.stop != nil {
		at.stop()
	}
	waiting, stop := context.WithCancel(ctx)
	s.settling[r.Service] = settling{plan: r.Plan, stop: stop}
	if !ending {
		s.control.Quiet(r.Service, r.Plan)
		return false
	}
	p := s.node.freeze(r.Service, true)
	go func() {
		if p == nil || p.Quiet(waiting) == nil {
			s.control.Quiet(r.Service, r.Plan)
		}
	}()
	return true
}

func (s *stateful) unsettle(service string) {
	if at, ok := s.settling[service]; ok {
		at.stop()
		delete(s.settling, service)
	}
}

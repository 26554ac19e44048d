// Package resolve turns the members of services, as configured, into endpoints with addresses to dial, and keeps those that
// DNS names stand for current. A failed look-up never takes addresses away.
package resolve

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
)

// Endpoint is one address of a member.
type Endpoint struct {
	// Name is the member's identity: its configured name (its address where it has none), or that, a slash and ip:port where a
	// name stands for several addresses. An address keeps the name it got first for as long as it stays.
	Name string
	// Address is what is dialled: ip:port, or unix:/path.
	Address string
	// Host is the DNS name that the address was looked up from; empty where it is configured as an address.
	Host string
	// Zone is where the member stands.
	Zone string
	// Weight is its share of the traffic.
	Weight int
	// Priority is its tier, 0 first.
	Priority int
}

// Options configures a Resolver.
type Options struct {
	// Log is for debugging.
	Log *slog.Logger
	// Servers are asked in order, as ip:port or ip; those of /etc/resolv.conf where empty.
	Servers []string
	// OnChange is told the endpoints of a service after a look-up changed them, from one goroutine, without any lock held. What
	// Set changes is not told. Where Set may be called meanwhile, Endpoints has the newest.
	OnChange func(service string, endpoints []Endpoint)
	// Append takes records of changed, failed and recovered look-ups.
	Append func(event.Record)
}

// Resolver keeps the endpoints of services.
type Resolver struct {
	o      Options
	lookUp func(context.Context, question) (answer, error)
	rand   func() float64 // in [0, 1)
	wake   chan struct{}  // capacity 1: names came

	mu       sync.Mutex
	services map[string]*service
	names    map[question]*name
}

// service is a service as configured, with what its members stand for.
type service struct {
	members   []config.Member
	endpoints []Endpoint
	labels    map[string]labels // by member
}

// name is what is known of one question.
type name struct {
	question question
	answer   answer
	known    bool   // there was an answer once
	problem  string // why the last look-up failed; empty when it did not
	failures int    // in a row
	due      time.Time
	busy     bool
}

// NewResolver returns a resolver without services. Run makes it look names up.
func NewResolver(o Options) *Resolver {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Resolver{
		o: o, lookUp: newSystem(o.Servers).look, rand: rand.Float64, wake: make(chan struct{}, 1),
		services: map[string]*service{}, names: map[question]*name{},
	}
}

// Set replaces the services and their members. Names that stay keep their addresses and schedule.
func (r *Resolver) Set(services map[string][]config.Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted := map[question]*name{}
	now := time.Now()
	for _, members := range services {
		for _, m := range members {
			q, _, ok := parse(m.Address)
			if !ok || wanted[q] != nil {
				continue
			}
			if wanted[q] = r.names[q]; wanted[q] == nil {
				wanted[q] = &name{question: q, due: now}
			}
		}
	}
	r.names = wanted
	before := r.services
	r.services = make(map[string]*service, len(services))
	for n, members := range services {
		s := &service{members: slices.Clone(members), labels: map[string]labels{}}
		if old := before[n]; old != nil {
			s.labels = old.labels
		}
		r.services[n] = s
		r.refresh(s)
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// refresh works out a service's endpoints anew and reports whether they changed. The lock is held.
func (r *Resolver) refresh(s *service) bool {
	var endpoints []Endpoint
	kept := map[string]labels{}
	for _, m := range s.members {
		q, port, ok := parse(m.Address)
		if !ok {
			endpoints = append(endpoints, static(m))
			continue
		}
		if n := r.names[q]; n.known {
			id := identity(m)
			var found []Endpoint
			found, kept[id] = expand(m, q, port, n.answer, s.labels[id])
			endpoints = append(endpoints, found...)
		}
	}
	s.labels = kept
	changed := !slices.Equal(s.endpoints, endpoints)
	s.endpoints = endpoints
	return changed
}

// Endpoints returns what the members of a service stand for now: configured addresses at once, names once they are looked up.
func (r *Resolver) Endpoints(service string) []Endpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.services[service]; s != nil {
		return slices.Clone(s.endpoints)
	}
	return nil
}

// sentence says what is wrong with a name and what it means.
func (n *name) sentence() string {
	meanwhile := "it has no address yet"
	switch k := len(n.answer.records); {
	case n.known && k == 1:
		meanwhile = "its last address stays in use"
	case n.known:
		meanwhile = fmt.Sprintf("its last %d addresses stay in use", k)
	}
	return fmt.Sprintf("%s cannot be looked up: %s; %s.", n.question.name, n.problem, meanwhile)
}

// static is the endpoint of a member whose address needs no look-up: an IP address or a unix socket.
func static(m config.Member) Endpoint {
	return Endpoint{Name: identity(m), Address: m.Address, Zone: m.Zone, Weight: m.Weight, Priority: m.Priority}
}

func identity(m config.Member) string { return cmp.Or(m.Name, m.Address) }

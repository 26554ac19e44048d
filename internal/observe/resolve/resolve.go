// Package resolve turns the members of services, as configured, into endpoints with addresses to dial, and keeps those that
// DNS names stand for current. A failed look-up never takes addresses away.
package resolve

import (
	"context"
	"log/slog"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
)

// Endpoint is one address of a member.
type Endpoint struct {
	// Name is the member's identity: its configured name (its address where it has none), or that, a slash and ip:port where a
	// name stands for several addresses.
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
type Resolver struct{}

// NewResolver returns a resolver without services. Run makes it look names up.
func NewResolver(o Options) *Resolver { panic("not yet") }

// Set replaces the services and their members. Names that stay keep their addresses and schedule.
func (r *Resolver) Set(services map[string][]config.Member) { panic("not yet") }

// Endpoints returns what the members of a service stand for now: configured addresses at once, names once they are looked up.
func (r *Resolver) Endpoints(service string) []Endpoint { panic("not yet") }

// Problems says which names of a service cannot be looked up at present and why, a sentence each.
func (r *Resolver) Problems(service string) []string { panic("not yet") }

// Run looks names up when their time has come, until ctx ends.
func (r *Resolver) Run(ctx context.Context) error { panic("not yet") }

// Static returns the endpoints of those members whose address needs no look-up: IP addresses and unix sockets.
func Static(members []config.Member) []Endpoint { panic("not yet") }

package snapshot

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/cache"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/protect"
	"github.com/backstay/backstay/internal/serve/transport"
	"github.com/backstay/backstay/resilience"
)

// Deps is what a picture is built from besides the configuration.
type Deps struct {
	// Pool returns the live state of a service, made on first use and kept across pictures.
	Pool func(service string) *pool.Service
	// Cache returns the live cache of a service that has one, made on first use and kept across pictures; nil makes one for the picture alone.
	Cache func(service string) *cache.Cache
	// Previous is the picture in force, whose rates go on where their settings stay; nil for none.
	Previous *Snapshot
	// EngineTLS returns how the members of a service with an engine are spoken to by a listener that knows their protocol; nil
	// without TLS.
	EngineTLS func(config.Service) (*tls.Config, error)
	// Modes are the node's degradation modes; nil makes some for the picture alone.
	Modes *protect.Modes
	// Sharing is about rates that all nodes have together.
	Sharing protect.Sharing
	// Metrics gives out the handles; nil counts nothing.
	Metrics *telemetry.Metrics
}

// Build makes the picture of a validated configuration. It reads the certificates and secrets that the configuration
// names and returns every error it meets; it changes nothing that is in use.
func Build(c *config.Config, deps Deps) (*Snapshot, error) {
	b := &builder{deps: deps, services: map[string]*Service{}}
	b.out = &Snapshot{Config: c, rates: map[string]*protect.Rate{}, http: map[string]*HTTPListener{}, tcp: map[string]*TCPListener{}, services: b.services}
	var errs []error
	for _, sc := range c.Services {
		s, err := b.service(sc)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		b.services[s.Name] = s
		b.out.Services = append(b.out.Services, s)
	}
	if len(errs) > 0 { // listeners refer to services: their errors would only repeat these
		return nil, errors.Join(errs...)
	}
	if err := b.link(c); err != nil {
		return nil, err
	}
	var err error
	if b.tokens, err = tokens(c.PriorityTokens); err != nil {
		return nil, err
	}
	for _, lc := range c.Listeners {
		if err := b.listener(lc); err != nil {
			errs = append(errs, fmt.Errorf("listener %s: %w", lc.ID(), err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return b.out, nil
}

type builder struct {
	deps     Deps
	services map[string]*Service
	tokens   *resilience.Tokens
	out      *Snapshot
}

func (b *builder) listener(c config.Listener) error {
	tls, err := serverTLS(c)
	if err != nil {
		return err
	}
	proxy, err := transport.NewProxyIn(c.ProxyProtocol, time.Duration(c.Timeout.Head))
	if err != nil {
		return err
	}
	metrics := b.deps.Metrics.Listener(c.ID())
	if c.Kind() == config.HTTP {
		l := &HTTPListener{Name: c.ID(), Config: c, TLS: tls, Proxy: proxy, Metrics: metrics}
		if l.Trust, err = newNetworks(c.Forwarded.Trust); err != nil {
			return fmt.Errorf("forwarded.trust: %w", err)
		}
		l.Modes, l.Tokens = b.out.Modes, b.tokens
		if l.Rate, err = b.rate("listener "+l.Name, c.Rate); err != nil {
			return err
		}
		for i := range c.Routes {
			r, err := b.route(l, i)
			if err != nil {
				return fmt.Errorf("route %s: %w", c.RouteID(i), err)
			}
			l.Routes = append(l.Routes, r)
		}
		b.out.HTTP = append(b.out.HTTP, l)
		b.out.http[l.Name] = l
		return nil
	}
	l := &TCPListener{Name: c.ID(), Config: c, TLS: tls, Proxy: proxy, Metrics: metrics}
	switch {
	case c.Standbys != nil:
		l.Service, err = b.standbys(c)
	case c.Service != "":
		l.Service, err = b.serviceNamed(c.Service)
	}
	if err != nil {
		return err
	}
	if c.KeepSessions && b.deps.EngineTLS != nil {
		if l.Service.EngineTLS, err = b.deps.EngineTLS(l.Service.Config); err != nil {
			return fmt.Errorf("TLS to the instances of %s: %w", c.Service, err)
		}
	}
	for _, sni := range c.SNI {
		s, err := b.serviceNamed(sni.Service)
		if err != nil {
			return err
		}
		r := SNIRoute{Service: s}
		for _, n := range sni.Names {
			r.Names = append(r.Names, strings.ToLower(n))
		}
		l.SNI = append(l.SNI, r)
	}
	b.out.TCP = append(b.out.TCP, l)
	b.out.tcp[l.Name] = l
	return nil
}

func serverTLS(c config.Listener) (*transport.ServerConfig, error) {
	if c.TLS == nil {
		return nil, nil
	}
	if c.Kind() != config.HTTP {
		return transport.ServerTLSPlain(c.TLS)
	}
	return transport.ServerTLS(c.TLS, c.HTTP2)
}

func (b *builder) serviceNamed(name string) (*Service, error) {
	if s := b.services[name]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("no service is named %q", name)
}

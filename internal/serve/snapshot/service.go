package snapshot

import (
	"crypto/tls"
	"fmt"
	"strconv"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/cache"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/protect"
	"github.com/backstay/backstay/internal/serve/transport"
	"github.com/backstay/backstay/resilience"
)

// Service is what a picture knows of a service: its live state, and the policies with which it is used.
type Service struct {
	Name      string
	Config    config.Service
	Pool      *pool.Service
	TLS       *tls.Config // towards members; nil without TLS; an empty ServerName stands for the host of the member's address
	EngineTLS *tls.Config // the same, within the protocol of the service's engine; nil without
	HTTP2     bool        // members speak HTTP/2
	Timeout   Timeout
	Retry     *Retry
	Fallbacks []Fallback
	// StaleLater says that others are asked before the cache where the service fails.
	StaleLater bool
	Spares     []Spare
	Rate       *protect.Rate // nil without
	Cache      *cache.Cache  // nil without
	Metrics    *telemetry.Service
	// Standbys says that the members are the standbys of the service with an engine that is named Of; nil where they are not.
	Standbys *config.Standbys
	Of       string
}

// Timeout bounds the phases of a request to a member. 0 is no bound.
type Timeout struct{ Connect, FirstByte, Idle, Total time.Duration }

// Retry says what is tried again, how often, and with what delay.
type Retry struct {
	Attempts                int // the first included
	Backoff                 resilience.Backoff
	Connect, Reset, Timeout bool  // failures that are tried again where that is safe
	Body                    int64 // bytes of a request's body kept for another try
	Unsafe                  bool  // methods that are not idempotent too

	status [16]uint64 // bitset of the codes that are tried again
}

// Status reports whether an answer with this code is tried again where that is safe.
func (r *Retry) Status(code int) bool {
	return code > 0 && code < 64*len(r.status) && r.status[code>>6]&(1<<(code&63)) != 0
}

func newTimeout(c config.Timeout) Timeout {
	return Timeout{
		Connect: time.Duration(c.Connect), FirstByte: time.Duration(c.FirstByte),
		Idle: time.Duration(c.Idle), Total: time.Duration(c.Total),
	}
}

func newRetry(c config.Retry) (*Retry, error) {
	r := &Retry{
		Attempts: c.Attempts, Body: int64(c.Body), Unsafe: c.Unsafe,
		Backoff: resilience.Backoff{Initial: time.Duration(c.Initial), Factor: c.Factor, Max: time.Duration(c.Max)},
	}
	for _, on := range c.On {
		switch on {
		case "connect":
			r.Connect = true
		case "reset":
			r.Reset = true
		case "timeout":
			r.Timeout = true
		default:
			code, err := strconv.Atoi(on)
			if err != nil || code < 400 || code > 599 {
				return nil, fmt.Errorf("retry on %q: not connect, reset, timeout or a status code from 400 to 599", on)
			}
			r.status[code>>6] |= 1 << (code & 63)
		}
	}
	return r, nil
}

func (b *builder) service(c config.Service) (*Service, error) {
	retry, err := newRetry(c.Retry)
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", c.Name, err)
	}
	s := &Service{
		Name: c.Name, Config: c, Pool: b.deps.Pool(c.Name), HTTP2: c.Protocol == "http2",
		Timeout: newTimeout(c.Timeout), Retry: retry, Metrics: b.deps.Metrics.Service(c.Name),
	}
	if c.TLS != nil {
		if s.TLS, err = transport.ClientTLS(c.TLS, "", alpn(s.HTTP2)); err != nil {
			return nil, fmt.Errorf("service %s: tls: %w", c.Name, err)
		}
	}
	s.Fallbacks, s.StaleLater = fallbacks(c)
	if s.Rate, err = b.rate("service "+c.Name, c.Rate); err != nil {
		return nil, fmt.Errorf("service %s: %w", c.Name, err)
	}
	s.Cache = b.cache(c)
	return s, nil
}

// standbys makes the service that a listener's sessions go to where they go to standbys: as the service itself is, with a
// pool, and all that is counted, of its own.
func (b *builder) standbys(l config.Listener) (*Service, error) {
	of, err := b.serviceNamed(l.Service)
	if err != nil {
		return nil, err
	}
	c := of.Config
	c.Name, c.DrainTimeout, c.Fallback, c.Cache = l.Pool(), l.Standbys.Drain, nil, nil
	s, err := b.service(c)
	if err != nil {
		return nil, err
	}
	s.Standbys, s.Of = l.Standbys, l.Service
	b.services[s.Name] = s
	b.out.Services = append(b.out.Services, s)
	return s, nil
}

func alpn(http2 bool) []string {
	if http2 {
		return []string{"h2"}
	}
	return []string{"http/1.1"}
}

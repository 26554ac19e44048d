package snapshot

import (
	"fmt"
	"math/rand/v2"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/protect"
	"github.com/backstay/backstay/resilience"
)

// Route says where matching requests go: to one of its targets, or to a fixed answer.
type Route struct {
	Name            string
	Match           Match
	Targets         []Target // by weight; empty with Redirect or Respond
	Redirect        *Redirect
	Respond         *Respond
	Mirror          *Mirror
	Cache           bool // the cache of the service takes part
	Rewrite         *Rewrite
	RequestHeaders  *HeaderEdit
	ResponseHeaders *HeaderEdit
	Priority        resilience.Priority
	Ranked          bool             // somebody has said that priority
	Rate            *protect.Rate    // nil without
	Metrics         *telemetry.Route // of fixed answers; nil where there are targets

	weights int // sum over Targets
}

// Target is one service a route may choose, with the policies that hold on this route.
type Target struct {
	Service *Service
	Weight  int
	Timeout Timeout
	Retry   *Retry
	Metrics *telemetry.Route
}

// Mirror sends copies of requests to a second service.
type Mirror struct {
	Service *Service
	Share   float64 // 0 to 1
}

// Wanted draws whether this request is copied.
func (m *Mirror) Wanted() bool { return m.Share >= 1 || rand.Float64() < m.Share }

// Target draws one of the targets by weight; nil where the route has a fixed answer.
func (r *Route) Target() *Target {
	switch len(r.Targets) {
	case 0:
		return nil
	case 1:
		return &r.Targets[0]
	}
	n := rand.IntN(r.weights)
	for i := range r.Targets {
		if n -= r.Targets[i].Weight; n < 0 {
			return &r.Targets[i]
		}
	}
	return &r.Targets[len(r.Targets)-1]
}

func (b *builder) route(l *HTTPListener, i int) (*Route, error) {
	c := l.Config.Routes[i]
	r := &Route{Name: l.Config.RouteID(i), Cache: c.Cache}
	if err := b.targets(r, l, c); err != nil {
		return nil, err
	}
	r.Priority, r.Ranked = rank(l.Config, c)
	if len(r.Targets) == 0 {
		r.Metrics = b.deps.Metrics.Route(l.Name, r.Name, "")
	}
	var err error
	if r.Rate, err = b.rate("route "+l.Name+" "+r.Name, c.Rate); err != nil {
		return nil, err
	}
	if r.Match, err = newMatch(c.Match); err != nil {
		return nil, fmt.Errorf("match: %w", err)
	}
	if r.Rewrite, err = newRewrite(c.Rewrite); err != nil {
		return nil, fmt.Errorf("rewrite: %w", err)
	}
	if r.RequestHeaders, err = newHeaderEdit(c.RequestHeaders); err != nil {
		return nil, fmt.Errorf("request_headers: %w", err)
	}
	if r.ResponseHeaders, err = newHeaderEdit(c.ResponseHeaders); err != nil {
		return nil, fmt.Errorf("response_headers: %w", err)
	}
	if c.Mirror != nil {
		r.Mirror = &Mirror{Share: float64(c.Mirror.Share) / 100}
		if r.Mirror.Service, err = b.serviceNamed(c.Mirror.Service); err != nil {
			return nil, fmt.Errorf("mirror: %w", err)
		}
	}
	if c.Redirect != nil {
		r.Redirect = &Redirect{config: *c.Redirect}
	}
	if c.Respond != nil {
		r.Respond = newRespond(c.Respond)
	}
	return r, nil
}

func (b *builder) targets(r *Route, l *HTTPListener, c config.Route) error {
	split := c.Split
	if c.Service != "" {
		split = []config.Split{{Service: c.Service, Weight: 1}}
	}
	for _, sp := range split {
		if sp.Weight == 0 {
			continue
		}
		s, err := b.serviceNamed(sp.Service)
		if err != nil {
			return err
		}
		t := Target{Service: s, Weight: sp.Weight, Timeout: s.Timeout, Retry: s.Retry}
		t.Metrics = b.deps.Metrics.Route(l.Name, r.Name, s.Name)
		if c.Timeout != nil {
			t.Timeout = newTimeout(*c.Timeout)
		}
		if c.Retry != nil {
			if t.Retry, err = newRetry(*c.Retry); err != nil {
				return err
			}
		}
		r.weights += sp.Weight
		r.Targets = append(r.Targets, t)
	}
	return nil
}

package node

import (
	"context"
	"runtime"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/control"
	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/observe/health"
	"github.com/backstay/backstay/internal/observe/resolve"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/operate/api"
	"github.com/backstay/backstay/internal/serve/cache"
	"github.com/backstay/backstay/internal/serve/httpproxy"
	"github.com/backstay/backstay/internal/serve/pgproxy"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/protect"
	"github.com/backstay/backstay/internal/serve/snapshot"
	"github.com/backstay/backstay/internal/serve/tcpproxy"
	"github.com/backstay/backstay/internal/serve/transport"
)

// build makes the whole system; nothing runs yet.
func build(o Options, self config.Node) *Node {
	n := &Node{
		options: o, log: o.Log.With("component", "node"), self: self, started: time.Now(),
		pools: map[string]*pool.Service{}, primaries: map[string]control.Route{}, readers: map[string][]failover.Reader{}, serving: map[string]*serving{},
	}
	n.state.Store(api.NodeStarting)

	// know
	n.events = event.NewLog(event.Options{Node: self.Name, Path: eventsFile(o.Data), Log: o.Log.With("component", "event")})
	n.metrics = telemetry.NewMetrics(nil)
	n.metrics.SetBuild(o.Version, runtime.Version(), self.Name)
	n.access = telemetry.NewAccessLog(telemetry.AccessOptions{Metrics: n.metrics, Log: o.Log.With("component", "access_log")})
	n.tracer = telemetry.NewTracer(telemetry.TracerOptions{Node: self.Name, Version: o.Version, Metrics: n.metrics, Log: o.Log.With("component", "trace")})

	n.metrics.SetRates(n.rateSamples)
	n.metrics.SetCertificates(n.certificateSamples)

	// observe
	n.resolver = resolve.NewResolver(resolve.Options{Log: o.Log.With("component", "resolve"), OnChange: n.onEndpoints, Append: n.append})
	n.monitor = health.NewMonitor(health.Options{Log: o.Log.With("component", "health"), OnTransition: n.onTransition, OnResult: n.onResult})

	// serve
	n.caches = cache.NewSet()
	n.modes = protect.NewModes(n.signals(), n.append)
	n.listeners = transport.NewListeners(o.Log.With("component", "listen"))
	n.http = httpproxy.New(httpproxy.Options{Snapshot: &n.snapshot, Access: n.access, Tracer: n.tracer, Log: o.Log.With("component", "http")})
	n.tcp = tcpproxy.New(tcpproxy.Options{Snapshot: &n.snapshot, Access: n.access, Metrics: n.metrics, Log: o.Log.With("component", "tcp")})
	n.sessions = pgproxy.New(pgproxy.Options{
		Snapshot: &n.snapshot, Lookup: n.rolePassword, Access: n.access, Metrics: n.metrics, Log: o.Log.With("component", "sessions"),
	})
	return n
}

// parts lists what runs, in the order of starting; stopping is in reverse.
func (n *Node) parts() *group {
	g := &group{}
	g.Add("event log", n.events.Run)
	g.Add("access log", n.access.Run)
	g.Add("traces", n.tracer.Run)
	g.Add("resolver", n.resolver.Run)
	g.Add("health", n.monitor.Run)
	if n.stateful != nil {
		g.Add("cluster", n.stateful.Run)
	}
	g.Add("admin", api.NewServer(api.Options{
		Socket: n.options.socket(), System: n, Metrics: n.metrics.Handler(), Version: n.options.Version, Log: n.options.Log.With("component", "api"),
	}).Run)
	g.Add("caches", n.caches.Run)
	g.Add("modes", n.modes.Run)
	g.Add("shared rates", n.leases.Run)
	g.Add("http", n.http.Run)
	return g
}

func (n *Node) append(r event.Record) { n.events.Append(r) }

// onResult and onTransition carry what the probes find to the data plane.
func (n *Node) onResult(t health.Target, r health.Result) {
	n.metrics.Member(t.Service, t.Member).Probed(r.OK, r.Took)
	if p := n.pool(t.Service); p != nil && r.OK {
		p.GoodProbe(t.Member)
	}
}

func (n *Node) onTransition(t health.Transition) {
	if p := n.pool(t.Service); p != nil {
		p.SetHealth(t.Member, t.To)
	}
}

// onEndpoints puts the new addresses of a service's names in force.
func (n *Node) onEndpoints(service string, endpoints []resolve.Endpoint) {
	n.mu.Lock()
	defer n.mu.Unlock()
	snap := n.snapshot.Load()
	if snap == nil {
		return
	}
	n.renew(func(s *snapshot.Service) bool { return s.Name == service })
	n.monitor.Set(n.targets(snap.Config))
}

// pool finds a service's live state through the snapshot, so that probes never wait for a reload.
func (n *Node) pool(service string) *pool.Service {
	snap := n.snapshot.Load()
	if snap == nil {
		return nil
	}
	return snap.Pool(service)
}

// Events implements api.System.
func (n *Node) Events(ctx context.Context, q api.EventQuery, emit func(event.Record) error) error {
	return api.FollowLog(ctx, n.events, q, emit)
}

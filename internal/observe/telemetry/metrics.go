package telemetry

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics holds every handle of one node and exposes them to Prometheus. A nil *Metrics gives nil handles.
type Metrics struct {
	gatherer prometheus.Gatherer
	node     nodeCounters

	listeners table[string, *Listener]
	routes    table[routeKey, *Route]
	services  table[string, *Service]
	members   table[memberKey, *Member]
	sessions  table[sessionsKey, *Sessions]
	rates     atomic.Pointer[func() []RateSample]

	certificates atomic.Pointer[func() []CertificateSample]
}

// NewMetrics registers the node's metrics, and those of the Go runtime and the process, with reg. With nil it makes
// a registry of its own. It panics when reg already holds metrics of another Metrics: give each node its registry.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{gatherer: prometheus.DefaultGatherer}
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	if g, ok := reg.(prometheus.Gatherer); ok {
		m.gatherer = g
	}
	m.listeners.init()
	m.routes.init()
	m.services.init()
	m.members.init()
	m.sessions.init()
	reg.MustRegister(m)
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		_ = reg.Register(c) // only fails when the registry has it already
	}
	return m
}

// Handler serves the metrics in every format that Prometheus asks for; native histograms need its protobuf format.
func (m *Metrics) Handler() http.Handler {
	if m == nil {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(m.gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// SetBuild says which version runs on which node; it becomes the labels of backstay_build_info.
func (m *Metrics) SetBuild(version, goVersion, node string) {
	if m != nil {
		m.node.build.Store(&[3]string{version, goVersion, node})
	}
}

// CertificateSample is a certificate that a listener has in use.
type CertificateSample struct {
	Listener, File string
	Expires        time.Time
}

// SetCertificates says who knows of the listeners' certificates.
func (m *Metrics) SetCertificates(read func() []CertificateSample) {
	if m != nil {
		m.certificates.Store(&read)
	}
}

// RateSample is this node's share of a rate that all nodes have together.
type RateSample struct {
	Name         string
	Share, Total float64
	Leased       bool
}

// SetRates says who knows of shared rates.
func (m *Metrics) SetRates(read func() []RateSample) {
	if m != nil {
		m.rates.Store(&read)
	}
}

// SetReady says whether the node takes new work: false before it is ready, in lame duck and while it drains.
func (m *Metrics) SetReady(ready bool) {
	if m != nil {
		m.node.ready.Store(ready)
	}
}

// Reloaded counts an attempt to apply a configuration at the given time and says whether it was applied.
func (m *Metrics) Reloaded(ok bool, at time.Time) {
	if m == nil {
		return
	}
	m.node.reloadOK.Store(ok)
	if ok {
		m.node.reloads.Add(1)
		m.node.reloadedAt.Store(at.UnixMilli())
		return
	}
	m.node.reloadsRefused.Add(1)
}

// SetConfigVersion says which version of the cluster's configuration is in force; 0 where a file is.
func (m *Metrics) SetConfigVersion(version int) {
	if m != nil {
		m.node.configVersion.Store(int64(version))
	}
}

// SetCertificate says when this node's certificate within the cluster expires.
func (m *Metrics) SetCertificate(expires time.Time) {
	if m != nil {
		m.node.certificate.Store(expires.Unix())
	}
}

// Labels are the names of one handle; those it does not have are empty.
type Labels struct{ Listener, Route, Service, Member string }

// Retain removes the series of every handle for which keep is false. Called after a reload is committed, so that what
// is no longer configured is no longer shown.
func (m *Metrics) Retain(keep func(Labels) bool) {
	if m == nil {
		return
	}
	m.listeners.retain(func(k string) bool { return keep(Labels{Listener: k}) })
	m.routes.retain(func(k routeKey) bool {
		return keep(Labels{Listener: k.listener, Route: k.route, Service: k.service})
	})
	m.services.retain(func(k string) bool { return keep(Labels{Service: k}) })
	m.members.retain(func(k memberKey) bool { return keep(Labels{Service: k.service, Member: k.member}) })
	m.sessions.retain(func(k sessionsKey) bool { return keep(Labels{Listener: k.listener, Service: k.service}) })
}

// nodeCounters are the metrics of the node as a whole.
type nodeCounters struct {
	build          atomic.Pointer[[3]string]
	ready          atomic.Bool
	reloadOK       atomic.Bool
	reloads        atomic.Uint64
	reloadsRefused atomic.Uint64
	reloadedAt     atomic.Int64 // milliseconds since 1970; 0 = never
	configVersion  atomic.Int64
	certificate    atomic.Int64 // seconds since 1970; 0 = there is none
	accessWritten  atomic.Uint64
	accessDropped  atomic.Uint64
	spansExported  atomic.Uint64
	spansFailed    atomic.Uint64
}

// table keeps one handle for each key. It is never touched on the hot path.
type table[K comparable, H any] struct {
	mu sync.Mutex
	m  map[K]H
}

func (t *table[K, H]) init() { t.m = map[K]H{} }

func (t *table[K, H]) get(k K, fresh func() H) H {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, ok := t.m[k]
	if !ok {
		h = fresh()
		t.m[k] = h
	}
	return h
}

// remove deletes k if is says that its handle is the one meant: a handle that was removed and made anew stays.
func (t *table[K, H]) remove(k K, is func(H) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h, ok := t.m[k]; ok && is(h) {
		delete(t.m, k)
	}
}

func (t *table[K, H]) retain(keep func(K) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := range t.m {
		if !keep(k) {
			delete(t.m, k)
		}
	}
}

// all returns the handles as they are now.
func (t *table[K, H]) all() []H {
	t.mu.Lock()
	defer t.mu.Unlock()
	hs := make([]H, 0, len(t.m))
	for _, h := range t.m {
		hs = append(hs, h)
	}
	return hs
}

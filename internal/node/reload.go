package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/observe/health"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/operate/api"
	"github.com/backstay/backstay/internal/serve/cache"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/snapshot"
	"github.com/backstay/backstay/internal/serve/transport"
)

// loaded is a configuration that was read and found valid.
type loaded struct {
	config   *config.Config
	source   string
	revision string
}

func load(path string) (*loaded, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	c, err := config.Parse(path, text)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	return &loaded{config: c, source: path, revision: hex.EncodeToString(sum[:4])}, nil
}

// Reload implements api.System: it reads the configuration again and puts it in force, or changes nothing and says why.
func (n *Node) Reload(context.Context) (api.Reloaded, error) {
	l, err := load(n.options.Config)
	var out api.Reloaded
	if err == nil {
		out, err = n.apply(l)
	}
	if err != nil {
		n.metrics.Reloaded(false, time.Now())
		n.mu.Lock()
		n.inForce.Refused = err.Error()
		n.mu.Unlock()
		n.events.Append(event.Record{Kind: event.ConfigRefused, Message: "the configuration was refused; the one in force stays", Evidence: err.Error()})
		n.log.Error("configuration refused", "error", err)
		lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
		return out, &api.Error{Kind: api.Refused, Message: "the configuration was refused and nothing was changed", Details: lines}
	}
	return out, nil
}

// apply stages all that can fail aside, then commits.
func (n *Node) apply(l *loaded) (api.Reloaded, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	st, err := n.stage(l)
	if err != nil {
		return api.Reloaded{}, err
	}
	return n.commit(l, st), nil
}

// staged is all that a commit needs; making it changed nothing but opened sockets, which discard closes.
type staged struct {
	node     config.Node
	snapshot *snapshot.Snapshot
	pools    map[string]*pool.Service
}

func (n *Node) stage(l *loaded) (*staged, error) {
	st := &staged{pools: map[string]*pool.Service{}}
	var err error
	if st.node, err = identity(l.config, n.options.Name); err != nil {
		return nil, err
	}
	if err := n.sameEngines(l.config); err != nil {
		return nil, err
	}
	if err := telemetry.CheckAccessLog(l.config.AccessLog); err != nil {
		return nil, fmt.Errorf("access_log: %w", err)
	}
	st.snapshot, err = snapshot.Build(l.config, snapshot.Deps{Metrics: n.metrics, Previous: n.snapshot.Load(), Modes: n.modes, Cache: n.caches.Get, Pool: func(name string) *pool.Service {
		if p := n.pools[name]; p != nil {
			st.pools[name] = p
		} else if st.pools[name] == nil {
			st.pools[name] = pool.NewService(name, pool.Options{Zone: st.node.Zone, Log: n.options.Log.With("component", "pool"), Append: n.append, Metrics: n.metrics})
		}
		return st.pools[name]
	}})
	var errs []error
	if err != nil {
		errs = append(errs, err)
	}
	for _, address := range addresses(l.config) {
		if _, err := n.listeners.Open(address); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		n.discard(st)
		return nil, errors.Join(errs...)
	}
	return st, nil
}

// discard takes back what staging opened.
func (n *Node) discard(st *staged) {
	for name, p := range st.pools {
		if n.pools[name] == nil {
			p.Close()
		}
	}
	var inUse []string
	if snap := n.snapshot.Load(); snap != nil {
		inUse = addresses(snap.Config)
	}
	n.listeners.Keep(inUse...)
}

// commit cannot fail. Services know their members before the first request can reach them, and lose them after the last.
func (n *Node) commit(l *loaded, st *staged) api.Reloaded {
	old := n.snapshot.Load()
	n.self = st.node
	members := map[string][]config.Member{}
	for _, s := range l.config.Services {
		members[s.Name] = s.Members
	}
	n.resolver.Set(members)
	gone := n.pools
	n.pools = st.pools
	for _, s := range st.snapshot.Services {
		n.members(s)
	}
	n.caches.Apply(n.cacheOptions(l.config))
	n.inheritTLS(old, st.snapshot)
	n.snapshot.Store(st.snapshot)
	n.modes.Set(st.snapshot.StagedModes)
	n.monitor.Set(n.targets(l.config))
	n.access.Set(l.config.AccessLog)
	n.tracer.Set(l.config.Tracing)
	n.listen(st.snapshot)
	n.listeners.Keep(addresses(l.config)...)
	for name, p := range gone {
		if n.pools[name] == nil {
			p.Set(config.Service{Name: name}, nil) // its members are drained, then gone
		}
	}
	n.metrics.Retain(n.configured)
	return n.account(l, old)
}

// cacheOptions is what the services want of their caches.
func (n *Node) cacheOptions(c *config.Config) map[string]cache.Options {
	all := map[string]cache.Options{}
	for _, s := range c.Services {
		if o, ok := snapshot.CacheOptions(s); ok {
			o.Log = n.options.Log.With("component", "cache", "service", s.Name)
			all[s.Name] = o
		}
	}
	return all
}

// account says what changed.
func (n *Node) account(l *loaded, old *snapshot.Snapshot) api.Reloaded {
	out := api.Reloaded{Revision: l.revision, Changed: n.inForce.Revision != l.revision}
	if old != nil {
		for _, c := range config.Diff(old.Config, l.config) {
			out.Changes = append(out.Changes, c.String())
		}
	}
	n.inForce = api.ConfigStatus{Revision: l.revision, Source: l.source, Loaded: time.Now()}
	n.metrics.Reloaded(true, n.inForce.Loaded)
	n.events.Append(event.Record{
		Kind: event.ConfigApplied, Message: fmt.Sprintf("configuration %s of %s is in force", l.revision, l.source), Evidence: strings.Join(out.Changes, "; "),
	})
	return out
}

// configured reports whether the labels of a metric are those of something the configuration in force has.
func (n *Node) configured(l telemetry.Labels) bool {
	c := n.snapshot.Load().Config
	if l.Listener != "" {
		if _, ok := c.Listener(l.Listener); !ok {
			return false
		}
	}
	return l.Service == "" || n.pools[l.Service] != nil
}

// targets lists what the probes look at: every endpoint of every service with a check.
func (n *Node) targets(c *config.Config) []health.Target {
	var out []health.Target
	for _, s := range c.Services {
		if s.Check == nil {
			continue
		}
		for _, e := range n.resolver.Endpoints(s.Name) {
			out = append(out, health.Target{
				Service: s.Name, Member: e.Name, Address: e.Address, Host: e.Host, Protocol: s.Protocol, Check: *s.Check, TLS: s.TLS,
			})
		}
	}
	return out
}

// inheritTLS lets clients resume their TLS sessions across a reload.
func (n *Node) inheritTLS(old, next *snapshot.Snapshot) {
	for name, tls := range next.TLS() {
		tls.OnChange = n.onCertificate
		if old == nil {
			continue
		}
		if prev := old.TLS()[name]; prev != nil {
			tls.Inherit(prev)
		}
	}
}

func (n *Node) onCertificate(c transport.FileChange) {
	r := event.Record{Kind: event.CertificateReloaded, Message: fmt.Sprintf("%s changed and is in use", c.File)}
	switch {
	case c.Err != nil:
		r.Kind, r.Message, r.Evidence = event.CertificateFailed, fmt.Sprintf("%s changed but cannot be used; the old content stays", c.File), c.Err.Error()
	case !c.NotAfter.IsZero():
		r.Message += "; it expires " + c.NotAfter.UTC().Format(time.RFC3339)
	}
	n.events.Append(r)
}

// addresses lists where a configuration listens.
func addresses(c *config.Config) []string {
	var out []string
	for _, l := range c.Listeners {
		out = append(out, l.Listen)
	}
	if c.Metrics != nil {
		out = append(out, c.Metrics.Listen)
	}
	return out
}

// sameEngines refuses changes of what can be changed only by starting the node again.
func (n *Node) sameEngines(c *config.Config) error {
	snap := n.snapshot.Load()
	if snap == nil {
		return nil
	}
	describe := func(c *config.Config) string {
		text, _ := json.Marshal([]any{c.Cluster, c.Nodes, c.Store, c.Engines()})
		return string(text)
	}
	if len(c.Engines())+len(snap.Config.Engines()) > 0 && describe(c) != describe(snap.Config) {
		return errors.New("nodes, store and services with an engine cannot be changed by a reload: start the nodes again, one after the other, a primary's last")
	}
	return nil
}

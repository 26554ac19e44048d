package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/cluster/versions"
	"github.com/backstay/backstay/internal/observe/health"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/operate/api"
	"github.com/backstay/backstay/internal/serve/cache"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/snapshot"
	"github.com/backstay/backstay/internal/serve/transport"
)

// Reload implements api.System: it reads the configuration again and puts it in force, or changes nothing and says why. In a
// cluster with a version of its own that one is loaded again, secrets and certificates anew, and a file that differs is not
// used.
func (n *Node) Reload(context.Context) (api.Reloaded, error) {
	v := n.newestVersion()
	var l *loaded
	var err error
	source := n.options.Config
	switch {
	case v != nil:
		source = title(*v)
		l, err = parseVersion(*v)
	case source == "":
		return api.Reloaded{}, api.Errorf(api.Refused, "this node was started without --config and no version of the cluster is known yet")
	default:
		l, err = load(source)
	}
	if err != nil {
		n.refused(source, err)
		return api.Reloaded{}, refusal(err)
	}
	out, err := n.put(l)
	if err != nil {
		return out, refusal(err)
	}
	if v == nil {
		return out, nil
	}
	out.Version = v.Number
	if path := n.options.differing(*v); path != "" {
		return out, n.diverging(*v, path)
	}
	return out, nil
}

// newestVersion is the cluster's newest, or the one in force while that is not known; nil where there is none.
func (n *Node) newestVersion() *versions.Version {
	if n.stateful != nil {
		if v := n.stateful.follow.Newest(); v != nil {
			return v
		}
	}
	return n.versionInForce()
}

// diverging explains why a file that was to be read again was not.
func (n *Node) diverging(v versions.Version, path string) error {
	err := api.Errorf(api.Refused, "version %d of the cluster is in force, %s; it was loaded again. %s differs from it and was not used: "+
		"`backstay apply %s` puts it in force on every node, `backstay history %d` prints what is", v.Number, credit(v), path, path, v.Number)
	n.events.Append(event.Record{Kind: event.ConfigRefused, Message: fmt.Sprintf("%s was not used: version %d of the cluster is in force", path, v.Number), Evidence: err.Message})
	n.log.Warn("a file that differs from the cluster's configuration was not used", "file", path, "version", v.Number)
	return err
}

func refusal(err error) error {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return &api.Error{Kind: api.Refused, Message: "the configuration was refused and nothing was changed", Details: lines}
}

// refused says everywhere that a configuration was not put in force.
func (n *Node) refused(source string, err error) {
	n.metrics.Reloaded(false, time.Now())
	n.mu.Lock()
	told := n.inForce.Refused == err.Error()
	n.inForce.Refused = err.Error()
	n.mu.Unlock()
	if told {
		return // it is tried again and again
	}
	n.events.Append(event.Record{Kind: event.ConfigRefused, Message: source + " was refused; the configuration in force stays", Evidence: err.Error()})
	n.log.Error("configuration refused", "source", source, "error", err)
}

// put puts a configuration in force, or changes nothing and says everywhere why.
func (n *Node) put(l *loaded) (api.Reloaded, error) {
	out, err := n.apply(l)
	if err != nil {
		n.refused(l.source, err)
	}
	return out, err
}

// try stages a configuration and takes everything back.
func (n *Node) try(l *loaded) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	st, err := n.stage(l)
	if err == nil {
		n.discard(st)
		n.metrics.Retain(n.configured)
	}
	return err
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
	if st.node, err = n.identify(l.config); err != nil {
		return nil, err
	}
	if err := n.compatible(l.config); err != nil {
		return nil, err
	}
	if err := dataFolder(n.options.Data, l.config); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := telemetry.CheckAccessLog(l.config.AccessLog); err != nil {
		return nil, fmt.Errorf("access_log: %w", err)
	}
	st.snapshot, err = snapshot.Build(l.config, snapshot.Deps{Metrics: n.metrics, Previous: n.snapshot.Load(), Modes: n.modes, EngineTLS: n.engineTLS, Cache: n.caches.Get, Sharing: n.sharing(l.config), Pool: func(name string) *pool.Service {
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
	n.leases.Set(st.snapshot.Shares())
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
	if n.stateful != nil {
		n.stateful.crew.Want(l.config)
	}
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
	before := n.version
	n.inForce, n.version = api.ConfigStatus{Revision: l.revision, Source: l.source, Loaded: time.Now()}, l.version
	number := 0
	if v := l.version; v != nil {
		number = v.Number
		if before == nil || before.ID != v.ID {
			n.tellVersion(*v)
		}
	}
	n.metrics.SetConfigVersion(number)
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
		listener, ok := c.Listener(l.Listener)
		if !ok || l.Route != "" && !listener.HasRoute(l.Route) {
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

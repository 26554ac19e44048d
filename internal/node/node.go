// Package node puts the parts of a running node together and nothing else: build.go is the whole system on a page,
// reload.go carries a changed configuration into it, status.go is what people see of it. No part knows this package.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/cluster/versions"
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

// Options says what to run.
type Options struct {
	Config  string // path of the configuration; may be empty where the node has a copy of the cluster's
	Name    string // which of the configuration's nodes this is; the host name when empty
	Data    string // folder for what is kept between runs; made where missing
	Socket  string // admin socket; admin.sock in Data when empty
	Version string
	Log     *slog.Logger
	Reload  <-chan os.Signal // each signal reloads; may be nil
}

// Node is one running Backstay.
type Node struct {
	options Options
	log     *slog.Logger
	started time.Time
	self    config.Node

	events    *event.Log
	metrics   *telemetry.Metrics
	access    *telemetry.AccessLog
	tracer    *telemetry.Tracer
	resolver  *resolve.Resolver
	monitor   *health.Monitor
	listeners *transport.Listeners
	http      *httpproxy.Server
	tcp       *tcpproxy.Server
	sessions  *pgproxy.Server
	caches    *cache.Set
	modes     *protect.Modes
	leases    leases
	stateful  *stateful // nil where no service has an engine
	snapshot  atomic.Pointer[snapshot.Snapshot]
	state     atomic.Value // api.NodeState

	mu           sync.Mutex // one reload, drain or change of endpoints at a time
	pools        map[string]*pool.Service
	primaries    map[string]control.Route     // of services with an engine
	readers      map[string][]failover.Reader // by pool, and of services with an engine
	serving      map[string]*serving          // by listener address
	certificates *serving                     // follows the files of the picture in force
	inForce      api.ConfigStatus
	version      *versions.Version // of the cluster, that is in force; nil: a file is
}

// Run runs a node until ctx ends, then takes leave as the configuration says. A configuration that cannot be used at
// the start is an error; later it changes nothing.
func Run(ctx context.Context, o Options) error {
	candidates, err := begin(o)
	if err != nil {
		return err
	}
	first := candidates[0]
	self, err := identity(first.config, o.Name)
	if err != nil {
		return err
	}
	if err := dataFolder(o.Data, first.config); err != nil {
		return fmt.Errorf("data folder: %w; choose another with --data", err)
	}
	release, err := own(o.Data)
	if err != nil {
		return fmt.Errorf("data folder: %w; choose another with --data", err)
	}
	defer release()
	n := build(o, self)
	if err := n.events.Open(); err != nil {
		return fmt.Errorf("event log: %w", err)
	}
	n.events.Append(event.Record{Kind: event.NodeStarted, Message: "version " + o.Version + " starts"})
	if n.stateful, err = newStateful(n, first.config); err != nil {
		return err
	}
	g := n.parts()
	g.Add("serve", func(ctx context.Context) error { return n.serve(ctx, candidates) })
	err = g.Run(ctx)
	if n.stateful != nil && n.stateful.leaving.Load() {
		err = errors.Join(err, retire(o.Data))
		n.log.Info("this node has left the cluster; what it kept of it was put aside", "data", o.Data)
	}
	return errors.Join(err, n.listeners.Close())
}

func eventsFile(data string) string { return filepath.Join(data, "events.jsonl") }

// dataFolder makes the node's folder: nobody else may look into it. An engine's instance may run as another user, who has
// to get through to its own data.
func dataFolder(path string, c *config.Config) error {
	if err := os.MkdirAll(path, 0o700); err != nil || len(c.Engines()) == 0 {
		return err
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o011 == 0o011 {
		return err
	}
	return os.Chmod(path, info.Mode().Perm()|0o011)
}

// serve begins to serve with the first of the candidates that can be put in force, follows reload signals, and takes leave
// when ctx ends.
func (n *Node) serve(ctx context.Context, candidates []*loaded) error {
	var errs []error
	for _, l := range candidates {
		_, err := n.put(l)
		if err == nil {
			break
		}
		errs = append(errs, fmt.Errorf("%s: %w", l.source, err))
	}
	if len(errs) == len(candidates) {
		return errors.Join(errs...)
	}
	n.setState(api.NodeReady)
	n.events.Append(event.Record{Kind: event.NodeReady, Message: "serving"})
	n.notify("READY=1")
	if n.stateful != nil {
		close(n.stateful.follow.served)
	}
	for {
		select {
		case <-ctx.Done():
			return n.leave(context.WithoutCancel(ctx))
		case <-n.options.Reload:
			n.notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic()/1000))
			_, _ = n.Reload(ctx) // a refusal is on the event log and in the status
			n.notify("READY=1")
		}
	}
}

// leave: unready, lame duck, drain.
func (n *Node) leave(ctx context.Context) error {
	n.notify("STOPPING=1")
	s := n.snapshot.Load().Config.Shutdown
	n.setState(api.NodeLameDuck)
	if s.LameDuck > 0 {
		n.events.Append(event.Record{Kind: event.NodeLameDuck, Message: fmt.Sprintf("unready, still serving for %s", s.LameDuck)})
		time.Sleep(time.Duration(s.LameDuck))
	}
	n.setState(api.NodeDraining)
	n.events.Append(event.Record{Kind: event.NodeDraining, Message: fmt.Sprintf("no new connections; work in flight may take %s to end", s.Drain)})
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Drain))
	defer cancel()
	n.stopServing()
	message := "everything in flight ended"
	if err := n.drainProxies(ctx); err != nil {
		message = "the drain time was over: what was still at work was cut off"
	}
	for _, p := range n.pools {
		p.Close()
	}
	n.events.Append(event.Record{Kind: event.NodeStopped, Message: message})
	n.log.Info("stopped", "work", message)
	return nil
}

// drainProxies lets all data planes end their work, side by side.
func (n *Node) drainProxies(ctx context.Context) error {
	var wg sync.WaitGroup
	var http, tcp, sessions error
	wg.Go(func() { http = n.http.Drain(ctx) })
	wg.Go(func() { tcp = n.tcp.Drain(ctx) })
	wg.Go(func() { sessions = n.sessions.Drain(ctx) })
	wg.Wait()
	return errors.Join(http, tcp, sessions)
}

func (n *Node) setState(s api.NodeState) {
	n.state.Store(s)
	n.metrics.SetReady(s == api.NodeReady)
}

func (n *Node) notify(state string) {
	if err := notify(state); err != nil {
		n.log.Warn("systemd was not told", "error", err)
	}
}

// identify finds this node in a configuration that is to replace the one in force.
func (n *Node) identify(c *config.Config) (config.Node, error) {
	if n.stateful == nil {
		return identity(c, n.options.Name)
	}
	name := n.stateful.self.Name
	node, ok := c.Node(name)
	if !ok {
		return config.Node{}, fmt.Errorf("the node %s is not in it, and is of the cluster: `backstay cluster leave` on it first, or `backstay cluster remove %s` once it is dead", name, name)
	}
	return *node, nil
}

// identity finds this node among the configuration's nodes.
func identity(c *config.Config, name string) (config.Node, error) {
	explicit := name != ""
	if !explicit {
		host, err := os.Hostname()
		if err != nil {
			return config.Node{}, fmt.Errorf("which node is this? the host name cannot be read (%w): use --node", err)
		}
		name = host
	}
	if len(c.Nodes) == 0 {
		return config.Node{Name: name}, nil
	}
	if node, ok := c.Node(name); ok {
		return *node, nil
	}
	names := ""
	for _, node := range c.Nodes {
		names += " " + node.Name
	}
	if !explicit && len(c.Nodes) == 1 {
		return c.Nodes[0], nil
	}
	return config.Node{}, fmt.Errorf("no node is named %q in the configuration; it has:%s. Say which this is with --node", name, names)
}

func (o Options) socket() string {
	if o.Socket != "" {
		return o.Socket
	}
	return filepath.Join(o.Data, "admin.sock")
}

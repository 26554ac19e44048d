package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/act/watchdog"
	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/cluster/trust"
	"github.com/backstay/backstay/internal/control"
	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/observe/peer"
)

// Ports that nodes use among themselves, counted from the configuration's store.port.
const (
	portReports = iota // the link between nodes
	portClients        // of the store
	portMembers        // of the store
	portJoining        // for nodes that have no certificate yet
)

// stateful is what a node of a cluster has: the store in which the nodes agree, the link by which they watch each other, the
// loop that decides and acts, the instances that run here, and the cluster's version of the configuration.
type stateful struct {
	node    *Node
	self    config.Node // its name and address are those of this life of the process
	profile cluster.Profile
	log     *slog.Logger

	store   *cluster.Cluster
	link    *peer.Link
	control *control.Control
	views   *control.Recorder
	crew    *crew
	follow  *follower
	watched map[string]*watched // by pool; of followRoutes alone
	// settling is of followRoutes alone, too, by service.
	settling  map[string]settling
	verifiers verifiers
	moved     time.Time          // when the store's leader was last moved on
	dog       *watchdog.Watchdog // nil without
	join      *trust.Endpoint
	renew     *trust.Renewer
	leaving   atomic.Bool // for good

	declared atomic.Pointer[config.Config] // what the instances and the loop were told last
}

// newStateful puts the parts together; nothing runs yet. It is nil where the node is of no cluster and no service has an
// engine.
func newStateful(n *Node, c *config.Config) (*stateful, error) {
	m, err := readMembership(n.options.Data, len(c.Nodes))
	if errors.Is(err, errNoMembership) && len(c.Engines()) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if n.self.Address == "" {
		return nil, fmt.Errorf("%s says that this node is of a cluster, but the configuration has no node with an address for it: give it one under nodes", membershipFile(n.options.Data))
	}
	agreement := c.Agreement()
	profile, err := cluster.ProfileNamed(agreement.Profile)
	if err != nil {
		return nil, err
	}
	s := &stateful{node: n, self: n.self, profile: profile, log: n.options.Log.With("component", "cluster"), watched: map[string]*watched{}, settling: map[string]settling{}}
	s.declared.Store(c)
	var others []string
	for _, node := range c.Nodes {
		if node.Name != s.self.Name {
			others = append(others, at(c, node, portClients))
		}
	}
	dir := trustDir(n.options.Data)
	fingerprint, err := trust.Fingerprint(dir)
	if err != nil {
		return nil, err
	}
	files, password, err := access(agreement, dir)
	if err != nil {
		return nil, err
	}
	s.store = cluster.Open(cluster.Options{
		Authority: fingerprint, User: agreement.User, Password: password,
		Cluster: c.Cluster, Node: s.self.Name, Dir: storeDir(n.options.Data),
		Peer: at(c, s.self, portMembers), Client: at(c, s.self, portClients), Others: others,
		Bootstrap: m.Found, Join: m.Join, Replace: m.Replace, Endpoints: agreement.Endpoints,
		TLS: files, Profile: profile, Log: s.log, Append: n.events.Append,
	})
	s.link = peer.New(peer.Options{
		Self: s.self.Name, Listen: at(c, s.self, portReports), Peers: s.reports(c),
		Server:    func() (*tls.Config, error) { return trust.ServerTLS(dir) },
		Client:    func(node string) (*tls.Config, error) { return trust.ClientTLS(dir, node) },
		Heartbeat: profile.Heartbeat, Suspicion: profile.Suspicion, Log: n.options.Log.With("component", "peer"),
	})
	s.join = trust.NewEndpoint(trust.EndpointOptions{
		Store: s.store, Dir: dir, Listen: at(c, s.self, portJoining), Log: s.log,
		Members: s.storeMembers, Admit: s.admit,
	})
	s.renew = trust.NewRenewer(trust.RenewerOptions{
		Dir: dir, Node: trust.Node{Name: s.self.Name, Addresses: []string{s.self.Address}}, Log: s.log,
		Endpoints: s.endpoints, OnRenewed: s.onRenewed,
	})
	s.dog = newWatchdog(n, profile)
	if err := s.dog.Check(); err != nil {
		return nil, fmt.Errorf("%w; it is required by the configuration of the node %s", err, s.self.Name)
	}
	s.views = control.NewRecorder(filepath.Join(n.options.Data, "views"), s.self.Name, n.options.Version, n.options.Log.With("component", "control"))
	s.control = control.New(control.Options{
		Record: s.views.Add,
		Self:   s.self.Name, Store: s.store, Peers: newPeers(s.link, s.log),
		Renew: profile.LeaseRenew, Margin: profile.LeaseMargin, StoreTry: profile.StoreTry, Settles: true, Guard: s.guard,
		Append: n.events.Append, Log: n.options.Log.With("component", "control"),
	})
	if until, err := trust.Expires(dir); err == nil {
		n.metrics.SetCertificate(until)
	}
	s.crew = newCrew(s)
	s.follow = newFollower(s)
	return s, nil
}

// access is how the node gets into the store: by its own certificate, or as the configuration says of an etcd that is there
// already.
func access(store config.Store, dir string) (files cluster.TLSFiles, password string, err error) {
	if len(store.Endpoints) == 0 {
		return trust.Files(dir), "", nil
	}
	if t := store.TLS; t != nil {
		files = cluster.TLSFiles{CA: t.CA, Cert: t.Cert, Key: t.Key}
	}
	if store.User != "" {
		password, err = config.Secret{File: store.Password}.Reveal()
	}
	return files, password, err
}

// at is where a node listens for other nodes.
func at(c *config.Config, node config.Node, port int) string {
	return net.JoinHostPort(node.Address, strconv.Itoa(c.Agreement().Port+port))
}

// config is what the instances and the loop were told last.
func (s *stateful) config() *config.Config { return s.declared.Load() }

// reports lists where the other nodes take reports.
func (s *stateful) reports(c *config.Config) map[string]string {
	all := map[string]string{}
	for _, node := range c.Nodes {
		if node.Name != s.self.Name {
			all[node.Name] = at(c, node, portReports)
		}
	}
	return all
}

// declaration is what the loop is told of a service.
func (s *stateful) declaration(c *config.Config, sc config.Service) failover.Service {
	p := sc.Engine.Fleet()
	out := failover.Service{
		Name: sc.Name, Protection: p.Protection, Quorum: p.Quorum,
		Heartbeat: s.profile.Heartbeat, Suspicion: s.profile.Suspicion, TTL: s.profile.LeaseTTL,
		HoldDown: time.Duration(p.HoldDown), MaxLag: uint64(p.MaxLag),
	}
	for i, name := range p.Nodes {
		node, _ := c.Node(name) // validated
		cascade := slices.Contains(p.Cascade, name)
		out.Members = append(out.Members, failover.Member{
			Node: name, Address: net.JoinHostPort(node.Address, strconv.Itoa(p.Port)), Priority: i,
			NoFailover: slices.Contains(p.NoFailover, name) || cascade, Async: slices.Contains(p.Async, name) || cascade, Cascade: cascade, Zone: node.Zone, Region: node.Region,
		})
	}
	for _, node := range c.Nodes {
		out.Voters = append(out.Voters, node.Name)
	}
	return out
}

// position is how far another node's instance is, as it last said.
func (s *stateful) position(service, node string) (uint64, bool) {
	v, err := s.control.View(service)
	if err != nil {
		return 0, false
	}
	at, ok := v.Nodes[node]
	return at.Report.Observation.Position, ok && at.Heard && at.Report.Observed
}

// elsewhere says whether another node's instance streams, at the epoch that holds, from another than this node's.
func (s *stateful) elsewhere(service, node string) bool {
	v, err := s.control.View(service)
	if err != nil || v.State == nil {
		return false
	}
	at := v.Nodes[node]
	o := at.Report.Observation
	return at.Heard && at.Report.Observed && o.Streaming && o.Epoch == v.State.Epoch && o.Upstream != s.self.Name
}

func (s *stateful) storeMembers(ctx context.Context) ([]string, error) {
	members, err := s.store.Members(ctx)
	var out []string
	for _, m := range members {
		out = append(out, m.Client)
	}
	return out, err
}

// Run lives as long as the node. It ends in the order that loses nothing: hand over what this node is primary of, stop the
// instances, then everything else.
func (s *stateful) Run(ctx context.Context) error {
	g := &group{}
	g.Add("store", s.store.Run)
	g.Add("certificates", s.renew.Run)
	g.Add("joining", s.join.Run)
	g.Add("link", s.link.Run)
	g.Add("instances", s.crew.Run)
	g.Add("routes", s.followRoutes)
	g.Add("views", s.views.Run)
	g.Add("loop", s.loop)
	g.Add("configuration", s.follow.Run)
	return g.Run(ctx)
}

// loop runs the loop until ctx ends and then takes leave.
func (s *stateful) loop(ctx context.Context) error {
	looping, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	left := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		leaving, cancel := context.WithTimeout(looping, 30*time.Second)
		defer cancel()
		left <- s.control.Leave(leaving)
		stop()
	})
	err := s.control.Run(looping)
	if ctx.Err() != nil {
		err = errors.Join(err, <-left)
	}
	return err
}

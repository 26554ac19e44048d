package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

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

// stateful is what a node has where a service has an engine: the store in which the nodes agree, the link by which they
// watch each other, the loop that decides and acts, and the instances that run here.
type stateful struct {
	node    *Node
	config  *config.Config
	profile cluster.Profile
	log     *slog.Logger

	store   *cluster.Cluster
	link    *peer.Link
	control *control.Control
	engines map[string]*instance
	watched map[string]*watched // by pool; of follow alone
	moved   time.Time           // when the store's leader was last moved on
	join    *trust.Endpoint
	renew   *trust.Renewer
}

// newStateful puts the parts together; nothing runs yet. It is nil where no service has an engine.
func newStateful(n *Node, c *config.Config) (*stateful, error) {
	if len(c.Engines()) == 0 {
		return nil, nil
	}
	agreement := c.Agreement()
	profile, err := cluster.ProfileNamed(agreement.Profile)
	if err != nil {
		return nil, err
	}
	m, err := readMembership(n.options.Data, len(c.Nodes))
	if err != nil {
		return nil, err
	}
	s := &stateful{node: n, config: c, profile: profile, log: n.options.Log.With("component", "cluster"), engines: map[string]*instance{}, watched: map[string]*watched{}}
	at := func(node config.Node, port int) string {
		return net.JoinHostPort(node.Address, strconv.Itoa(agreement.Port+port))
	}
	var others []string
	reports := map[string]string{}
	for _, node := range c.Nodes {
		if node.Name != n.self.Name {
			others = append(others, at(node, portClients))
			reports[node.Name] = at(node, portReports)
		}
	}
	dir := trustDir(n.options.Data)
	s.store = cluster.Open(cluster.Options{
		Cluster: c.Cluster, Node: n.self.Name, Dir: filepath.Join(n.options.Data, "store"),
		Peer: at(n.self, portMembers), Client: at(n.self, portClients), Others: others,
		Bootstrap: m.Found, Join: m.Join, Replace: m.Replace, Endpoints: agreement.Endpoints,
		TLS: trust.Files(dir), Profile: profile, Log: s.log, Append: n.events.Append,
	})
	s.link = peer.New(peer.Options{
		Self: n.self.Name, Listen: at(n.self, portReports), Peers: reports,
		Server:    func() (*tls.Config, error) { return trust.ServerTLS(dir) },
		Client:    func(node string) (*tls.Config, error) { return trust.ClientTLS(dir, node) },
		Heartbeat: profile.Heartbeat, Suspicion: profile.Suspicion, Log: n.options.Log.With("component", "peer"),
	})
	s.join = trust.NewEndpoint(trust.EndpointOptions{
		Store: s.store, Dir: dir, Listen: at(n.self, portJoining), Log: s.log,
		Members: s.storeMembers,
	})
	s.renew = trust.NewRenewer(trust.RenewerOptions{Dir: dir, Node: trust.Node{Name: n.self.Name, Addresses: []string{n.self.Address}}, Log: s.log})
	engines := map[string]control.Engine{}
	var services []failover.Service
	for _, sc := range c.Engines() {
		services = append(services, s.declaration(sc))
		if slices.Contains(sc.Engine.Fleet().Nodes, n.self.Name) {
			s.engines[sc.Name] = s.instance(sc)
			engines[sc.Name] = s.engines[sc.Name]
		}
	}
	s.control = control.New(control.Options{
		Self: n.self.Name, Services: services, Engines: engines, Store: s.store, Peers: newPeers(s.link, s.log),
		Renew: profile.LeaseRenew, Margin: profile.LeaseMargin, StoreTry: profile.StoreTry,
		Append: n.events.Append, Log: n.options.Log.With("component", "control"),
	})
	return s, nil
}

// declaration is what the loop is told of a service.
func (s *stateful) declaration(sc config.Service) failover.Service {
	p := sc.Engine.Fleet()
	out := failover.Service{
		Name: sc.Name, Protection: p.Protection, Quorum: p.Quorum,
		Heartbeat: s.profile.Heartbeat, Suspicion: s.profile.Suspicion, TTL: s.profile.LeaseTTL,
		HoldDown: time.Duration(p.HoldDown), MaxLag: uint64(p.MaxLag),
	}
	for i, name := range p.Nodes {
		node, _ := s.config.Node(name) // validated
		out.Members = append(out.Members, failover.Member{
			Node: name, Address: net.JoinHostPort(node.Address, strconv.Itoa(p.Port)), Priority: i,
			NoFailover: slices.Contains(p.NoFailover, name), Zone: node.Zone, Region: node.Region,
		})
	}
	for _, node := range s.config.Nodes {
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
	g.Add("instances", s.runInstances)
	return g.Run(ctx)
}

// runInstances starts the engines once the nodes agree on their passwords, and the loop over them.
func (s *stateful) runInstances(ctx context.Context) error {
	for name, i := range s.engines {
		if err := s.provision(ctx, name, i); err != nil {
			if ctx.Err() != nil {
				return nil // told to stop before the store was there
			}
			return err
		}
	}
	g := &group{}
	for name, i := range s.engines {
		g.Add(name+" guard", i.guard.Run) // the last to go
		g.Add(name, i.Run)
	}
	g.Add("routes", s.follow)
	g.Add("loop", func(ctx context.Context) error {
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
	})
	return g.Run(ctx)
}

// provision sees to the files with an instance's passwords, where the configuration names none: the first node that needs
// them makes them and the others take them from the store.
func (s *stateful) provision(ctx context.Context, service string, i *instance) error {
	if len(i.secrets) == 0 {
		return nil
	}
	select {
	case <-s.store.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, path := range i.secrets {
		if _, err := os.Stat(path); err == nil {
			continue
		}
		secret, err := agreedSecret(ctx, s.store, "services/"+service+"/secret/"+filepath.Base(path))
		if err != nil {
			return fmt.Errorf("password %s of %s: %w", filepath.Base(path), service, err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, secret, 0o600); err != nil {
			return err
		}
	}
	return nil
}

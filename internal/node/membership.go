package node

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/cluster/trust"
)

// membership is how this node came to its cluster; it is written once, by init or join.
type membership struct {
	Found   bool     `json:"found,omitempty"`   // it is the first node
	Join    []string `json:"join,omitempty"`    // where it found the store's members
	Replace bool     `json:"replace,omitempty"` // it takes the place of a node of its name
}

// errNoMembership says that the node was neither the first of a cluster nor joined one.
var errNoMembership = errors.New("this node belongs to no cluster yet")

func storeDir(data string) string       { return filepath.Join(data, "store") }
func trustDir(data string) string       { return filepath.Join(data, "trust") }
func membershipFile(data string) string { return filepath.Join(data, "membership.json") }

// readMembership reads what init or join left.
func readMembership(data string, nodes int) (membership, error) {
	var m membership
	text, err := os.ReadFile(membershipFile(data))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return m, fmt.Errorf("%w: run `backstay init` on the first node, `backstay cluster join TOKEN` on the others, with the same --config, --node and --data (%d nodes are configured)", errNoMembership, nodes)
	case err != nil:
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("%s: %w", membershipFile(data), err)
	}
	return m, nil
}

func (m membership) write(data string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return os.WriteFile(membershipFile(data), append(text, '\n'), 0o600)
}

// Init makes this node the first of a cluster: its certificate authority and its own certificate.
func Init(o Options) (string, error) {
	c, self, err := o.identify()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(membershipFile(o.Data)); err == nil {
		return "", fmt.Errorf("%s belongs to a cluster already: to begin anew, remove it first", o.Data)
	}
	if err := os.MkdirAll(trustDir(o.Data), 0o700); err != nil {
		return "", err
	}
	if err := trust.Init(trustDir(o.Data), c.Cluster, trust.Node{Name: self.Name, Addresses: []string{self.Address}}); err != nil {
		return "", err
	}
	if err := (membership{Found: true}).write(o.Data); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s is the first node of the cluster %s; start it with `backstay run`, then `backstay cluster invite` lets others join", self.Name, c.Cluster), nil
}

// Join gets this node its certificate from the cluster that the token names.
func Join(ctx context.Context, o Options, token string, replace bool) (string, error) {
	c, self, err := o.identify()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(membershipFile(o.Data)); err == nil {
		return "", fmt.Errorf("%s belongs to a cluster already: to join another, remove it first", o.Data)
	}
	var addresses []string
	for _, node := range c.Nodes {
		if node.Name != self.Name {
			addresses = append(addresses, net.JoinHostPort(node.Address, strconv.Itoa(c.Agreement().Port+portJoining)))
		}
	}
	if err := os.MkdirAll(trustDir(o.Data), 0o700); err != nil {
		return "", err
	}
	grant, err := trust.Join(ctx, token, addresses, trust.Node{Name: self.Name, Addresses: []string{self.Address}}, trustDir(o.Data))
	if err != nil {
		return "", err
	}
	if grant.Cluster != c.Cluster {
		return "", fmt.Errorf("the token is of the cluster %s, the configuration of %s", grant.Cluster, c.Cluster)
	}
	if err := (membership{Join: grant.Members, Replace: replace}).write(o.Data); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s may join the cluster %s; start it with `backstay run`", self.Name, grant.Cluster), nil
}

// identify reads the configuration and finds this node in it, with an address that others can reach.
func (o Options) identify() (*config.Config, config.Node, error) {
	l, err := load(o.Config)
	if err != nil {
		return nil, config.Node{}, err
	}
	self, err := identity(l.config, o.Name)
	if err != nil {
		return nil, config.Node{}, err
	}
	if self.Address == "" {
		return nil, config.Node{}, fmt.Errorf("the node %s has no address in the configuration: give it one under nodes, so that others can reach it", self.Name)
	}
	return l.config, self, nil
}

// admit says whether a node may have a certificate of this cluster.
func (s *stateful) admit(_ context.Context, node trust.Node, renewal bool) error {
	if _, ok := s.config().Node(node.Name); !ok {
		return fmt.Errorf("no node of the cluster's configuration is named %q: put it under nodes and `backstay apply` first", node.Name)
	}
	if !renewal && s.hears(node.Name) {
		return fmt.Errorf("a node %s is alive already: two of one name would be taken for one; stop it first", node.Name)
	}
	return nil
}

// endpoints lists where other nodes renew certificates.
func (s *stateful) endpoints() (all []string) {
	c := s.config()
	for _, node := range c.Nodes {
		if node.Name != s.self.Name {
			all = append(all, at(c, node, portJoining))
		}
	}
	return all
}

// onRenewed tells how the renewal of this node's certificate went.
func (s *stateful) onRenewed(until time.Time, err error) {
	s.node.metrics.SetCertificate(until)
	if err != nil {
		s.node.append(event.Record{
			Kind: event.CertificateFailed, Evidence: err.Error(),
			Message: fmt.Sprintf("this node's certificate was not renewed and is tried again; it expires %s", until.UTC().Format(time.RFC3339)),
		})
		return
	}
	s.node.append(event.Record{Kind: event.CertificateRenewed, Message: "this node's certificate was renewed; it expires " + until.UTC().Format(time.RFC3339)})
}

// invite makes a token by which one node can join.
func (s *stateful) invite(ctx context.Context, node string, ttl time.Duration) (string, error) {
	return trust.Invite(ctx, s.store, trustDir(s.node.options.Data), trust.Invitation{TTL: ttl, Node: node, By: s.self.Name})
}

// agreedSecret returns the secret at a key, made by the first node that asks.
func agreedSecret(ctx context.Context, store cluster.Store, key string) ([]byte, error) {
	for {
		kv, err := store.Get(ctx, key)
		if err == nil || !errors.Is(err, cluster.ErrNotFound) {
			return kv.Value, err
		}
		if _, err := store.Put(ctx, key, []byte(rand.Text()), 0); err != nil && !errors.Is(err, cluster.ErrConflict) {
			return nil, err
		}
	}
}

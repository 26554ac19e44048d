package node

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/cluster/trust"
	"github.com/backstay/backstay/internal/control"
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

// Join gets this node its certificate from the cluster that the token names. What the node keeps of a cluster that it is out
// of is put aside; anew says that it is to give up its place in one that it may still be in.
func Join(ctx context.Context, o Options, token string, replace, anew bool) (string, error) {
	c, self, err := o.identify()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(membershipFile(o.Data)); err == nil {
		if !anew && !cluster.Removed(storeDir(o.Data)) {
			return "", fmt.Errorf("%s belongs to a cluster already: to join one anew say --anew, which puts aside what it keeps of that one (its part of the store and its certificate; never databases)", o.Data)
		}
		if err := o.whileStopped(func() error { return retire(o.Data) }); err != nil {
			return "", err
		}
	}
	var addresses []string
	for _, node := range c.Nodes {
		if node.Name != self.Name {
			addresses = append(addresses, at(c, node, portJoining))
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

// whileStopped does something to the data folder that no node may run on meanwhile.
func (o Options) whileStopped(do func() error) error {
	release, err := own(o.Data)
	if err != nil {
		return err
	}
	defer release()
	return do()
}

// retire puts aside what the node keeps of its cluster, and forgets its certificate and the authority's key. Databases stay
// where they are.
func retire(data string) error {
	aside := filepath.Join(data, "left-"+time.Now().UTC().Format("20060102T150405.000"))
	if err := os.Mkdir(aside, 0o700); err != nil {
		return err
	}
	for _, path := range []string{storeDir(data), membershipFile(data), copyFile(data), filepath.Join(data, "secrets")} {
		if err := os.Rename(path, filepath.Join(aside, filepath.Base(path))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.RemoveAll(trustDir(data))
}

// A Recovering says what a cluster is made anew of, by whom and why.
type Recovering struct{ Snapshot, By, Why string }

// Recover makes a cluster of one from what this node has, or from a snapshot, where the majority is lost for good.
func Recover(ctx context.Context, o Options, r Recovering) (string, error) {
	candidates, err := begin(o)
	if err != nil {
		return "", err
	}
	c := candidates[0].config
	self, err := identity(c, o.Name)
	if err != nil {
		return "", err
	}
	if len(c.Agreement().Endpoints) > 0 {
		return "", errors.New("the store is an etcd of its own: recover it with its own tools (`etcdutl snapshot restore`)")
	}
	m, err := readMembership(o.Data, len(c.Nodes))
	if err != nil {
		return "", err
	}
	profile, err := cluster.ProfileNamed(c.Agreement().Profile)
	if err != nil {
		return "", err
	}
	var others []string
	for _, node := range c.Nodes {
		if node.Name != self.Name {
			others = append(others, at(c, node, portClients))
		}
	}
	var done cluster.Recovery
	err = o.whileStopped(func() error {
		done, err = cluster.Recover(ctx, cluster.Options{
			Cluster: c.Cluster, Node: self.Name, Dir: storeDir(o.Data), Peer: at(c, self, portMembers), Client: at(c, self, portClients),
			Others: others, TLS: trust.Files(trustDir(o.Data)), Profile: profile, Log: o.Log, Append: recorder(o, self.Name),
		}, cluster.Recovering{Snapshot: r.Snapshot, By: r.By, Why: r.Why, Amend: control.Recovered})
		if err == nil && !m.Found {
			err = membership{Found: true}.write(o.Data) // there is nobody to join any more
		}
		return err
	})
	if err != nil {
		return "", err
	}
	said := fmt.Sprintf("%s is a cluster of its own now (recovery %d). Start it with `backstay run`; on every other node stop it and `backstay cluster join --anew` with a token of this one. Services with a primary are paused until `backstay unpause SERVICE`", self.Name, done.Generation)
	if len(done.Lost) > 0 {
		said += ": " + strings.Join(done.Lost, ", ")
	}
	return said, nil
}

// recorder puts records on the node's event log while the node does not run.
func recorder(o Options, node string) func(event.Record) event.Record {
	return func(r event.Record) event.Record {
		log := event.NewLog(event.Options{Node: node, Path: eventsFile(o.Data), Log: o.Log})
		if err := log.Open(); err != nil {
			o.Log.Warn("not on the event log", "message", r.Message, "error", err)
			return r
		}
		ctx, cancel := context.WithCancel(context.Background())
		r = log.Append(r)
		cancel()
		if err := log.Run(ctx); err != nil {
			o.Log.Warn("not on the event log", "message", r.Message, "error", err)
		}
		return r
	}
}

// identify reads the configuration and finds this node in it, with an address that others can reach.
func (o Options) identify() (*config.Config, config.Node, error) {
	candidates, err := begin(o)
	if err != nil {
		return nil, config.Node{}, err
	}
	l := candidates[len(candidates)-1] // a file, where there is one
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

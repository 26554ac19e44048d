package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/backstay/backstay/internal/base/event"
)

// keyspace is before every key in etcd, so that an etcd shared with others is possible.
const keyspace = "/backstay/"

// ErrExternal says that an operation is not possible on an etcd that Backstay does not run.
var ErrExternal = errors.New("the store is an external etcd: use its own tools")

// TLSFiles are PEM files; they are read again for each connection, so certificates may be renewed under way.
type TLSFiles struct {
	CA, Cert, Key string
}

// Options say who the node is and where its store lives. Cluster and Node are required; Endpoints make the store an
// external etcd, and then only TLS counts of the rest.
type Options struct {
	Cluster string // its name
	Node    string // this node's name, unique in the cluster
	Dir     string // of this member's data; owned by it alone

	Peer   string   // host:port where members reach this one
	Client string   // host:port where clients (joining nodes, etcdctl) reach it
	Others []string // clients' host:port of the other nodes of the configuration, as far as known

	Bootstrap bool     // an empty Dir founds the cluster
	Join      []string // clients' host:port of members: an empty Dir joins them
	Replace   bool     // when joining, take the place of a dead member of the same name

	Endpoints []string // of an external etcd, host:port or URL
	User      string   // there, with Password; empty where it asks for none
	Password  string
	Authority string   // fingerprint of the cluster's certificate authority: refuse an external etcd where another has the name
	TLS       TLSFiles // required but for an external etcd without TLS

	Profile Profile // lan by default
	Log     *slog.Logger
	Append  func(event.Record) event.Record // where changes of membership and leadership are told; nil: nowhere
}

// A Cluster is the node's part of the store, and a Store itself. Run brings it to life; operations wait until then.
type Cluster struct {
	etcdStore
	o Options

	ready    chan struct{} // the store has answered once
	answered sync.Once
	leaders  chan struct{} // cap 1
	failures chan string   // cap 1: why etcd cannot go on
	removed  atomic.Bool

	mu      sync.Mutex
	started chan struct{} // closed while the client is there
	etcd    *embed.Etcd   // nil when external, or not running
	cli     *clientv3.Client
	leaving bool
	peers   []string // where the other members serve clients
}

// Open returns the node's part of the store, without touching anything yet.
func Open(o Options) *Cluster {
	if o.Profile == (Profile{}) {
		o.Profile, _ = ProfileNamed("")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Append == nil {
		o.Append = func(r event.Record) event.Record { return r }
	}
	c := &Cluster{
		o: o, started: make(chan struct{}), ready: make(chan struct{}), leaders: make(chan struct{}, 1),
		failures: make(chan string, 1),
	}
	c.etcdStore = etcdStore{client: c.client, prefix: keyspace + o.Cluster + "/", try: o.Profile.StoreTry, leaderChanged: c.leaderChanged}
	return c
}

// Run starts this node's member (or the connection to an external etcd) and ends it with ctx. It founds, joins or
// starts again, as the data directory and the options say, and returns an error that says what to do where the
// directory must not start.
func (c *Cluster) Run(ctx context.Context) error {
	if err := c.o.Profile.Validate(); err != nil {
		return err
	}
	if len(c.o.Endpoints) > 0 {
		return c.runExternal(ctx)
	}
	return c.runEmbedded(ctx)
}

// Ready is closed when the store has answered for the first time.
func (c *Cluster) Ready() <-chan struct{} { return c.ready }

// client waits for the client.
func (c *Cluster) client(ctx context.Context) (*clientv3.Client, error) {
	for {
		c.mu.Lock()
		client, started := c.cli, c.started
		c.mu.Unlock()
		if client != nil {
			return client, nil
		}
		select {
		case <-started:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: this node's member is not running: %w", ErrUnavailable, ctx.Err())
		}
	}
}

func (c *Cluster) start(e *embed.Etcd, client *clientv3.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.etcd, c.cli = e, client
	close(c.started)
}

// stop forgets the member; operations wait for the next one until their contexts end.
func (c *Cluster) stop() {
	c.mu.Lock()
	client := c.cli
	if client != nil {
		c.etcd, c.cli, c.started = nil, nil, make(chan struct{})
	}
	c.mu.Unlock()
	if client != nil {
		_ = client.Close()
	}
}

// others returns where the other members were last known to serve clients.
func (c *Cluster) others() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peers
}

// notePeers remembers the other members.
func (c *Cluster) notePeers(e *embed.Etcd) {
	var peers []string
	for _, m := range e.Server.Cluster().Members() {
		for _, u := range m.ClientURLs {
			if m.ID != e.Server.MemberID() && !m.IsLearner {
				peers = append(peers, hostPort(u))
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peers = peers
}

// local returns the embedded member; ErrExternal, or ErrUnavailable before it runs.
func (c *Cluster) local() (*embed.Etcd, error) {
	if len(c.o.Endpoints) > 0 {
		return nil, ErrExternal
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.etcd == nil {
		return nil, fmt.Errorf("%w: this node's member has not started", ErrUnavailable)
	}
	return c.etcd, nil
}

// leaderChanged returns a channel that is closed at the next change of the store's leader; nil where that is not told.
func (c *Cluster) leaderChanged() <-chan struct{} {
	if e, err := c.local(); err == nil {
		return e.Server.LeaderChanged()
	}
	return nil
}

func (c *Cluster) runExternal(ctx context.Context) error {
	client, err := c.dial(ctx, c.o.Endpoints)
	if err != nil {
		return err
	}
	c.start(nil, client)
	defer c.stop()
	if _, _, err := c.List(ctx, "ready/"); err == nil {
		if c.o.Authority != "" {
			if err := c.Claim(ctx, c.o.Authority); err != nil && ctx.Err() == nil {
				return err
			}
		}
		c.answered.Do(func() { close(c.ready) })
	}
	<-ctx.Done()
	return nil
}

// dial returns a client for other members.
func (c *Cluster) dial(ctx context.Context, endpoints []string) (*clientv3.Client, error) {
	config, err := c.clientTLS()
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{
		Context: ctx, Endpoints: endpoints, TLS: config, Username: c.o.User, Password: c.o.Password,
		DialTimeout: c.o.Profile.StoreElection, DialKeepAliveTime: 5 * c.o.Profile.StoreElection,
		DialKeepAliveTimeout: c.o.Profile.StoreElection,
		Logger:               newZap(c.o.Log, func(string) {}, func() {}),
	})
	if err != nil {
		return nil, fmt.Errorf("connect to the store at %v: %w", endpoints, err)
	}
	return client, nil
}

func (c *Cluster) clientTLS() (*tls.Config, error) {
	secure := slices.ContainsFunc(c.o.Endpoints, func(e string) bool { return strings.HasPrefix(e, "https://") })
	if c.o.TLS == (TLSFiles{}) && !secure {
		return nil, nil
	}
	info := c.o.TLS.info()
	config, err := info.ClientConfig()
	if err != nil {
		if len(c.o.Endpoints) > 0 {
			return nil, fmt.Errorf("certificates for the store: %w; see tls of store in the configuration", err)
		}
		return nil, fmt.Errorf("certificates for the store: %w; `backstay init` or `backstay cluster join` makes them", err)
	}
	return config, nil
}

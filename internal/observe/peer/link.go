// Package peer carries messages between the nodes of a cluster: the newest of each node to each other, over one connection
// each way, and what the connections themselves say about the nodes at their other ends. What is in the messages, and what
// silence means, is for others to know.
//
// A node sends on the connections it dialled and receives on those it accepted. The receiver acknowledges each message,
// and only a few are on the way at a time: a process that hangs finds those few when it wakes, not minutes of old ones.
package peer

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Limit bounds a message, in bytes.
const Limit = 1 << 20

// Options say who is linked. Self and Listen are required.
type Options struct {
	Self   string            // this node's name
	Listen string            // host:port
	Peers  map[string]string // the other nodes: name → host:port
	// Server and Client give the configurations for mutual TLS, asked anew for each connection, so that renewed
	// certificates are used. Without them connections are plain TCP: for tests and for nodes of one machine.
	Server func() (*tls.Config, error)
	Client func(node string) (*tls.Config, error)
	// Heartbeat is how often messages are sent that are not urgent; without a new one for a quarter more, the same again.
	// 200 ms by default. Suspicion is the silence after which a connection is made anew; 6 heartbeats by default.
	Heartbeat, Suspicion time.Duration
	Log                  *slog.Logger
}

// A Contact is what is known of another node.
type Contact struct {
	Message  []byte    // the newest; not to be changed
	Serial   uint64    // counts the messages of the node
	Received time.Time // zero: nothing yet
	Broken   string    // evidence that nobody is there, such as a refused connection; empty while it is up or merely silent
}

// A Link is a node's end of the connections with all others.
type Link struct {
	o          Options
	changed    chan struct{}
	configured chan struct{}
	lobby      lobby
	strangers  sometimes

	mu      sync.Mutex
	nodes   map[string]*node
	message []byte
	serial  uint64 // of message
	urgent  uint64 // serial of the last urgent message
}

// New returns a Link that does nothing before Run.
func New(o Options) *Link {
	if o.Heartbeat <= 0 {
		o.Heartbeat = 200 * time.Millisecond
	}
	if o.Suspicion <= 0 {
		o.Suspicion = 6 * o.Heartbeat
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Link{o: o, changed: make(chan struct{}, 1), configured: make(chan struct{}, 1), nodes: map[string]*node{}}
	l.Configure(o.Peers)
	return l
}

// Publish makes message the newest, which is sent at once where urgent, else at the next heartbeat. It never blocks, and
// keeps the slice. A message above Limit is not sent.
func (l *Link) Publish(message []byte, urgent bool) {
	if len(message) > Limit {
		l.o.Log.Error("message to the other nodes is too long and was not sent", "bytes", len(message), "limit", Limit)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.message = message
	l.serial++
	if urgent {
		l.urgent = l.serial
	}
	for _, n := range l.nodes {
		signal(n.wake)
	}
}

// A letter is the newest message.
type letter struct {
	message       []byte
	serial        uint64
	fresh, urgent bool // to one that was sent the message before
}

// newest returns what to send to a node that was sent the message with serial sent; errRemoved.
func (l *Link) newest(n *node, sent uint64) (letter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.nodes[n.name] != n {
		return letter{}, errRemoved
	}
	return letter{l.message, l.serial, l.serial > sent, l.urgent > sent}, nil
}

// Contacts returns what is known of each of the other nodes.
func (l *Link) Contacts() map[string]Contact {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[string]Contact, len(l.nodes))
	for name, n := range l.nodes {
		all[name] = n.contact
	}
	return all
}

// Changed has a value when an urgent message came, a node spoke for the first time on a connection, or a node's Broken
// changed.
func (l *Link) Changed() <-chan struct{} { return l.changed }

// Configure replaces the other nodes; Self among them is ignored. Nodes that stay keep their connections.
func (l *Link) Configure(peers map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, n := range l.nodes {
		if _, stays := peers[name]; !stays {
			n.hangUp()
			delete(l.nodes, name)
		}
	}
	for name, address := range peers {
		n := l.nodes[name]
		switch {
		case name == l.o.Self:
		case n == nil:
			l.nodes[name] = &node{name: name, address: address, wake: make(chan struct{}, 1)}
		case n.address != address:
			n.address, n.evidence = address, ""
			l.judge(n)
		}
	}
	signal(l.configured)
}

// Run listens and keeps the connections until ctx ends. It fails where it cannot listen.
func (l *Link) Run(ctx context.Context) error {
	var config net.ListenConfig
	config.SetMultipathTCP(false) // it would be without the user timeout
	listener, err := config.Listen(ctx, "tcp", l.o.Listen)
	if err != nil {
		return fmt.Errorf("listen for the other nodes: %w", err)
	}
	return l.Serve(ctx, listener)
}

// Serve is Run on a listener that exists; it closes it.
func (l *Link) Serve(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	parts.Go(func() { l.accept(ctx, listener) })
	dialled := map[*node]dialling{}
	for {
		l.reconcile(ctx, dialled, &parts)
		select {
		case <-ctx.Done():
			_ = listener.Close()
			return nil
		case <-l.configured:
		}
	}
}

// A dialling is the life of a node's outgoing connection at an address.
type dialling struct {
	address string
	cancel  context.CancelFunc
}

// reconcile starts and ends the outgoing connections so that they are those of the nodes.
func (l *Link) reconcile(ctx context.Context, dialled map[*node]dialling, parts *sync.WaitGroup) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n, d := range dialled {
		if l.nodes[n.name] != n || n.address != d.address {
			d.cancel()
			delete(dialled, n)
		}
	}
	for _, n := range l.nodes {
		if _, runs := dialled[n]; runs {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		dialled[n] = dialling{n.address, cancel}
		address := n.address
		parts.Go(func() {
			defer cancel()
			l.reach(ctx, n, address)
		})
	}
}

// signal leaves a value in a channel that holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

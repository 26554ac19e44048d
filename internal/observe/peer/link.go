// Package peer carries messages between the nodes of a cluster: the newest of each node to each other, over one connection
// each way, and what the connections themselves say about the nodes at their other ends. What is in the messages, and what
// silence means, is for others to know.
package peer

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"
)

// Options say who is linked. Self and Listen are required.
type Options struct {
	Self   string            // this node's name
	Listen string            // host:port
	Peers  map[string]string // the other nodes: name → host:port
	// Server and Client give the configurations for mutual TLS, asked anew for each connection, so that renewed
	// certificates are used. Without them connections are plain TCP: for tests and for nodes of one machine.
	Server func() (*tls.Config, error)
	Client func(node string) (*tls.Config, error)
	// Heartbeat is how often the newest message is sent even if it is the same; 200 ms by default. Suspicion is the
	// silence after which a connection is made anew; 5 heartbeats by default.
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
type Link struct{ o Options }

// New returns a Link that does nothing before Run.
func New(o Options) *Link { return &Link{o: o} }

// Publish makes message the newest, which is sent at once where urgent, else at the next heartbeat. It never blocks, and
// keeps the slice.
func (l *Link) Publish(message []byte, urgent bool) { panic("not yet") }

// Contacts returns what is known of each of the other nodes.
func (l *Link) Contacts() map[string]Contact { panic("not yet") }

// Changed has a value when an urgent message came, or a node's Broken changed.
func (l *Link) Changed() <-chan struct{} { panic("not yet") }

// Configure replaces the other nodes.
func (l *Link) Configure(peers map[string]string) { panic("not yet") }

// Run listens and keeps the connections until ctx ends. It fails where it cannot listen.
func (l *Link) Run(ctx context.Context) error { panic("not yet") }

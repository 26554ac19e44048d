package control

import (
	"context"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/decide/plan"
)

// An Engine observes and changes the one instance of a service that runs on this node; see package act for the errors.
type Engine interface {
	// Observe looks at the instance; it is called often.
	Observe(ctx context.Context) (plan.Observation, error)
	// Do performs a step; twice is once. It refuses (act.ErrStale) a step of an older epoch than the instance has persisted.
	Do(ctx context.Context, s plan.Step) error
	// Done says whether a step's effect is there already.
	Done(ctx context.Context, s plan.Step) (bool, error)
	// Changed has a value when it is worth looking.
	Changed() <-chan struct{}
}

// A Message is what a node tells all others at each heartbeat.
type Message struct {
	Node string `json:"node"`
	Boot string `json:"boot"` // of this life of the process
	Seq  uint64 `json:"seq"`
	// Heard says which message of each other node was the last to arrive here: what is said in this message was so after
	// that one was sent.
	Heard    map[string]Echo            `json:"heard,omitempty"`
	Services map[string]failover.Report `json:"services,omitempty"`
}

// An Echo names a message of a node.
type Echo struct {
	Boot string `json:"boot"`
	Seq  uint64 `json:"seq"`
}

// A Contact is the newest that arrived from a node.
type Contact struct {
	Message  Message
	Received time.Time // by this node's monotonic clock; zero: nothing yet
	Broken   string    // evidence that nobody is there, such as a refused connection; empty while it is up or merely silent
}

// Peers carries messages between nodes. Publish keeps only the newest message and never blocks; urgent ones are sent at
// once, others may wait for the heartbeat.
type Peers interface {
	Publish(m Message, urgent bool)
	Contacts() map[string]Contact
	// Changed has a value when an urgent message came or a connection broke.
	Changed() <-chan struct{}
}

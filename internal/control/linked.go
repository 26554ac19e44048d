package control

import (
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/observe/peer"
)

// Linked carries messages over a link to the other machines; it is Peers.
type Linked struct {
	link *peer.Link
	log  *slog.Logger

	mu   sync.Mutex
	read map[string]decoded
}

// decoded remembers the newest message, so that it is read once.
type decoded struct {
	serial   uint64
	received time.Time
	message  Message
}

// NewLinked returns the peers at the other ends of a link, which somebody else runs.
func NewLinked(link *peer.Link, log *slog.Logger) *Linked {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Linked{link: link, log: log, read: map[string]decoded{}}
}

// Publish sends a message to every other node.
func (l *Linked) Publish(m Message, urgent bool) {
	body, err := json.Marshal(m)
	if err != nil {
		l.log.Error("message to the other nodes cannot be written", "error", err)
		return
	}
	l.link.Publish(body, urgent)
}

// Contacts returns the newest from each node.
func (l *Linked) Contacts() map[string]Contact {
	contacts := l.link.Contacts()
	all := make(map[string]Contact, len(contacts))
	l.mu.Lock()
	defer l.mu.Unlock()
	for node, c := range contacts {
		d := l.read[node]
		if c.Serial != d.serial || !c.Received.Equal(d.received) {
			d = decoded{serial: c.Serial, received: c.Received}
			if err := json.Unmarshal(c.Message, &d.message); err != nil || d.message.Node != node {
				l.log.Warn("message of another node cannot be read", "node", node, "says", d.message.Node, "error", err)
				d.message = Message{}
			}
			l.read[node] = d
		}
		all[node] = Contact{Message: d.message, Received: c.Received, Broken: c.Broken}
	}
	return all
}

// Changed has a value when an urgent message came or a connection broke.
func (l *Linked) Changed() <-chan struct{} { return l.link.Changed() }

var (
	_ Peers = (*Linked)(nil)
	_ Peers = (*MeshPeer)(nil)
)

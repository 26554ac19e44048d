package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/control"
	"github.com/backstay/backstay/internal/observe/peer"
)

// retiredBoots bounds how many earlier lives of a node are remembered.
const retiredBoots = 8

// A carrier carries bytes between nodes, as a peer.Link does.
type carrier interface {
	Publish(message []byte, urgent bool)
	Contacts() map[string]peer.Contact
	Changed() <-chan struct{}
}

// peers is control.Peers on a link: it writes and reads the messages, and keeps the newest of each node.
type peers struct {
	link carrier
	log  *slog.Logger

	mu    sync.Mutex
	known map[string]*acquaintance
}

// An acquaintance is what another node told.
type acquaintance struct {
	serial  uint64 // of the link's message that was looked at last
	newest  control.Message
	at      time.Time
	retired []string // boots before this one: what is still on the way of them is old
	problem string
}

// newPeers returns the control's view of a link.
func newPeers(link carrier, log *slog.Logger) *peers {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &peers{link: link, log: log, known: map[string]*acquaintance{}}
}

// Publish sends a message to all other nodes.
func (p *peers) Publish(m control.Message, urgent bool) {
	text, err := json.Marshal(m)
	if err != nil {
		p.log.Error("report to the other nodes cannot be written and was not sent", "error", err)
		return
	}
	p.link.Publish(text, urgent)
}

// Contacts returns the newest that arrived from each node that was heard of. Received is when its message came first: a
// node of which only the link still lives falls silent.
func (p *peers) Contacts() map[string]control.Contact {
	p.mu.Lock()
	defer p.mu.Unlock()
	heard := p.link.Contacts() // under the lock: an earlier look must not be taken for a later one
	for node := range p.known {
		if _, there := heard[node]; !there {
			delete(p.known, node)
		}
	}
	all := make(map[string]control.Contact, len(heard))
	for node, c := range heard {
		a := p.known[node]
		if a == nil {
			a = &acquaintance{}
			p.known[node] = a
		}
		if c.Serial != a.serial {
			a.serial = c.Serial
			p.hear(node, a, c)
		}
		if !a.at.IsZero() || c.Broken != "" {
			all[node] = control.Contact{Message: a.newest, Received: a.at, Broken: c.Broken}
		}
	}
	return all
}

// Changed has a value when an urgent message came or a connection broke.
func (p *peers) Changed() <-chan struct{} { return p.link.Changed() }

// hear takes a message if it is newer than the one before.
func (p *peers) hear(node string, a *acquaintance, c peer.Contact) {
	m, err := parseMessage(node, c.Message)
	if err != nil {
		if a.problem != err.Error() {
			p.log.Warn("report of another node is not used: run the same version on all nodes", "node", node, "error", err)
		}
		a.problem = err.Error()
		return
	}
	a.problem = ""
	last := a.newest
	switch {
	case a.at.IsZero():
	case m.Boot == last.Boot:
		if m.Seq <= last.Seq {
			return
		}
	case slices.Contains(a.retired, m.Boot):
		return
	default:
		a.retired = append(a.retired, last.Boot)
		a.retired = a.retired[max(0, len(a.retired)-retiredBoots):]
	}
	a.newest, a.at = m, c.Received
}

func parseMessage(node string, text []byte) (control.Message, error) {
	var m control.Message
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("it cannot be read: %w", err)
	}
	if m.Node != node {
		return m, fmt.Errorf("it is in the name of %q", m.Node)
	}
	if m.Boot == "" || m.Seq == 0 {
		return m, errors.New("it has no number")
	}
	return m, nil
}

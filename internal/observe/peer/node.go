package peer

import (
	"net"
	"time"
)

// A node is another one; the link's lock guards it, except for name and wake.
type node struct {
	name    string
	address string
	wake    chan struct{} // a message is there to send

	contact  Contact
	evidence string   // of the last try to reach it: that nobody is there
	inbound  net.Conn // it sends on this one; nil: none
	spoke    time.Time
	greeted  bool // a message came on inbound
}

// hangUp closes the incoming connection.
func (n *node) hangUp() {
	if n.inbound != nil {
		_ = n.inbound.Close()
		n.inbound = nil
	}
}

// judge says that a node is broken where it cannot be reached and does not speak either: a node that only refuses
// connections, but sends, is alive. Only a message ends it. The lock is held.
func (l *Link) judge(n *node) {
	speaks := n.inbound != nil && time.Since(n.spoke) < 3*l.o.Heartbeat
	if n.evidence == "" || speaks || n.evidence == n.contact.Broken {
		return
	}
	l.o.Log.Warn("node is gone", "node", n.name, "evidence", n.evidence)
	n.contact.Broken = n.evidence
	signal(l.changed)
}

// tried notes how a try to reach a node ended; evidence is empty where it says nothing about the node.
func (l *Link) tried(n *node, address, evidence string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.address != address || l.nodes[n.name] != n {
		return
	}
	n.evidence = evidence
	l.judge(n)
}

// arrive makes conn the one on which the node called name sends, in place of an earlier one; nil: there is no such node.
func (l *Link) arrive(name string, conn net.Conn) *node {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.nodes[name]
	if n == nil {
		return nil
	}
	n.hangUp()
	n.inbound, n.spoke, n.greeted = conn, time.Now(), false
	return n
}

// leave ends conn.
func (l *Link) leave(n *node, conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.inbound != conn || l.nodes[n.name] != n {
		return
	}
	n.hangUp()
	l.judge(n)
}

// deliver takes what came on conn; false: conn is no longer the one on which the node sends, so it may be older than what
// is there.
func (l *Link) deliver(n *node, conn net.Conn, f frame) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.inbound != conn || l.nodes[n.name] != n {
		return false
	}
	n.spoke = time.Now()
	if f.kind == kindIdle {
		return true
	}
	if f.kind == kindUrgent || n.contact.Broken != "" || !n.greeted {
		signal(l.changed)
	}
	if n.contact.Broken != "" {
		l.o.Log.Info("node is back", "node", n.name)
	}
	n.greeted = true
	n.contact = Contact{Message: f.payload, Serial: n.contact.Serial + 1, Received: n.spoke}
	return true
}

package control

import (
	"maps"
	"sync"
	"time"
)

// A Mesh carries messages between nodes of one process, for tests and simulations: links can be cut one way, and nodes
// hung or killed.
type Mesh struct {
	Latency func(from, to string) time.Duration // none where nil

	mu    sync.Mutex
	peers map[string]*MeshPeer
	cut   map[[2]string]bool
	hung  map[string]bool
	kept  map[string][]func()
}

// NewMesh returns a mesh whose links are all whole.
func NewMesh() *Mesh {
	return &Mesh{peers: map[string]*MeshPeer{}, cut: map[[2]string]bool{}, hung: map[string]bool{}, kept: map[string][]func(){}}
}

// A MeshPeer is a node's end of a Mesh.
type MeshPeer struct {
	mesh *Mesh
	name string
	dead bool

	contacts map[string]Contact
	changed  chan struct{}
}

// Peer returns a new end for a node's process; an earlier one is dead.
func (m *Mesh) Peer(name string) *MeshPeer {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := &MeshPeer{mesh: m, name: name, contacts: map[string]Contact{}, changed: make(chan struct{}, 1)}
	if old := m.peers[name]; old != nil {
		old.dead = true
	}
	m.peers[name] = p
	return p
}

// Kill ends a node's process: where its machine still runs (refused) the others see their connections refused, else they
// hear nothing any more.
func (m *Mesh) Kill(name string, refused bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.peers[name]; p != nil {
		p.dead = true
	}
	if !refused {
		return
	}
	for _, other := range m.peers {
		if other.name == name || m.cut[[2]string{name, other.name}] || m.cut[[2]string{other.name, name}] {
			continue
		}
		dead := m.peers[name]
		m.deliver(name, other, func() {
			if m.peers[name] == dead {
				c := other.contacts[name]
				c.Broken = "connection refused"
				other.contacts[name] = c
			}
		}, true)
	}
}

// Cut loses what one node sends to another; Mend ends that.
func (m *Mesh) Cut(from, to string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut[[2]string{from, to}] = true
}

// Mend ends a Cut.
func (m *Mesh) Mend(from, to string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.cut, [2]string{from, to})
}

// Hang keeps what is sent to a node until it runs again, as the buffers of a stopped process do.
func (m *Mesh) Hang(name string, hung bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hung[name] = hung
	if !hung {
		for _, f := range m.kept[name] {
			f()
		}
		delete(m.kept, name)
	}
}

// deliver does something at a peer after the time on the way; the lock is held.
func (m *Mesh) deliver(from string, to *MeshPeer, do func(), urgent bool) {
	arrive := func() {
		if to.dead {
			return
		}
		do()
		if urgent {
			select {
			case to.changed <- struct{}{}:
			default:
			}
		}
	}
	var after time.Duration
	if m.Latency != nil {
		after = m.Latency(from, to.name)
	}
	time.AfterFunc(after, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.hung[to.name] {
			m.kept[to.name] = append(m.kept[to.name], arrive)
			return
		}
		arrive()
	})
}

// Publish sends a message to every other node.
func (p *MeshPeer) Publish(msg Message, urgent bool) {
	m := p.mesh
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.dead {
		return
	}
	for _, to := range m.peers {
		if to == p || m.cut[[2]string{p.name, to.name}] {
			continue
		}
		m.deliver(p.name, to, func() {
			c := to.contacts[p.name]
			late := c.Message.Boot == msg.Boot && (c.Message.Seq >= msg.Seq || c.Broken != "")
			if late || p.dead && m.peers[p.name] != p {
				return
			}
			to.contacts[p.name] = Contact{Message: msg, Received: time.Now()}
		}, urgent)
	}
}

// Contacts returns the newest from each node.
func (p *MeshPeer) Contacts() map[string]Contact {
	p.mesh.mu.Lock()
	defer p.mesh.mu.Unlock()
	return maps.Clone(p.contacts)
}

// Changed has a value when an urgent message came or a connection broke.
func (p *MeshPeer) Changed() <-chan struct{} { return p.changed }

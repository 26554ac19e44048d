package cluster

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
)

// memoryHistory is how many changes a Memory remembers for watchers that lag; one further behind gets a Reset.
const memoryHistory = 1024

// A Memory is a Store within the process, for tests: a twin of the embedded one that lives in synctest bubbles. Each
// client has a handle (Client) that can be cut off, paused and delayed on its own.
type Memory struct {
	mu       sync.Mutex
	revision int64
	keys     map[string]KV
	history  []Change // in order of revision, one each
	floor    int64    // changes up to this revision are forgotten
	changed  chan struct{}
	clients  map[string]*MemoryClient
	wrote    func(Change) // tests look here; called with the mutex held
}

// NewMemory returns an empty store at revision 1, like etcd's.
func NewMemory() *Memory {
	return &Memory{revision: 1, floor: 1, keys: map[string]KV{}, changed: make(chan struct{}), clients: map[string]*MemoryClient{}}
}

// Client returns the handle of a name, the same one for the same name.
func (m *Memory) Client(name string) *MemoryClient {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.clients[name]
	if c == nil {
		c = &MemoryClient{memory: m, state: make(chan struct{})}
		m.clients[name] = c
	}
	return c
}

// Cut cuts a client off in silence: what it sends is lost and nothing reaches it until Heal.
func (m *Memory) Cut(name string) { m.Client(name).set(linkCut) }

// Pause holds up a client's link: what it sends is kept on the way, and delivered at Heal even when the client has
// given up waiting for it meanwhile.
func (m *Memory) Pause(name string) { m.Client(name).set(linkPaused) }

// Heal ends Cut and Pause.
func (m *Memory) Heal(name string) { m.Client(name).set(linkUp) }

// Compact forgets the changes so far: a watcher that has not seen them yet gets a Reset.
func (m *Memory) Compact() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.history, m.floor = nil, m.revision
}

func (m *Memory) get(key string) (KV, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kv, ok := m.keys[key]
	if !ok {
		return KV{}, ErrNotFound
	}
	kv.Value = slices.Clone(kv.Value)
	return kv, nil
}

func (m *Memory) list(prefix string) ([]KV, int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []KV
	for key, kv := range m.keys {
		if strings.HasPrefix(key, prefix) {
			kv.Value = slices.Clone(kv.Value)
			all = append(all, kv)
		}
	}
	slices.SortFunc(all, func(a, b KV) int { return cmp.Compare(a.Key, b.Key) })
	return all, m.revision
}

func (m *Memory) put(key string, value []byte, previous int64) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if previous != Whatever && m.keys[key].Revision != previous {
		return 0, ErrConflict
	}
	m.record(Change{KV: KV{Key: key, Value: slices.Clone(value), Revision: m.revision + 1}})
	return m.revision, nil
}

func (m *Memory) delete(key string, previous int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	kv, ok := m.keys[key]
	if previous != Whatever && kv.Revision != previous {
		return ErrConflict
	}
	if ok {
		m.record(Change{KV: KV{Key: key, Revision: m.revision + 1}, Deleted: true})
	}
	return nil
}

// record makes a change the newest; the caller holds the mutex.
func (m *Memory) record(c Change) {
	m.revision = c.Revision
	if m.wrote != nil {
		m.wrote(c)
	}
	if c.Deleted {
		delete(m.keys, c.Key)
	} else {
		m.keys[c.Key] = c.KV
	}
	m.history = append(m.history, c)
	if over := len(m.history) - memoryHistory; over > 0 {
		m.floor = m.history[over-1].Revision
		m.history = slices.Delete(m.history, 0, over)
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

// since returns what happened under a prefix after a revision: a Reset where that is not known any more (or seen is 0).
// Without news the update is empty and the channel tells of the next change.
func (m *Memory) since(prefix string, seen int64) (Update, int64, <-chan struct{}) {
	m.mu.Lock()
	if seen == 0 || seen < m.floor {
		m.mu.Unlock()
		all, revision := m.list(prefix)
		u := Update{Reset: true, Revision: revision}
		for _, kv := range all {
			u.Changes = append(u.Changes, Change{KV: kv})
		}
		return u, revision, nil
	}
	defer m.mu.Unlock()
	u := Update{Revision: m.revision}
	for _, c := range m.history {
		if c.Revision > seen && strings.HasPrefix(c.Key, prefix) {
			c.Value = slices.Clone(c.Value)
			u.Changes = append(u.Changes, c)
		}
	}
	return u, m.revision, m.changed
}

// Get, List, Put, Delete and Watch are those of a client that nothing ever happens to.

// Get returns a key; ErrNotFound.
func (m *Memory) Get(ctx context.Context, key string) (KV, error) { return m.Client("").Get(ctx, key) }

// List returns the keys under a prefix and the store's revision.
func (m *Memory) List(ctx context.Context, prefix string) ([]KV, int64, error) {
	return m.Client("").List(ctx, prefix)
}

// Put writes a key if it is at the revision previous; ErrConflict.
func (m *Memory) Put(ctx context.Context, key string, value []byte, previous int64) (int64, error) {
	return m.Client("").Put(ctx, key, value, previous)
}

// Delete removes a key if it is at the revision previous; ErrConflict.
func (m *Memory) Delete(ctx context.Context, key string, previous int64) error {
	return m.Client("").Delete(ctx, key, previous)
}

// Watch begins with the whole state and goes on with each change.
func (m *Memory) Watch(ctx context.Context, prefix string) <-chan Update {
	return m.Client("").Watch(ctx, prefix)
}

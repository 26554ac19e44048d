// Package fake is an engine in memory, for simulations: instances with a log of records, streams between them, commits
// that wait for synchronous standbys, and switches for what can go wrong (crash, hang, full disk, power, cut links). It
// keeps real time only through package time, starts no goroutine of its own and holds no lock while it waits, so that
// it lives inside testing/synctest.
//
// A World is the machines and the wires; it survives the node processes. An Engine is one node process's hold on its
// instance: a process that died and came back takes a new one.
package fake

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// Errors that clients of an instance see.
var (
	// ErrDown says that nothing answers: the write was not made.
	ErrDown = errors.New("connection refused")
	// ErrReadOnly says that the instance is a standby: the write was not made.
	ErrReadOnly = errors.New("cannot execute in a read-only transaction")
	// ErrFull says that there is no space left: the write was not made.
	ErrFull = errors.New("no space left on device")
	// ErrLost says that the connection broke before the answer: the write may or may not have been made.
	ErrLost = errors.New("the connection was lost before the answer")
	// ErrDead says that the engine belongs to a node process that is dead.
	ErrDead = errors.New("the node process is dead")
)

// Options are the durations of a world. Zero values are those of a small PostgreSQL on a LAN.
type Options struct {
	// Latency is the time that a message takes from one node to another; 500 µs where nil.
	Latency func(from, to string) time.Duration
	// Start, Stop, Promote, Clone, Rewind and Create are how long these steps take.
	Start, Stop, Promote, Clone, Rewind, Create time.Duration
	// Reconnect is how long a standby waits before it tries its upstream again.
	Reconnect time.Duration
	// Silence is after how long without a message an end of a stream gives the other up.
	Silence time.Duration
	// Leaky breaks Fence: the stream of the old primary stays up. It is for tests of what notices that.
	Leaky bool
}

func (o Options) withDefaults() Options {
	if o.Latency == nil {
		o.Latency = func(string, string) time.Duration { return 500 * time.Microsecond }
	}
	for p, d := range map[*time.Duration]time.Duration{
		&o.Start: 200 * time.Millisecond, &o.Stop: 50 * time.Millisecond, &o.Promote: 80 * time.Millisecond,
		&o.Clone: 2 * time.Second, &o.Rewind: time.Second, &o.Create: time.Second,
		&o.Reconnect: 200 * time.Millisecond, &o.Silence: 5 * time.Second,
	} {
		if *p == 0 {
			*p = d
		}
	}
	return o
}

// A World is a set of instances and the links between them.
type World struct {
	o Options

	mu        sync.Mutex
	instances map[string]*Instance
	cut       map[link]bool
	serial    uint64 // of records, and of origins
}

type link struct{ from, to string }

// NewWorld returns a world without instances, all of whose links are whole.
func NewWorld(o Options) *World {
	return &World{o: o.withDefaults(), instances: map[string]*Instance{}, cut: map[link]bool{}}
}

// Instance returns the instance of a node, made at the first call: empty and stopped.
func (w *World) Instance(node string) *Instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.instance(node)
}

func (w *World) instance(node string) *Instance {
	in := w.instances[node]
	if in == nil {
		in = &Instance{w: w, node: node, acked: map[string]uint64{}, news: make(chan struct{})}
		w.instances[node] = in
	}
	return in
}

// Engine returns the hold of a new node process on the node's instance; an earlier one is dead from now on.
func (w *World) Engine(node string) *Engine {
	w.mu.Lock()
	defer w.mu.Unlock()
	in := w.instance(node)
	if in.engine != nil {
		in.engine.die()
	}
	in.engine = &Engine{w: w, in: in, changed: make(chan struct{}, 1), turn: make(chan struct{}, 1), dead: make(chan struct{})}
	return in.engine
}

// Cut loses from now on whatever is sent from one node to another, silently. It is one direction; cut both for a link.
func (w *World) Cut(from, to string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[link{from, to}] = true
	for _, in := range w.instances {
		s := in.stream
		if s == nil || !s.up || !s.over(from, to) {
			continue
		}
		time.AfterFunc(w.o.Silence, w.locked(func() {
			if in.stream == s && (w.cut[link{s.from.node, in.node}] || w.cut[link{in.node, s.from.node}]) {
				w.drop(in)
				w.connectLater(in)
			}
		}))
	}
}

// Mend ends a Cut. What was sent meanwhile is sent again, as TCP does.
func (w *World) Mend(from, to string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.cut, link{from, to})
	for _, in := range w.instances {
		if s := in.stream; s != nil && s.up && s.over(from, to) {
			w.send(s)
			w.acknowledge(s)
		}
	}
}

// Isolate cuts a node off from all others, both ways; Join mends that.
func (w *World) Isolate(node string) { w.around(node, w.Cut) }

// Join mends all links of a node.
func (w *World) Join(node string) { w.around(node, w.Mend) }

func (w *World) around(node string, do func(from, to string)) {
	w.mu.Lock()
	others := make([]string, 0, len(w.instances))
	for n := range w.instances {
		if n != node {
			others = append(others, n)
		}
	}
	w.mu.Unlock()
	slices.Sort(others)
	for _, n := range others {
		do(node, n)
		do(n, node)
	}
}

// Writers lists the nodes whose instances would accept a client's write now. More than one is what must never be.
func (w *World) Writers() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var writers []string
	for n, in := range w.instances {
		if in.writable() {
			writers = append(writers, n)
		}
	}
	slices.Sort(writers)
	return writers
}

// locked returns f as a timer may call it.
func (w *World) locked(f func()) func() {
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		f()
	}
}

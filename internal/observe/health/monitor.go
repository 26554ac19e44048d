package health

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"
)

const (
	defaultConcurrency = 512
	// spread is the least time between the first looks at two new targets, as long as all fit into their interval.
	spread = 2 * time.Millisecond
)

// Options configures a Monitor.
type Options struct {
	// Log is for debugging.
	Log *slog.Logger
	// OnTransition is told of every change of state, in order for each target, without any lock held.
	OnTransition func(Transition)
	// OnResult is told of every look, before the transition it causes, in order for each target, without any lock held.
	OnResult func(Target, Result)
	// Prober looks; the real probes where nil.
	Prober Prober
	// Concurrency is how many looks there may be at once; 512 where not given.
	Concurrency int
	// Rand gives numbers in [0, 1) for jitter; math/rand/v2 where nil.
	Rand func() float64
}

// Monitor looks at targets on their schedules. Waiting targets cost an entry in a heap; only a look under way has a goroutine.
type Monitor struct {
	o    Options
	wake chan struct{} // capacity 1: the head of the queue, or the number of looks, changed

	mu      sync.Mutex
	entries map[identity]*entry
	queue   queue // entries that wait for their next look
	looks   int   // under way
	warned  time.Time
}

type identity struct{ service, member string }

// entry is a target with its track. It is in the queue, or busy. A removed entry stays while it is busy, so that what its last
// look causes is told before anything about a successor.
type entry struct {
	target  Target
	track   track
	due     time.Time
	index   int // in the queue, -1 when not there
	busy    bool
	stop    context.CancelFunc // ends the look under way
	version int                // of the target: a look at an older one does not count
	removed bool
}

// NewMonitor returns a monitor without targets. Run makes it look.
func NewMonitor(o Options) *Monitor {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Prober == nil {
		o.Prober = NewProber()
	}
	if o.Concurrency <= 0 {
		o.Concurrency = defaultConcurrency
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	return &Monitor{o: o, wake: make(chan struct{}, 1), entries: map[identity]*entry{}}
}

// Set replaces the targets. Unchanged ones keep state and schedule, ones with another check or TLS keep their state, ones
// with another address begin anew. It may be called before and during Run.
func (m *Monitor) Set(targets []Target) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	keep := make(map[identity]bool, len(targets))
	var fresh []*entry // look at these soon
	for _, t := range targets {
		id := identity{t.Service, t.Member}
		if keep[id] {
			continue // a name stands for one member; the first counts
		}
		keep[id] = true
		e := m.entries[id]
		switch {
		case e == nil:
			e = &entry{target: t, track: begin(t.Check, now), index: -1}
			m.entries[id] = e
			fresh = append(fresh, e)
		case e.removed || e.target.Address != t.Address:
			e.track, e.removed = begin(t.Check, now), false
			m.change(e, t)
			fresh = append(fresh, e)
		case !reflect.DeepEqual(e.target, t):
			m.change(e, t)
			fresh = append(fresh, e)
		}
	}
	for id, e := range m.entries {
		if !keep[id] {
			m.remove(id, e)
		}
	}
	for i, e := range fresh {
		m.enqueue(e, now.Add(m.firstLook(e, i, len(fresh))))
	}
	m.poke()
}

// change gives an entry another target; a look at the old one ends and does not count.
func (m *Monitor) change(e *entry, t Target) {
	e.target = t
	e.version++
	if e.busy {
		e.stop()
	}
}

func (m *Monitor) remove(id identity, e *entry) {
	e.removed = true
	e.version++
	if e.busy {
		e.stop()
		return
	}
	m.queue.take(e)
	delete(m.entries, id)
}

// firstLook spreads the first looks at n targets: close together when they are few, over the whole interval when they are many.
func (m *Monitor) firstLook(e *entry, i, n int) time.Duration {
	window := min(time.Duration(n)*spread, every(e.target.Check, false))
	return time.Duration((float64(i) + m.o.Rand()) / float64(n) * float64(window))
}

// interval draws the time from the begin of a look to that of the next.
func (m *Monitor) interval(e *entry) time.Duration {
	share := float64(e.target.Check.Jitter) / 100 * (2*m.o.Rand() - 1)
	return time.Duration(float64(every(e.target.Check, e.track.state == Down)) * (1 + share))
}

// enqueue sets the time of the next look; for a busy entry it counts once that look is over.
func (m *Monitor) enqueue(e *entry, due time.Time) {
	e.due = due
	if !e.busy {
		m.queue.put(e)
	}
}

// Status tells the state of a member; false where it is not a target.
func (m *Monitor) Status(service, member string) (Status, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[identity{service, member}]
	if e == nil || e.removed {
		return Status{}, false
	}
	return e.track.status(), true
}

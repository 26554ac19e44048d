package control

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/act/fake"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/decide/failover"
)

// A sim is a cluster in a bubble: machines, wires, a store, node processes, and clients that write through them.
type sim struct {
	t       *testing.T
	svc     failover.Service
	world   *fake.World
	mesh    *Mesh
	store   *cluster.Memory
	nodes   map[string]*simNode
	names   []string // of all nodes, members first
	members []string

	ctx    context.Context
	cancel context.CancelFunc
	parts  sync.WaitGroup

	mu     sync.Mutex
	cut    map[[2]string]bool
	log    []string
	acked  map[string]bool // acknowledged values
	ackAt  time.Time
	epoch  uint64        // of the newest acknowledgement
	broken invariant     // the first that was broken; empty while none is
	gap    time.Duration // the longest without an acknowledgement
	serial int
	acks   []string
	lost   bool // an asynchronous service may lose
	grants map[uint64]string

	wrong      *mutant
	record     map[string]*Recorder
	recorded   failover.State  // as the referee last saw it
	told       map[string]bool // plans that the event log knew of
	runnerDies int             // so many changes of the record from now the runner dies; -1: it does not
}

type simNode struct {
	skew   atomic.Int64 // of its clock, in nanoseconds
	s      *sim
	name   string
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	control *Control
	engine  *fake.Engine
	hung    chan struct{} // closed when it goes on; nil: it runs
	dead    chan struct{}
	running bool

	guard simGuard
}

// A simGuard is the process beside a node's that ends its instance when the authority is over that it was last told of.
type simGuard struct {
	mu    sync.Mutex // of what it is told
	alarm *time.Timer
}

// A setup says what a simulation is made of.
type setup struct {
	svc                failover.Service
	members, witnesses int
	latency            func(from, to string) time.Duration
	async, cascade     string  // members that are so
	wrong              *mutant // nil: everything is as it should be
	record             map[string]*Recorder
}

func newSim(t *testing.T, o setup) *sim {
	svc, latency := o.svc, o.latency
	if latency == nil {
		latency = func(string, string) time.Duration { return 500 * time.Microsecond }
	}
	if o.wrong == nil {
		o.wrong = &mutant{}
	}
	s := &sim{
		t: t, wrong: o.wrong, record: o.record, told: map[string]bool{}, runnerDies: -1, world: fake.NewWorld(fake.Options{Latency: latency, Leaky: o.wrong.leaky}), mesh: NewMesh(), store: cluster.NewMemory(), nodes: map[string]*simNode{},
		cut: map[[2]string]bool{}, acked: map[string]bool{}, grants: map[uint64]string{},
	}
	s.mesh.Latency = latency
	svc.Name = "db"
	for i := range o.members {
		n := string(rune('a' + i))
		s.names, s.members = append(s.names, n), append(s.members, n)
		cascade := n == o.cascade
		svc.Members = append(svc.Members, failover.Member{
			Node: n, Address: n + ":5432", Priority: i, Async: cascade || n == o.async, Cascade: cascade, NoFailover: cascade,
		})
	}
	for i := range o.witnesses {
		s.names = append(s.names, fmt.Sprint("w", i+1))
	}
	svc.Voters = s.names
	s.svc = svc.WithDefaults()
	s.lost = s.svc.Protection == failover.MaxPerformance
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, n := range s.names {
		node := &simNode{s: s, name: n}
		node.guard.alarm = time.AfterFunc(time.Hour, node.alarmed)
		node.guard.alarm.Stop()
		s.nodes[n] = node
		s.store.Client(n).Delay(func() (time.Duration, time.Duration) { return time.Millisecond, time.Millisecond })
		s.nodes[n].start()
	}
	s.parts.Go(s.follow)
	return s
}

func (s *sim) end() {
	for _, n := range s.names {
		s.nodes[n].resume()
	}
	s.cancel()
	for _, n := range s.names {
		s.nodes[n].kill(false)
	}
	s.parts.Wait()
}

func (s *sim) logf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, fmt.Sprintf("%s ", time.Now().Format("05.000"))+fmt.Sprintf(format, args...))
}

// declared is the service as a node's process that starts now is told of it.
func (s *sim) declared() failover.Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	svc := s.svc
	svc.Members = slices.Clone(svc.Members)
	return svc
}

func (n *simNode) start() {
	s := n.s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	n.mu.Lock()
	n.running, n.dead, n.cancel, n.done = true, make(chan struct{}), cancel, done
	n.mu.Unlock()
	o := Options{
		Self: n.name, Services: []failover.Service{s.declared()}, Engines: map[string]Engine{}, Store: s.store.Client(n.name), Peers: s.mesh.Peer(n.name),
		Append: func(r event.Record) event.Record {
			s.tells(n.name, r)
			return r
		},
		gate: n.gate(n.dead), wall: func() time.Time { return time.Now().Add(time.Duration(n.skew.Load())) },
		off: s.wrong.off,
	}
	if r := s.record[n.name]; r != nil {
		o.Record = r.Add
	}
	if s.wrong.judge != nil {
		o.judge = s.wrong.judge(judge{failover.Decide, failover.Advance, failover.Care})
	}
	var parts sync.WaitGroup
	var control *Control
	if slices.Contains(s.members, n.name) {
		o.Guard = func(string) {
			n.guard.mu.Lock()
			defer n.guard.mu.Unlock()
			n.told(control.Routes().Route("db"))
		}
		s.world.Instance(n.name).PowerOn()
		e := s.world.Engine(n.name)
		o.Engines["db"], n.engine = e, e
		if s.wrong.engine != nil {
			o.Engines["db"] = s.wrong.engine(e)
		}
		parts.Go(func() { _ = e.Run(ctx) })
	}
	control = New(o)
	n.mu.Lock()
	n.control = control
	n.mu.Unlock()
	if slices.Contains(s.members, n.name) {
		parts.Go(func() { n.tellGuard(ctx, control, o.gate) })
	}
	parts.Go(func() { _ = control.Run(ctx) })
	go func() { parts.Wait(); close(done) }()
}

// tellGuard is what the data plane of a node does about its guard.
func (n *simNode) tellGuard(ctx context.Context, c *Control, gate func()) {
	for ctx.Err() == nil {
		changed := c.Routes().Changed()
		gate()
		n.guard.mu.Lock()
		n.told(c.Routes().Route("db"))
		n.guard.mu.Unlock()
		select {
		case <-changed:
		case <-time.After(n.s.svc.Heartbeat):
		case <-ctx.Done():
		}
	}
	n.guard.mu.Lock()
	defer n.guard.mu.Unlock()
	n.guard.alarm.Stop() // with its node; see end
}

// told passes on to the guard what a route says. Called with its lock held.
func (n *simNode) told(r Route) {
	switch g := &n.guard; {
	case time.Now().Before(r.Authority):
		g.alarm.Reset(time.Until(r.Authority))
	case r.Harmless:
		g.alarm.Stop()
	}
}

// alarmed ends an instance whose node has not renewed its authority in time.
func (n *simNode) alarmed() {
	if n.s.wrong.off == safeguardReflex && !n.isHung() {
		return // it is the node's own reflex that is missing
	}
	in := n.s.world.Instance(n.name)
	if slices.Contains(n.s.world.Writers(), n.name) {
		n.s.logf("the guard of %s stops its instance", n.name)
	}
	in.Crash()
}

// gate stops a process while it hangs.
func (n *simNode) gate(dead chan struct{}) func() {
	return func() {
		for {
			n.mu.Lock()
			hung := n.hung
			n.mu.Unlock()
			if hung == nil {
				return
			}
			select {
			case <-hung:
			case <-dead:
				return
			}
		}
	}
}

// kill ends the node's process and its instance: by a loss of power, or as kill -9 of all its processes does.
func (n *simNode) kill(power bool) { n.end(power, false) }

// killAlone ends the node's process alone. The guard stops the instance a moment later, as the closed pipe tells it to.
func (n *simNode) killAlone() { n.end(false, true) }

func (n *simNode) end(power, alone bool) {
	n.mu.Lock()
	if !n.running {
		n.mu.Unlock()
		return
	}
	n.running = false
	close(n.dead)
	cancel, done := n.cancel, n.done
	n.mu.Unlock()
	if slices.Contains(n.s.members, n.name) {
		in := n.s.world.Instance(n.name)
		switch {
		case power:
			in.PowerOff()
		case alone:
			in.Orphan()
			time.AfterFunc(20*time.Millisecond, in.Crash)
		default:
			in.Orphan()
			in.Crash()
		}
	}
	n.s.mesh.Kill(n.name, !power)
	cancel()
	<-done
}

// ctl is the node's control, of its newest process.
func (n *simNode) ctl() *Control {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.control
}

func (n *simNode) up() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.running
}

// hang stops all of the node's processes.
func (n *simNode) hang() {
	n.hangAlone()
	n.s.world.Instance(n.name).Hang(true)
}

// hangAlone stops the node's process and not its instance, nor its guard.
func (n *simNode) hangAlone() {
	n.mu.Lock()
	if n.hung != nil {
		n.mu.Unlock()
		return
	}
	n.hung = make(chan struct{})
	n.mu.Unlock()
	n.s.mesh.Hang(n.name, true)
	n.s.store.Pause(n.name)
}

func (n *simNode) resume() {
	n.mu.Lock()
	hung := n.hung
	n.hung = nil
	n.mu.Unlock()
	if hung == nil {
		return
	}
	close(hung)
	n.s.world.Instance(n.name).Hang(false)
	n.s.mesh.Hang(n.name, false)
	n.s.store.Heal(n.name)
}

func (n *simNode) isHung() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hung != nil
}

func (s *sim) cutLink(from, to string) {
	s.mu.Lock()
	s.cut[[2]string{from, to}] = true
	s.mu.Unlock()
	s.mesh.Cut(from, to)
	s.world.Cut(from, to)
}

func (s *sim) mendLink(from, to string) {
	s.mu.Lock()
	delete(s.cut, [2]string{from, to})
	s.mu.Unlock()
	s.mesh.Mend(from, to)
	s.world.Mend(from, to)
}

func (s *sim) linked(a, b string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.cut[[2]string{a, b}] && !s.cut[[2]string{b, a}]
}

func planText(p *failover.Progress) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%s %s by %s group %d", p.ID, p.Kind, p.Runner, p.Group)
}

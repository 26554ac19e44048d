package control

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
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
	epoch  uint64 // of the newest acknowledgement
	broken bool
	gap    time.Duration // the longest without an acknowledgement
	serial int
	acks   []string
	lost   bool // an asynchronous service may lose
	grants map[uint64]string
}

type simNode struct {
	s       *sim
	name    string
	control *Control
	cancel  context.CancelFunc
	done    chan struct{}

	mu      sync.Mutex
	hung    chan struct{} // closed when it goes on; nil: it runs
	dead    chan struct{}
	running bool
}

func newSim(t *testing.T, svc failover.Service, members, witnesses int, latency func(from, to string) time.Duration) *sim {
	if latency == nil {
		latency = func(string, string) time.Duration { return 500 * time.Microsecond }
	}
	s := &sim{
		t: t, world: fake.NewWorld(fake.Options{Latency: latency}), mesh: NewMesh(), store: cluster.NewMemory(), nodes: map[string]*simNode{},
		cut: map[[2]string]bool{}, acked: map[string]bool{}, grants: map[uint64]string{},
	}
	s.mesh.Latency = latency
	svc.Name = "db"
	for i := range members {
		n := string(rune('a' + i))
		s.names, s.members = append(s.names, n), append(s.members, n)
		svc.Members = append(svc.Members, failover.Member{Node: n, Address: n + ":5432", Priority: i})
	}
	for i := range witnesses {
		s.names = append(s.names, fmt.Sprint("w", i+1))
	}
	svc.Voters = s.names
	s.svc = svc.WithDefaults()
	s.lost = s.svc.Protection == failover.MaxPerformance
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, n := range s.names {
		s.nodes[n] = &simNode{s: s, name: n}
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

func (s *sim) fail(format string, args ...any) {
	s.logf("FAILED "+format, args...)
	s.mu.Lock()
	first := !s.broken
	s.broken = true
	s.mu.Unlock()
	if first {
		s.t.Errorf(format, args...)
	}
}

func (n *simNode) start() {
	n.mu.Lock()
	n.running, n.dead = true, make(chan struct{})
	n.mu.Unlock()
	s := n.s
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.done = cancel, make(chan struct{})
	o := Options{
		Self: n.name, Services: []failover.Service{s.svc}, Engines: map[string]Engine{}, Store: s.store.Client(n.name), Peers: s.mesh.Peer(n.name),
		Append: func(r event.Record) event.Record {
			s.logf("%s: %s: %s [%s]", n.name, r.Kind, r.Message, r.Evidence)
			return r
		},
		gate: n.gate(n.dead),
	}
	var parts sync.WaitGroup
	if slices.Contains(s.members, n.name) {
		s.world.Instance(n.name).PowerOn()
		e := s.world.Engine(n.name)
		o.Engines["db"] = e
		parts.Go(func() { _ = e.Run(ctx) })
	}
	n.control = New(o)
	parts.Go(func() { _ = n.control.Run(ctx) })
	go func() { parts.Wait(); close(n.done) }()
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
func (n *simNode) kill(power bool) {
	if !n.up() {
		return
	}
	n.mu.Lock()
	n.running = false
	close(n.dead)
	n.mu.Unlock()
	if slices.Contains(n.s.members, n.name) {
		in := n.s.world.Instance(n.name)
		if power {
			in.PowerOff()
		} else {
			in.Orphan()
			in.Crash()
		}
	}
	n.s.mesh.Kill(n.name, !power)
	n.cancel()
	<-n.done
}

func (n *simNode) up() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.running
}

func (n *simNode) hang() {
	n.mu.Lock()
	if n.hung == nil {
		n.hung = make(chan struct{})
	}
	n.mu.Unlock()
	n.s.world.Instance(n.name).Hang(true)
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

// follow checks each version of the record as it is written.
func (s *sim) follow() {
	var last failover.State
	for up := range s.store.Client("referee").Watch(s.ctx, "services/db/state") {
		for _, c := range up.Changes {
			var now failover.State
			if err := json.Unmarshal(c.Value, &now); err != nil {
				s.fail("the record cannot be read: %v", err)
				continue
			}
			if now.Epoch < last.Epoch {
				s.fail("epoch %d after %d", now.Epoch, last.Epoch)
			}
			s.mu.Lock()
			was := s.grants[now.Epoch]
			if now.Primary != "" {
				s.grants[now.Epoch] = now.Primary
			}
			s.mu.Unlock()
			if now.Primary != "" && was != "" && was != now.Primary {
				s.fail("epoch %d was granted to %s and to %s", now.Epoch, was, now.Primary)
			}
			s.logf("record: epoch %d primary %q hold %t elected %q sync %s before %v in line %v base %d plan %s",
				now.Epoch, now.Primary, now.Hold, now.Elected, now.Sync, now.Before, now.InLine, now.Base, planText(now.Plan))
			last = now
		}
	}
}

func planText(p *failover.Progress) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%s %s by %s group %d", p.ID, p.Kind, p.Runner, p.Group)
}

// client writes through a node's proxy, again and again.
func (s *sim) client(proxy string, every time.Duration) {
	for s.ctx.Err() == nil {
		s.write(proxy)
		select {
		case <-time.After(every):
		case <-s.ctx.Done():
		}
	}
}

// write is one session with one write: the route is looked up, followed, and watched until the answer is back.
func (s *sim) write(proxy string) bool {
	n := s.nodes[proxy]
	if !n.up() || n.isHung() {
		return false
	}
	routes := n.control.Routes()
	changed := routes.Changed()
	r := routes.Route("db")
	if !r.Valid(time.Now()) || !s.linked(proxy, r.Primary) && proxy != r.Primary {
		return false
	}
	ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second)
	defer cancel()
	go func() { // the proxy cuts sessions whose route is no more
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			case <-time.After(20 * time.Millisecond):
			}
			if n.isHung() {
				continue
			}
			changed = routes.Changed()
			if now := routes.Route("db"); now.Epoch != r.Epoch || !now.Valid(time.Now()) {
				cancel()
				return
			}
		}
	}()
	s.mu.Lock()
	s.serial++
	value := fmt.Sprintf("%s-%d", proxy, s.serial)
	s.mu.Unlock()
	in := s.world.Instance(r.Primary)
	w, err := in.Write(ctx, value)
	if err != nil {
		return false
	}
	now := routes.Route("db")
	toClient := now.Valid(time.Now()) && now.Epoch == r.Epoch && !n.isHung() && n.up()
	s.ack(value, w, toClient)
	return toClient
}

// ack checks an acknowledgement against all before it.
func (s *sim) ack(value string, w fake.Write, toClient bool) {
	if s.lost && !toClient {
		return
	}
	s.mu.Lock()
	old, fresh := s.epoch, w.Epoch > s.epoch
	if !s.ackAt.IsZero() {
		s.gap = max(s.gap, time.Since(s.ackAt))
	}
	s.acked[value], s.ackAt, s.epoch = true, time.Now(), max(s.epoch, w.Epoch)
	s.mu.Unlock()
	s.mu.Lock()
	s.acks = append(s.acks, fmt.Sprintf("%s %s at %d by %s, epoch %d", time.Now().Format("05.0000"), value, w.Position, w.Node, w.Epoch))
	s.mu.Unlock()
	if w.Epoch < old {
		s.fail("%s acknowledged %s at epoch %d after one at epoch %d", w.Node, value, w.Epoch, old)
	}
	if fresh {
		s.logf("first acknowledgement of %s at epoch %d", w.Node, w.Epoch)
		s.check(w.Node)
	}
}

// check says which acknowledged writes an instance does not have.
func (s *sim) check(node string) {
	if s.lost {
		return
	}
	s.mu.Lock()
	acked := slices.Collect(maps.Keys(s.acked))
	s.mu.Unlock()
	set := map[string]bool{}
	for _, v := range s.world.Instance(node).Values() { // after the acknowledgements were collected
		set[v] = true
	}
	missing := slices.DeleteFunc(acked, func(v string) bool { return set[v] })
	if len(missing) > 0 {
		slices.Sort(missing)
		for _, a := range s.acks {
			if slices.Contains(missing, strings.Fields(a)[1]) {
				s.logf("lost: %s", a)
			}
		}
		s.fail("%s does not have %d acknowledged writes: %s", node, len(missing), strings.Join(missing, " "))
	}
}

// whole says what is missing for everything to be as it should.
func (s *sim) whole() string {
	primary := ""
	for _, name := range s.names {
		n := s.nodes[name]
		st := n.control.State("db")
		if st == nil || st.Primary == "" {
			return name + " knows no primary"
		}
		if primary == "" {
			primary = st.Primary
		}
		r := n.control.Routes().Route("db")
		switch {
		case st.Primary != primary:
			return name + " knows another primary"
		case st.Plan != nil || len(st.Before) > 0:
			return name + " knows of a plan: " + planText(st.Plan)
		case len(st.InLine) != len(s.members)-1:
			return fmt.Sprintf("in line are %v", st.InLine)
		case s.svc.Protection != failover.MaxPerformance && len(st.Sync.Names) != len(s.members)-1:
			return fmt.Sprintf("the set is %s", st.Sync)
		case !r.Valid(time.Now()) || r.Primary != primary:
			return fmt.Sprintf("%s has route %+v", name, r)
		}
	}
	if w := s.world.Writers(); !slices.Equal(w, []string{primary}) {
		return fmt.Sprintf("writers are %v", w)
	}
	return ""
}

// settle waits until all is whole and stays so for a while; it fails after the limit.
func (s *sim) settle(limit time.Duration) {
	began, since := time.Now(), time.Time{}
	why := ""
	for time.Since(began) < limit {
		if why = s.whole(); why != "" {
			since = time.Time{}
		} else if since.IsZero() {
			since = time.Now()
		} else if time.Since(since) > time.Second {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	text := ""
	for _, n := range s.names {
		e, _ := s.nodes[n].control.Explain("db")
		text += e
	}
	s.logf("%s", text)
	s.fail("not whole after %v: %s", limit, why)
}

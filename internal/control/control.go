package control

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/decide/failover"
)

// Options say what a Control is made of. Self, Services, Store and Peers are required.
type Options struct {
	Self     string
	Services []failover.Service
	Engines  map[string]Engine // by service; none where this node runs no member of it
	Store    cluster.Store
	Peers    Peers
	// Renew and Margin are the lease's; a quarter and an eighth of the service's TTL by default. StoreTry bounds a request
	// to the store; the TTL by default.
	Renew, Margin, StoreTry time.Duration
	// Settles says that there is a data plane, which says by Quiet when nothing is at work; without, nothing ever is.
	Settles bool
	// Guard has the guard of a service's instance told what Routes says of it now. It is called before each step that may have
	// the instance take writes, from any goroutine.
	Guard  func(service string)
	Append func(event.Record) event.Record
	Log    *slog.Logger
	// Record is told what was decided from each view, in the loop: it must not wait. None where nil.
	Record func(failover.View, failover.Decision)

	gate func()           // tests stop the process here
	wall func() time.Time // tests put the clock wrong here: what it says is recorded, and nothing is decided by it
	// Tests put wrong judgements here, and switch single safeguards off, to see that the simulation notices.
	judge judge
	off   safeguard
}

// A judge is what the loop asks: package failover.
type judge struct {
	decide  func(failover.View) failover.Decision
	advance func(failover.View) (failover.State, []failover.Note, bool)
	care    func(failover.View) failover.Decision
}

// A safeguard is one of those that are not rules of package failover but conditions of the loop.
type safeguard int

const (
	safeguardReflex safeguard = iota + 1 // a primary without authority is stopped
	safeguardQuiet                       // nobody is fenced while an asynchronous primary may act on his word
)

// A Control looks after all services on one node.
type Control struct {
	o          Options
	boot       string
	routes     *Routes
	configured chan struct{} // cap 1

	mu      sync.Mutex
	units   map[string]*unit
	seq     uint64
	sent    map[uint64]time.Time // when own messages were sent, the youngest of them
	pulse   time.Time            // the last one
	since   time.Time            // contact is counted from here: the process did not run, or did not listen, before
	leaving bool
}

// New returns a Control that does nothing yet.
func New(o Options) *Control {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Append == nil {
		o.Append = func(r event.Record) event.Record { return r }
	}
	if o.Guard == nil {
		o.Guard = func(string) {}
	}
	if o.gate == nil {
		o.gate = func() {}
	}
	if o.Record == nil {
		o.Record = func(failover.View, failover.Decision) {}
	}
	if o.wall == nil {
		o.wall = time.Now
	}
	if o.judge.decide == nil {
		o.judge = judge{failover.Decide, failover.Advance, failover.Care}
	}
	c := &Control{
		o: o, boot: rand.Text(), routes: newRoutes(), configured: make(chan struct{}, 1), units: map[string]*unit{}, sent: map[uint64]time.Time{},
	}
	c.declare(o.Services, o.Engines)
	return c
}

// Quiet is told by the data plane: on this node clients of the service wait, as Route.Plan wants it, and nothing that they
// have begun is at work any more.
func (c *Control) Quiet(service, plan string) {
	c.mu.Lock()
	u := c.units[service]
	c.mu.Unlock()
	if u != nil {
		u.quieted.Store(&plan)
		u.wake()
	}
}

// Routes returns where clients are to be sent.
func (c *Control) Routes() *Routes { return c.routes }

// Run looks after the services until ctx ends. It leaves the instances as they are: see Leave.
func (c *Control) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	now := time.Now()
	c.mu.Lock()
	c.pulse, c.since = now, now
	c.mu.Unlock()
	ticker := time.NewTicker(c.heartbeat())
	defer ticker.Stop()
	for {
		c.start(ctx, &parts)
		select {
		case <-ctx.Done():
			return nil
		case <-c.configured:
			ticker.Reset(c.heartbeat())
		case <-ticker.C:
			c.o.gate()
			c.beat()
			c.publish(false)
		case <-c.o.Peers.Changed():
		}
		for _, u := range c.all() {
			u.wake()
		}
	}
}

// heartbeat is the shortest of the services'.
func (c *Control) heartbeat() time.Duration {
	d := time.Duration(0)
	for _, u := range c.all() {
		if d == 0 || u.svc.Heartbeat < d {
			d = u.svc.Heartbeat
		}
	}
	if d == 0 {
		d = failover.Service{}.WithDefaults().Heartbeat
	}
	return d
}

// beat notices when this process itself was stopped for a while: it must not take its own silence for that of others.
func (c *Control) beat() {
	patience := 4 * c.heartbeat()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.pulse) > patience {
		c.since = now
	}
	c.pulse = now
}

// publish tells the others what all units report.
func (c *Control) publish(urgent bool) {
	// First what was heard, then what is said: an epoch that is learned in between is in the message, or is acted on by a
	// unit that has heard at least as much.
	contacts := c.o.Peers.Contacts()
	services := map[string]failover.Report{}
	for name, u := range c.all() {
		services[name] = u.reported()
	}
	c.mu.Lock()
	c.seq++
	now := time.Now()
	c.sent[c.seq] = now
	if c.seq > sentSize {
		delete(c.sent, c.seq-sentSize)
	}
	m := Message{Node: c.o.Self, Boot: c.boot, Seq: c.seq, Heard: map[string]Echo{}, Services: services}
	c.mu.Unlock()
	for node, contact := range contacts {
		m.Heard[node] = Echo{Boot: contact.Message.Boot, Seq: contact.Message.Seq}
	}
	c.o.Peers.Publish(m, urgent)
}

// sentSize bounds how many own messages are remembered for their echoes.
const sentSize = 1024

// look returns the contacts, with how long each was silent as far as this process can tell.
func (c *Control) look() (contacts map[string]Contact, since time.Time) {
	contacts = c.o.Peers.Contacts()
	c.mu.Lock()
	defer c.mu.Unlock()
	return contacts, c.since
}

// suspect says why a node is suspected; empty when it is not.
func suspect(contact Contact, since, now time.Time, patience time.Duration) string {
	if contact.Broken != "" {
		return contact.Broken
	}
	last := contact.Received
	if last.Before(since) {
		last = since
	}
	if silent := now.Sub(last); silent > patience {
		return fmt.Sprintf("silent for %v", silent.Round(10*time.Millisecond))
	}
	return ""
}

// echoed returns when the newest own message was sent that a node had heard when it last spoke; zero: none known.
func (c *Control) echoed(m Message) time.Time {
	e, ok := m.Heard[c.o.Self]
	if !ok || e.Boot != c.boot {
		return time.Time{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent[e.Seq]
}

// Leave hands over what this node is primary of, where a standby can take it, and stops its instances; within ctx.
func (c *Control) Leave(ctx context.Context) error {
	c.mu.Lock()
	c.leaving = true
	c.mu.Unlock()
	var err error
	for name, u := range c.all() {
		if e := u.leave(ctx); e != nil {
			err = fmt.Errorf("leave %s: %w", name, e)
		}
	}
	return err
}

func (c *Control) isLeaving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leaving
}

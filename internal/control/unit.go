package control

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/decide/plan"
)

// A unit looks after one service on one node. Everything below the line is touched only by its own loop.
type unit struct {
	c      *Control
	svc    failover.Service
	engine Engine // nil where the node runs no member
	lease  *cluster.Lease
	woken  chan struct{}
	calls  chan func() // outcomes of what ran beside the loop
	begun  bool        // as end, guarded by the Control's mutex
	end    context.CancelFunc
	over   chan struct{} // closed when the loop has ended
	// declared is a new declaration that the loop has not taken in yet.
	declared atomic.Pointer[failover.Service]
	// quieted is the plan for which the data plane of this node is quiet.
	quieted atomic.Pointer[string]

	mu     sync.Mutex
	report failover.Report // the newest, for publish
	view   failover.View   // the newest, for Explain
	said   failover.Decision

	// ---
	ctx     context.Context
	parts   *sync.WaitGroup
	started time.Time
	now     time.Time // of this round of the loop, with the monotonic reading that all durations are taken from

	known      bool // the store was read
	state      *failover.State
	revision   int64
	stateSeen  time.Time // when the last good request to the store was sent
	storeHeard time.Time // when its watch last brought something
	probing    bool
	probed     time.Time
	writing    bool
	resync     bool // a write has an unknown fate: read before the next

	observed    bool
	observation plan.Observation
	looked      time.Time // when the observation's look began
	idleSince   time.Time // since when the primary here cannot write
	worked      time.Time // when the last step on the instance ended
	asked       bool      // it was asked to be a primary, and no later step has ended that
	opened      time.Time // when it was first seen to take writes at this epoch, by the wall clock

	epochSeen  time.Time
	planSeen   string
	groupSeen  time.Time
	away       map[string]time.Time // since when the primary does not see a standby streaming
	served     map[string]time.Time // when a node was last heard to serve
	failovers  []time.Time
	count      int
	turns      map[string]turn // what wants to begin
	toldRule   string
	deposed    string
	deposing   bool
	taking     bool
	releasing  bool
	granting   bool
	tookAt     time.Time
	hands      hands
	caring     caring
	marks      map[markKey]mark
	lastReport failover.Report
	fencedSelf string               // why this node stopped its own instance, told once
	former     map[string]time.Time // members that were taken out, and until when their word still counts
}

func newUnit(c *Control, svc failover.Service, engine Engine) *unit {
	u := &unit{
		c: c, svc: svc, engine: engine, woken: make(chan struct{}, 1), calls: make(chan func(), 16),
		away: map[string]time.Time{}, served: map[string]time.Time{}, marks: map[markKey]mark{}, turns: map[string]turn{},
		over: make(chan struct{}), former: map[string]time.Time{},
	}
	u.lease = cluster.NewLease(cluster.LeaseOptions{
		Store: c.o.Store, Key: cluster.LeaseKey(svc.Name), Holder: c.o.Self,
		TTL: svc.TTL, Renew: c.o.Renew, Margin: c.o.Margin, Log: c.o.Log,
	})
	u.report = failover.Report{Node: c.o.Self}
	return u
}

// stateKey is where the store keeps the failover.State.
func (u *unit) stateKey() string { return stateKey(u.svc.Name) }

func (u *unit) wake() {
	select {
	case u.woken <- struct{}{}:
	default:
	}
}

// beside runs something that may block; what it returns is then called in the loop.
func (u *unit) beside(do func(ctx context.Context) func()) {
	ctx := u.ctx
	u.parts.Go(func() {
		done := do(ctx)
		select {
		case u.calls <- done:
		case <-ctx.Done():
		}
	})
}

// run is the loop.
func (u *unit) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	now := time.Now()
	u.ctx, u.parts, u.started, u.epochSeen = ctx, &parts, now, now
	parts.Go(func() { _ = u.lease.Run(ctx) })
	if u.engine != nil {
		parts.Go(func() { u.observe(ctx) })
	}
	updates := u.c.o.Store.Watch(ctx, u.stateKey())
	deadline := time.NewTimer(time.Hour)
	defer deadline.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case up, ok := <-updates:
			if !ok {
				return
			}
			u.learnUpdate(up)
		case done := <-u.calls:
			u.c.o.gate()
			done()
		case <-u.woken:
		case <-u.lease.Changed():
		case <-deadline.C:
		}
		u.drain()
		u.c.o.gate()
		u.think(time.Now())
		if _, until, ok := u.lease.Held(); ok {
			deadline.Reset(max(time.Until(until), 0) + time.Millisecond)
		}
	}
}

// drain takes in what else has come, so that one round of thinking is enough for all.
func (u *unit) drain() {
	for {
		select {
		case done := <-u.calls:
			done()
		default:
			return
		}
	}
}

// observe looks at the instance again and again.
func (u *unit) observe(ctx context.Context) {
	ticker := time.NewTicker(max(u.svc.Heartbeat/2, 20*time.Millisecond))
	defer ticker.Stop()
	for {
		u.c.o.gate()
		began := time.Now()
		look, cancel := context.WithTimeout(ctx, u.svc.Suspicion)
		o, err := u.engine.Observe(look)
		cancel()
		select {
		case u.calls <- func() { u.see(o, err, began) }:
		case <-ctx.Done():
			return
		}
		select {
		case <-ticker.C:
		case <-u.engine.Changed():
		case <-ctx.Done():
			return
		}
	}
}

// see takes an observation in.
func (u *unit) see(o plan.Observation, err error, began time.Time) {
	if err != nil {
		u.c.o.Log.Debug("instance cannot be observed", "service", u.svc.Name, "error", err)
		return
	}
	if began.Before(u.looked) {
		return
	}
	u.observed, u.observation, u.looked = true, o, began
	if u.hands.job == nil && !o.Running && !began.Before(u.worked) {
		u.asked = false // whoever starts it ends what was asked for before
	}
	if u.opened.IsZero() && o.Running && o.Writable && o.Role == plan.Primary && u.isPrimary() && !began.Before(u.epochSeen) {
		u.opened = u.c.o.wall()
	}
	if o.Running && o.Writable || u.state == nil || u.state.Primary != u.c.o.Self {
		u.idleSince = time.Time{}
	} else if u.idleSince.IsZero() {
		u.idleSince = began
	}
}

// tell puts a record on the event log; it is of the plan under way, where there is one.
func (u *unit) tell(kind, member, message, evidence string, epoch uint64) {
	var p *failover.Progress
	if u.state != nil {
		p = u.state.Plan
	}
	u.tellOf(p, kind, member, message, evidence, epoch)
}

func (u *unit) tellOf(p *failover.Progress, kind, member, message, evidence string, epoch uint64) {
	fields := map[string]any{"epoch": epoch}
	if p != nil {
		fields["plan"] = p.ID
	}
	u.c.o.Append(event.Record{
		Kind: kind, Service: u.svc.Name, Member: member, Node: u.c.o.Self, Message: message, Evidence: evidence, Fields: fields,
	})
}

func (u *unit) reported() failover.Report {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.report
}

func (u *unit) epoch() uint64 {
	if u.state == nil {
		return 0
	}
	return u.state.Epoch
}

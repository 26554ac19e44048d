package redis

import (
	"context"
	"fmt"
	"time"

	"github.com/backstay/backstay/internal/decide/plan"
)

// Observe says what the instance looks like now. It costs one round trip, or nothing where none runs.
func (e *Engine) Observe(ctx context.Context) (plan.Observation, error) {
	if err := e.init(); err != nil {
		return plan.Observation{Node: e.o.Node, Time: time.Now(), Role: plan.None, Problem: err.Error()}, err
	}
	var err error
	if e.running() {
		err = e.refresh(ctx)
	}
	st, empty := e.ledger.State(), e.empty()
	e.mu.Lock()
	defer e.mu.Unlock()
	at, _ := e.whereabouts()
	from := e.seen.origin
	if !e.running() || !e.loaded {
		from = e.rest.origin()
	}
	o := plan.Observation{
		Node: e.o.Node, Time: time.Now(), Role: plan.None, Running: e.running(), Empty: empty, Epoch: st.Held, Busy: e.ledger.Busy(),
		SystemID: from.System, Timeline: uint32(from.Life), Position: at, Upstream: st.Upstream,
	}
	if st.Fenced || st.Copying { // what is being copied is not said to follow
		o.Upstream = ""
	}
	if empty {
		o.SystemID, o.Timeline, o.Position = "", 0, 0
	}
	if !e.running() {
		if how := e.sup.Ending(); how != "" {
			o.Problem = "Redis ended: " + how
		}
		return o, nil
	}
	e.observeUp(&o, err, st.Standby)
	return o, nil
}

// observeUp fills in what only a running instance has. Called with the lock held.
func (e *Engine) observeUp(o *plan.Observation, failed error, standby bool) {
	f := e.seen
	o.Role = plan.Standby
	if f.known && f.master || !f.known && !standby {
		o.Role = plan.Primary
	}
	switch {
	case failed != nil:
		if f.known {
			o.Problem = "Redis does not answer: " + e.failure
		}
	case f.loading:
		o.Problem = "Redis loads its data"
	case f.writesFail != "":
		o.Problem = f.writesFail
	}
	if o.Role == plan.Standby {
		o.Applied = o.Position
		o.Streaming = failed == nil && f.linkUp && !o.Empty && e.attached(o.Upstream)
		if o.Problem == "" && o.Upstream != "" && !o.Streaming {
			o.Problem = e.apart
		}
		return
	}
	o.Upstream = ""
	o.LastWrite = e.probe.last
	o.Writable = failed == nil && f.known && !standby && !f.loading && e.probe.problem == "" && !e.probe.last.IsZero()
	if o.Problem == "" {
		o.Problem = e.probe.problem
	}
	for node, address := range *e.peers.Load() {
		for _, d := range f.downs {
			if d.address == address {
				o.Standbys = append(o.Standbys, plan.Downstream{Node: node, Position: e.downPosition(node, d, f)})
			}
		}
	}
	sortDownstreams(o.Standbys)
}

// downPosition is how far a standby is: as it told its primary, which it does once a second, or as its own node says.
func (e *Engine) downPosition(node string, d downstream, f facts) uint64 {
	at := position(f.origin.Life, d.offset)
	if e.o.PeerPosition != nil {
		if told, ok := e.o.PeerPosition(node); ok && told <= position(f.origin.Life, f.offset) {
			at = max(at, told)
		}
	}
	return at
}

// attached says whether Redis follows that node. Called with the lock held.
func (e *Engine) attached(node string) bool {
	return node != "" && !e.seen.master && e.seen.upstream() == (*e.peers.Load())[node]
}

// refresh looks at the running instance and keeps what it sees.
func (e *Engine) refresh(ctx context.Context) error {
	e.mu.Lock()
	life := e.life
	e.mu.Unlock()
	var f facts
	err := e.ask(ctx, e.o.QueryTimeout, func(ctx context.Context, k *conn) (err error) {
		f, err = k.look(ctx)
		return err
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.life != life || !e.running() {
		return fmt.Errorf("the instance was started anew meanwhile")
	}
	if err != nil {
		if e.failing.IsZero() {
			e.failing = time.Now()
		}
		e.failure = err.Error()
		return err
	}
	e.failing, e.failure = time.Time{}, ""
	if f.origin.Life == 0 { // clients may have flushed it away: it is written again within a second
		f.origin, f.originText = e.seen.origin, e.seen.originText
	}
	was := e.seen
	e.seen = f
	e.settleRest(f)
	if f.linkUp && !f.master {
		e.synced = true
	}
	if was.known && (was.linkUp != f.linkUp || was.master != f.master || len(was.downs) != len(f.downs)) {
		e.tell.Notify()
	}
	return nil
}

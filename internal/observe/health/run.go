package health

import (
	"context"
	"sync"
	"time"
)

// Run looks until ctx ends, and returns when no look is under way any more.
func (m *Monitor) Run(ctx context.Context) error {
	var looks sync.WaitGroup
	defer looks.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		m.start(ctx, &looks, timer)
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
		case <-timer.C:
		}
	}
}

// start begins the looks that are due, as far as there is room, and sets the timer to the next.
func (m *Monitor) start(ctx context.Context, looks *sync.WaitGroup, timer *time.Timer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	timer.Stop()
	for len(m.queue) > 0 {
		e := m.queue[0]
		if wait := e.due.Sub(now); wait > 0 {
			timer.Reset(wait)
			return
		}
		if m.looks >= m.o.Concurrency {
			m.warn(now, now.Sub(e.due))
			return // whoever ends first wakes
		}
		m.queue.take(e)
		m.looks++
		e.busy = true
		e.due = now.Add(m.interval(e))
		var limited context.Context
		limited, e.stop = context.WithTimeout(ctx, timeout(e.target.Check))
		l := look{entry: e, target: e.target, version: e.version, track: e.track, fresh: e.track.announce()}
		looks.Go(func() {
			defer m.done(e)
			result := m.look(limited, l)
			if ctx.Err() == nil { // else the end of Run cut it off
				m.observe(l, result)
			}
		})
	}
}

// look is a look under way: an entry as it was when the look began.
type look struct {
	entry   *entry
	target  Target
	version int
	track   track
	fresh   bool // tell first that the target is starting
}

func (m *Monitor) look(ctx context.Context, l look) Result {
	if l.fresh {
		m.tell(l.target, track{state: Unknown, since: l.track.since}, l.track)
	}
	begun := time.Now()
	result := m.o.Prober.Probe(ctx, l.target)
	result.Took = time.Since(begun)
	return result
}

func (m *Monitor) warn(now time.Time, late time.Duration) {
	if late < time.Second || now.Sub(m.warned) < time.Minute {
		return
	}
	m.warned = now
	m.o.Log.Warn("probes are late: as many as may run at once are under way", "late", late, "concurrency", m.o.Concurrency)
}

// observe takes a look in and tells what came of it. The entry stays busy until everybody was told, which keeps the order.
func (m *Monitor) observe(l look, result Result) {
	now := time.Now()
	m.mu.Lock()
	e, target := l.entry, l.target
	if e.version != l.version { // it is another target by now
		m.mu.Unlock()
		return
	}
	before := e.track
	changed := e.track.observe(target.Check, result, now)
	if changed {
		e.due = now.Add(m.interval(e) - result.Took) // a state has an interval of its own
	}
	after := e.track
	m.mu.Unlock()

	if m.o.OnResult != nil {
		m.o.OnResult(target, result)
	}
	if changed {
		m.tell(target, before, after)
	}
}

func (m *Monitor) tell(target Target, before, after track) {
	from, to := before.status(), after.status()
	m.o.Log.Debug("member changed", "service", target.Service, "member", target.Member, "from", from.State, "to", to.State, "evidence", to.Evidence)
	if m.o.OnTransition != nil {
		m.o.OnTransition(Transition{Target: target, From: from, To: to})
	}
}

// done makes room for another look, and gives the entry its place in the queue, or lets it go.
func (m *Monitor) done(e *entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.stop()
	m.looks--
	e.busy = false
	if e.removed {
		delete(m.entries, identity{e.target.Service, e.target.Member})
	} else {
		m.queue.put(e)
	}
	if m.looks == m.o.Concurrency-1 || !e.removed && m.queue[0] == e {
		m.poke()
	}
}

func (m *Monitor) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

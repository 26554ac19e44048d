package pool

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/resilience"
)

// protection is what keeps a service from more work than it can do.
type protection struct {
	line     line
	adaptive atomic.Pointer[resilience.Adaptive] // nil: the limit is fixed
	shed     atomic.Pointer[resilience.Shed]     // nil: off
	clients  atomic.Pointer[resilience.Bulkhead] // nil: clients are not told apart
	hedge    atomic.Pointer[resilience.Hedge]    // nil: off
	door     atomic.Pointer[resilience.Deadline] // nil until a client gives a deadline

	interval atomic.Int64 // of shedding

	found struct { // the options of what is in force; under the service's mutex
		adaptive resilience.AdaptiveOptions
		shed     config.Shed
	}
	shedding shedding
}

// Ticket is what a request shows to be let in, and keeps to leave. Its zero value is a request of normal priority.
type Ticket struct {
	Priority resilience.Priority
	Ranked   bool       // Priority was given; else it is normal
	Client   netip.Addr // whose request it is

	place  permit
	client resilience.Pass
	since  time.Time // of the place
}

// Leaving is how a request ended that had a ticket.
type Leaving struct {
	Took time.Duration // from EnterAs to the head of the answer, waiting excluded; 0: nothing is known
	Load Load
}

// Load is what the end of a request says about how busy the service is.
type Load uint8

// What the end of a request may say.
const (
	LoadUnknown Load = iota // nothing: it failed for another reason, or the client left
	LoadFine                // it was answered
	LoadTooMuch             // the service said that it has too much to do, or did not answer in time
)

// ErrClientBusy says that a client has as many requests at work as one may.
var ErrClientBusy = fmt.Errorf("%w: of this client", resilience.ErrLimited)

// What an adaptive limit is told.
var errUnknown = errors.New("says nothing about load")

// EnterAs is Enter for a request that matters more or less than others; where nil, LeaveAs must follow. Further errors:
// resilience.ErrShed.
func (s *Service) EnterAs(ctx context.Context, t *Ticket) error {
	p := &s.protect
	if !t.Ranked {
		t.Priority = resilience.Normal
	}
	if err := s.enterClient(t); err != nil {
		s.metrics.Count(telemetry.Limited)
		return err
	}
	shed := p.shed.Load()
	var refusal error
	if shed != nil {
		refusal = shed.Admit(t.Priority)
	}
	var standing time.Duration
	ok := false
	if p.line.length.Load() == 0 {
		t.place, ok = s.takePlace() // a place that is free is nobody else's loss, whatever the level
	}
	if !ok {
		if refusal != nil && !p.line.welcomes(classOf(t.Priority)) {
			t.client.Leave(nil)
			s.shedOne(shed, t.Priority)
			return refusal
		}
		var err error
		if t.place, standing, err = p.line.enter(ctx, classOf(t.Priority)); err != nil {
			t.client.Leave(nil)
			if errors.Is(err, resilience.ErrLimited) {
				s.metrics.Count(telemetry.Limited)
			}
			return err
		}
	}
	if shed != nil {
		shed.Observe(min(standing, p.mostDelay()))
	}
	if t.place.adaptive != nil {
		t.since = time.Now()
	}
	s.budget.Begin()
	return nil
}

// mostDelay bounds the delay that shedding hears of. It takes a long delay for a reason to let much less in than can be served, until the
// queue is gone; here that would refuse requests which overtake the queue anyway.
func (p *protection) mostDelay() time.Duration { return time.Duration(p.interval.Load()) * 3 / 10 }

// LeaveAs gives back what EnterAs took.
func (s *Service) LeaveAs(t *Ticket, l Leaving) {
	s.budget.End()
	if a := t.place.adaptive; a != nil {
		err := errUnknown
		switch {
		case l.Load == LoadTooMuch:
			err = context.DeadlineExceeded
		case l.Load == LoadFine && l.Took > 0:
			// How long a client takes to read its answer says nothing about the service: only the time to its head counts.
			t.place.pass.Begun += max(time.Since(t.since)-l.Took, 0)
			err = nil
		}
		a.Leave(t.place.pass, err)
	} else {
		s.limit.Release()
	}
	s.protect.line.left()
	t.client.Leave(nil)
	if l.Load != LoadFine || l.Took <= 0 {
		return
	}
	if h := s.protect.hedge.Load(); h != nil {
		h.Observe(l.Took)
	}
	if d := s.protect.door.Load(); d != nil {
		d.Observe(l.Took)
	}
}

// takePlace takes a place under the limit in force, if one is free.
func (s *Service) takePlace() (permit, bool) {
	if a := s.protect.adaptive.Load(); a != nil {
		pass, err := a.Enter(context.Background()) // its queue is ours: it never waits
		return permit{a, pass}, err == nil
	}
	return permit{}, s.limit.TryAcquire()
}

// enterClient takes a place under the client's own limit.
func (s *Service) enterClient(t *Ticket) (err error) {
	t.client = resilience.Pass{}
	if b := s.protect.clients.Load(); b != nil && t.Client.IsValid() {
		if t.client, err = b.EnterKey(context.Background(), t.Client.String()); err != nil { // no queue: it never waits
			return ErrClientBusy
		}
	}
	return nil
}

// ShedLevel is the share of requests that is refused now, by priority: 0..1.
func (s *Service) ShedLevel() float64 {
	if shed := s.protect.shed.Load(); shed != nil {
		return shed.Snapshot().Level
	}
	return 0
}

// BreakerLevel is the share of breakers that are open: 1 where the service's own is, else that of its members.
func (s *Service) BreakerLevel() float64 {
	if b := s.breaker.Load(); b != nil && b.State() != resilience.Closed {
		return 1
	}
	s.lock()
	defer s.unlock()
	open := 0
	for _, c := range s.members {
		if !c.closed() {
			open++
		}
	}
	return float64(open) / float64(max(len(s.members), 1))
}

// TooLate says that a request that must be over within left cannot be: the service takes longer for most. needed is how long.
// It is known some requests after the first that had to be over by a time.
func (s *Service) TooLate(left time.Duration) (needed time.Duration, late bool) {
	d := s.protect.door.Load()
	if d == nil {
		s.protect.door.CompareAndSwap(nil, resilience.NewDeadline(resilience.DeadlineOptions{}))
		return 0, left <= 0
	}
	needed = d.Needed()
	return needed, left <= 0 || left < needed
}

// HedgeDelay is after how long another member is asked; false where none is.
func (s *Service) HedgeDelay() (time.Duration, bool) {
	if h := s.protect.hedge.Load(); h != nil {
		return h.Delay()
	}
	return 0, false
}

// setProtection puts other settings in force. What has been learnt stays where its settings do. The caller holds the mutex.
func (s *Service) setProtection(c config.Service) {
	p := &s.protect
	limit := config.Limit{Queue: 100, Wait: config.Duration(time.Second), Min: 2}
	if c.Limit != nil {
		limit = *c.Limit
	}
	limit.Adaptive = limit.Adaptive || c.Sheds() && limit.Concurrency == 0
	s.setAdaptive(limit)
	s.setShed(c)
	bounds := resilience.LimitOptions{Concurrency: limit.Client}
	switch b := p.clients.Load(); {
	case limit.Client == 0:
		p.clients.Store(nil)
	case b != nil:
		b.Update(bounds)
	default:
		p.clients.Store(resilience.NewBulkhead(resilience.BulkheadOptions{LimitOptions: bounds, Compartments: 10000}))
	}
	switch {
	case c.Hedge == nil:
		p.hedge.Store(nil)
	case p.hedge.Load() == nil:
		p.hedge.Store(resilience.NewHedge(hedgeOptions(c.Hedge)))
	default:
		p.hedge.Load().Update(hedgeOptions(c.Hedge))
	}
	p.line.update(limit.Queue, time.Duration(limit.Wait))
}

// hedgeOptions leave out how many are asked: that is for who asks.
func hedgeOptions(c *config.Hedge) resilience.HedgeOptions {
	return resilience.HedgeOptions{Quantile: c.Quantile.Of(), Least: time.Duration(c.After)}
}

func (s *Service) setAdaptive(limit config.Limit) {
	p := &s.protect
	if !limit.Adaptive {
		p.adaptive.Store(nil)
		return
	}
	o := resilience.AdaptiveOptions{Min: limit.Min, Max: limit.Concurrency}
	if a := p.adaptive.Load(); a != nil && o.Min == p.found.adaptive.Min && o.Max == p.found.adaptive.Max {
		return
	}
	p.found.adaptive = o
	if a := p.adaptive.Load(); a != nil {
		o.Initial = a.Snapshot().Concurrency // what the last one has found
	}
	p.adaptive.Store(resilience.NewAdaptive(o))
}

func (s *Service) setShed(c config.Service) {
	p := &s.protect
	if !c.Sheds() {
		p.shed.Store(nil)
		return
	}
	var o config.Shed
	if c.Shed != nil {
		o = *c.Shed
	}
	interval := time.Duration(o.Interval)
	if interval == 0 {
		interval = 100 * time.Millisecond
	}
	p.interval.Store(int64(interval))
	bounds := resilience.ShedOptions{Target: time.Duration(o.Target), Interval: time.Duration(o.Interval)}
	if shed := p.shed.Load(); shed == nil {
		p.shed.Store(resilience.NewShed(bounds))
	} else if o != p.found.shed {
		shed.Update(bounds)
	}
	p.found.shed = o
}

package pool

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/resilience"
)

// Errors of Pick.
var (
	// ErrNoMember says that no member can serve now: all are down, drained or behind an open breaker. Hold waits for one.
	ErrNoMember = errors.New("no member of the service can serve at the moment")
	// ErrBusy says that members could serve, but each has as many requests at work as it may.
	ErrBusy = errors.New("every member of the service has as many requests at work as it may")
)

// Options configures a Service. The zero value works.
type Options struct {
	Zone    string             // where this node stands; members of the same zone are preferred
	Log     *slog.Logger       // for debugging; discarded where nil
	Append  func(event.Record) // takes every change of a member's or the service's state; called in order, without any lock held
	Metrics *telemetry.Metrics // counts; nothing is counted where nil
	Rand    func() uint64      // randomness; math/rand/v2 where nil. Must be safe for concurrent use
}

// Service is the live state of one service. It outlives configurations.
type Service struct {
	name     string
	options  Options
	base     time.Time
	metrics  *telemetry.Service
	limit    *resilience.Limit
	budget   *resilience.Budget
	hold     *resilience.Hold
	protect  protection
	freezing freezing
	breaker  atomic.Pointer[resilience.Breaker] // of the service as a whole; nil: off
	canPick  func() bool

	view atomic.Pointer[view]
	held atomic.Int64 // requests that wait for a member
	_    pad
	due  atomic.Int64 // when outliers are judged next
	_    pad

	mu      sync.Mutex
	members []*core // in order of name and address
	leaving []*core // removed, with sessions that may go on until the drain timeout
	rings   map[place]*ring
	turns   map[place]*turns
	timer   *time.Timer
	begun   bool // Set was called
	ended   bool
	notices notices
	outbox  []func()
	sending bool
}

// place is where a group of members stands.
type place struct {
	tier int
	zone string
}

// NewService makes a service without members.
func NewService(name string, o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Rand == nil {
		o.Rand = rand.Uint64
	}
	s := &Service{
		// An hour back, so that no reading of the clock is 0.
		name: name, options: o, base: time.Now().Add(-time.Hour), metrics: o.Metrics.Service(name),
		limit: resilience.NewLimit(resilience.LimitOptions{}), budget: resilience.NewBudget(resilience.BudgetOptions{}),
		hold: resilience.NewHold(resilience.HoldOptions{}), rings: map[place]*ring{}, turns: map[place]*turns{},
	}
	s.freezing.ended = make(chan struct{}, 1)
	s.canPick, s.protect.line.take = s.pickable, s.takePlace
	s.protect.line.queued = func() { s.metrics.Count(telemetry.Queued) }
	s.view.Store(&view{settings: newSettings(config.Service{})})
	return s
}

// now reads the clock: nanoseconds, monotonic.
func (s *Service) now() int64 { return int64(time.Since(s.base)) }

// at is the wall time of a reading.
func (s *Service) at(now int64) time.Time { return s.base.Add(time.Duration(now)) }

// lock begins a change. What must not happen under the lock is put into the outbox.
func (s *Service) lock() { s.mu.Lock() }

// unlock ends a change and then does what is in the outbox: one goroutine at a time, which keeps the order.
func (s *Service) unlock() {
	for !s.sending && len(s.outbox) > 0 {
		batch := s.outbox
		s.outbox, s.sending = nil, true
		s.mu.Unlock()
		for _, send := range batch {
			send()
		}
		s.mu.Lock()
		s.sending = false
	}
	s.mu.Unlock()
}

// record puts an event into the outbox.
func (s *Service) record(r event.Record) {
	r.Service, r.Time = s.name, time.Now()
	s.options.Log.Debug("service changed", "service", s.name, "kind", r.Kind, "member", r.Member, "message", r.Message, "evidence", r.Evidence)
	if s.options.Append != nil {
		s.outbox = append(s.outbox, func() { s.options.Append(r) })
	}
}

// schedule sets the one timer to the next moment at which something is over.
func (s *Service) schedule(now, next int64) {
	if s.timer != nil {
		s.timer.Stop()
	}
	if next == 0 || s.ended {
		return
	}
	wait := max(time.Duration(next-now), 0)
	if s.timer == nil {
		s.timer = time.AfterFunc(wait, s.wakeUp)
		return
	}
	s.timer.Reset(wait)
}

// wakeUp runs when the timer does.
func (s *Service) wakeUp() {
	s.lock()
	defer s.unlock()
	if !s.ended {
		s.rebuild()
	}
}

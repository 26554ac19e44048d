package resilience

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Shares gives out parts of a rate that several nodes have together. An implementation asks a store, or one node of them; Ledger
// is the algorithm.
type Shares interface {
	// Lease asks for want calls a second, and says how many are granted and until when, by this machine's clock and counted from
	// before it asked. It returns when the context ends.
	Lease(ctx context.Context, want float64) (granted float64, until time.Time, err error)
}

// SharedOptions bounds how often something may happen on all nodes together.
type SharedOptions struct {
	RateOptions                      // of all together; Burst is this node's, a tenth of a second of its share where not given
	Shares      Shares               // nil: an equal part is all there is
	Nodes       int                  // how many there are: each has an equal part where it cannot lease
	TTL         time.Duration        // how long leases are good for; 10s where not given
	OnChange    func(SharedSnapshot) // called after each change of the footing on which the share stands
}

// Footing is what a share is founded on.
type Footing uint8

// The footings.
const (
	FootingEqual  Footing = iota // an equal part: nothing has been leased, or too long ago
	FootingLeased                // a lease
	FootingLast                  // the last lease is over: what it gave, but no more than an equal part, for as long as one lasts
)

// String is the footing in one word.
func (f Footing) String() string { return [...]string{"equal", "leased", "last"}[f] }

// SharedSnapshot is a shared rate on this node at one moment, for display.
type SharedSnapshot struct {
	Footing   Footing
	PerSecond float64   // this node's share
	Want      float64   // what it asks for
	Until     time.Time // when the footing ends; zero where it does not
	Err       error     // why the last lease was not had; nil where it was
}

// Shared is a Rate for many nodes: each takes tokens from a bucket of its own, whose rate is the share of the whole that it has
// leased by its demand. So no call waits for another machine, and while the leases are not to be had calls go on: with the last
// share until its lease is over, then with no more than an equal part, for as long as others may still hold what was leased to
// them, and then with an equal part.
type Shared struct {
	options SharedOptions
	rate    *Rate
	came    atomic.Int64 // tokens asked for since the last lease

	mu       sync.Mutex
	snapshot SharedSnapshot
}

// NewShared makes a rate with an equal share; Run leases.
func NewShared(o SharedOptions) *Shared {
	o.Nodes = max(o.Nodes, 1)
	o.TTL = orDefault(o.TTL, 10*time.Second)
	s := &Shared{options: o}
	s.snapshot = SharedSnapshot{PerSecond: s.equal(), Want: s.equal()}
	s.rate = NewRate(s.terms(s.equal()))
	return s
}

func (s *Shared) equal() float64 { return s.options.PerSecond / float64(s.options.Nodes) }

// terms are those of this node's bucket. A share of nothing is one of next to nothing: 0 would be no bound.
func (s *Shared) terms(share float64) RateOptions {
	o := s.options.RateOptions
	if o.PerSecond > 0 {
		o.PerSecond = max(share, 1e-3)
	}
	return o
}

// Enter takes a token as Rate does.
func (s *Shared) Enter(ctx context.Context) (Pass, error) {
	cost := 1
	if s.options.Weighted {
		cost = CostOf(ctx)
	}
	s.came.Add(int64(cost))
	return s.rate.Enter(ctx)
}

// TryTake takes n tokens if they are there.
func (s *Shared) TryTake(n int) bool {
	s.came.Add(int64(n))
	return s.rate.TryTake(n)
}

// RetryAfter is the time until there is a token again.
func (s *Shared) RetryAfter() time.Duration { return s.rate.RetryAfter() }

// Snapshot is the share now, for display.
func (s *Shared) Snapshot() SharedSnapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot
}

// Run leases shares until the context ends.
func (s *Shared) Run(ctx context.Context) error {
	if s.options.Shares == nil || s.options.PerSecond <= 0 {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	since := time.Now()
	var next time.Duration
	for {
		if err := sleep(ctx, next); err != nil {
			return err
		}
		now := time.Now()
		want := s.wanted(now.Sub(since))
		since = now
		s.lease(ctx, want)
		// Well before the lease is over, and not all nodes at once.
		next = s.options.TTL/4 + rand.N(s.options.TTL/8)
		if until := time.Until(s.Snapshot().Until); until > 0 {
			next = min(next, until)
		}
	}
}

// wanted is what this node could use: what came lately, with room to grow by half, and something to begin with; fading, so that
// a pause does not lose the share.
func (s *Shared) wanted(passed time.Duration) float64 {
	came := float64(s.came.Swap(0))
	s.mu.Lock()
	defer s.mu.Unlock()
	demand := 0.0
	if passed > 0 {
		demand = 1.5 * came / passed.Seconds()
	}
	s.snapshot.Want = min(max(demand, 0.7*s.snapshot.Want, s.equal()/10), s.options.PerSecond)
	return s.snapshot.Want
}

// lease asks for a share, and steps back where there is none to be had.
func (s *Shared) lease(ctx context.Context, want float64) {
	s.stepBack()
	limit := s.options.TTL / 4
	if left := time.Until(s.Snapshot().Until); left > 0 {
		limit = min(limit, left) // the end of what is in force is not waited through
	}
	asking, cancel := context.WithTimeout(ctx, limit)
	granted, until, err := s.options.Shares.Lease(asking, want)
	cancel()
	s.change(func(now SharedSnapshot) SharedSnapshot {
		now.Err = err
		if err == nil && time.Now().Before(until) {
			now.Footing, now.PerSecond, now.Until = FootingLeased, granted, until
		}
		return now
	})
	s.stepBack()
}

// stepBack goes to the next weaker footing when the time of this one is over.
func (s *Shared) stepBack() {
	s.change(func(now SharedSnapshot) SharedSnapshot {
		switch {
		case now.Footing == FootingEqual || time.Now().Before(now.Until):
		case now.Footing == FootingLeased:
			now.Footing, now.PerSecond = FootingLast, min(now.PerSecond, s.equal())
			now.Until = now.Until.Add(s.options.TTL)
		default:
			now.Footing, now.PerSecond, now.Until = FootingEqual, s.equal(), time.Time{}
		}
		return now
	})
}

// change puts another share in force. Only Run calls it.
func (s *Shared) change(to func(SharedSnapshot) SharedSnapshot) {
	s.mu.Lock()
	before := s.snapshot
	after := to(before)
	s.snapshot = after
	s.mu.Unlock()
	if after.PerSecond != before.PerSecond {
		s.rate.Update(s.terms(after.PerSecond))
	}
	if after.Footing != before.Footing && s.options.OnChange != nil {
		s.options.OnChange(after)
	}
}

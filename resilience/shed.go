package resilience

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// ShedOptions says what overload is.
type ShedOptions struct {
	Target   time.Duration // queueing delay that is no overload; 5ms where not given
	Interval time.Duration // how often the level is adjusted; 100ms where not given
	Queue    Gate          // what calls wait in: a Limit or an Adaptive with a queue. Nil: the owner calls Observe.
	Rand     rand.Source   // randomness; the runtime\'s where nil. Must be safe for concurrent use
	// Weighted counts a call as many times as CostOf its context says (1024 at most): the share that is refused is then one of
	// the work and not of the calls.
	Weighted bool
}

// ShedSnapshot is a shedder at one moment, for display.
type ShedSnapshot struct {
	Level   float64  // the share of calls that is refused, 0..1
	Border  Priority // calls below it are refused, those above it are not
	Share   float64  // of the calls of just that priority, how many are refused
	Delay   time.Duration
	Refused uint64 // since it was made
}

// Shed refuses calls under overload, the least important first, so that the rest keeps its latency instead of all getting slow
// together.
//
// Overload is told by queueing delay, as in CoDel (Nichols, Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012): by
// the shortest delay in an interval, for a queue that is empty now and then is a burst being absorbed, and one that never is
// stands. Delay is what callers feel, needs no knowledge of capacity, and unlike processor load or the number of calls it is
// the same target for any service.
//
// What follows from it is a share of the calls to refuse. While the queue stands, calls are served at capacity, so that the
// share is known: what came beyond what was served, and a little more to drain the queue. A controller that felt its way there
// by the delay alone would be late both ways, as delay shows what was admitted a queue ago (measured: it served a fifth less,
// and took more than three seconds to let all back in). While the queue does not stand, the share falls: slowly towards what
// that capacity cannot serve of what comes, quickly where it could serve it.
//
// The share becomes a priority by the distribution of recent calls (as in WeChat's DAGOR, SoCC 2018), so that it acts alike
// whether one call in a hundred is sheddable or all of them are; calls right at the border are refused at random in
// proportion.
type Shed struct {
	queue    Gate
	random   source
	weighted bool
	clock    clock

	border   atomic.Uint64 // priority (upper half) and the share of it that is refused (lower half, of 2^32)
	shortest atomic.Int64  // delay in this interval
	came     atomic.Int64  // calls in this interval
	served   atomic.Int64  // those that got through the queue
	ends     atomic.Int64
	refused  atomic.Uint64
	arrivals [priorities]atomic.Uint32 // fading

	mu sync.Mutex // over what follows; not waited for by calls

	target, interval time.Duration

	level    float64
	capacity float64 // calls served per interval while the queue stood
	delay    time.Duration
}

const noDelay = math.MaxInt64

// NewShed makes a shedder that admits everything.
func NewShed(o ShedOptions) *Shed {
	s := &Shed{clock: newClock(), queue: o.Queue, random: source{o.Rand}, weighted: o.Weighted}
	s.Update(o)
	s.shortest.Store(noDelay)
	s.ends.Store(int64(s.interval))
	return s
}

// Update puts another Target and Interval in force; the level stays.
func (s *Shed) Update(o ShedOptions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	interval := orDefault(o.Interval, 100*time.Millisecond)
	if s.interval > 0 {
		s.capacity *= float64(interval) / float64(s.interval) // it is counted by the interval
	}
	s.target, s.interval = orDefault(o.Target, 5*time.Millisecond), interval
}

// Admit says whether a call of this priority may go on, with ErrShed where not.
func (s *Shed) Admit(p Priority) error { return s.AdmitN(p, 1) }

// AdmitN is Admit for a call that costs n ordinary ones (1024 at most); ObserveN goes with it.
func (s *Shed) AdmitN(p Priority, n int) error { return s.admit(p, shedCost(n), s.clock.now()) }

// shedCost bounds a cost, so that a busy second's sum fits its counter.
func shedCost(n int) int { return min(max(n, 1), 1<<10) }

func (s *Shed) admit(p Priority, cost int, now time.Duration) error {
	p = min(p, priorities-1)
	s.arrivals[p].Add(uint32(cost))
	s.came.Add(int64(cost))
	if int64(now) >= s.ends.Load() && s.mu.TryLock() {
		s.adjust(now)
		s.mu.Unlock()
	}
	border := s.border.Load()
	at := Priority(border >> 32)
	if p > at || (p == at && uint32(s.random.uint64()) >= uint32(border)) {
		return nil
	}
	s.refused.Add(1)
	return ErrShed
}

// Observe tells how long an admitted call has waited in the queue; 0 where it did not.
func (s *Shed) Observe(delay time.Duration) { s.ObserveN(delay, 1) }

// ObserveN is Observe for a call that costs n ordinary ones.
func (s *Shed) ObserveN(delay time.Duration, n int) {
	s.served.Add(int64(shedCost(n)))
	for {
		shortest := s.shortest.Load()
		if int64(delay) >= shortest || s.shortest.CompareAndSwap(shortest, int64(delay)) {
			return
		}
	}
}

// Enter admits a call by the priority of its context, then enters the queue and observes how long that takes.
func (s *Shed) Enter(ctx context.Context) (Pass, error) {
	now, cost := s.clock.now(), 1
	if s.weighted {
		cost = shedCost(CostOf(ctx))
	}
	if err := s.admit(PriorityOf(ctx), cost, now); err != nil || s.queue == nil {
		return Pass{}, err
	}
	pass, err := s.queue.Enter(ctx)
	if err == nil {
		s.ObserveN(s.clock.now()-now, cost)
	}
	return pass, err
}

// adjust ends an interval. The caller holds the mutex.
func (s *Shed) adjust(now time.Duration) {
	ends := s.ends.Load()
	if int64(now) < ends {
		return
	}
	passed := float64(int64(now)-ends)/float64(s.interval) + 1
	s.ends.Store(int64(now + s.interval))
	var arrivals [priorities]int
	total := 0
	for p := range arrivals {
		n := s.arrivals[p].Load()
		s.arrivals[p].Store(n / 2)
		arrivals[p] = int(n)
		total += int(n)
	}
	seen := passed
	if passed >= 2 {
		seen = 1 // who had come later would have ended the interval
	}
	s.move(time.Duration(s.shortest.Swap(noDelay)), float64(s.came.Swap(0))/seen, float64(s.served.Swap(0))/seen, seen)
	if passed > seen {
		s.move(noDelay, 0, 0, passed-seen)
	}
	s.border.Store(border(&arrivals, s.level*float64(total)))
}

// move sets the level by what an interval has shown.
func (s *Shed) move(shortest time.Duration, came, served, passed float64) {
	s.delay = shortest
	if shortest == noDelay {
		s.delay = 0
		if came > 0 && passed < 2 && s.level < 0.5 { // nobody got through: they wait longer than the interval
			s.delay = s.interval
		}
	}
	if s.delay > s.target {
		if s.capacity == 0 {
			s.capacity = served
		}
		s.capacity += 0.3 * (served - s.capacity)
		const soon = 3 // intervals in which to drain the queue
		drain := min(float64(s.delay)/float64(s.interval)/soon, 0.5)
		s.level = min(max(s.level+0.01, 1-s.capacity*(1-drain)/max(came, 1)), 0.99)
		return
	}
	least := max(0, 1-s.capacity/max(came, 1))
	s.level = max(0, s.level-passed*max(0.01, (s.level-least)/4))
}

// border is where to cut so that so many of the arrivals are below.
func border(arrivals *[priorities]int, refuse float64) uint64 {
	for p, n := range arrivals {
		if n > 0 && refuse < float64(n) {
			return uint64(p)<<32 | uint64(refuse/float64(n)*(1<<32-1))
		}
		refuse -= float64(n)
	}
	return 0
}

// Snapshot is the shedder now, for display.
func (s *Shed) Snapshot() ShedSnapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.clock.now(); now >= time.Duration(s.ends.Load())+s.interval {
		s.adjust(now) // no call has come to do it, and without calls there is no overload
	}
	border := s.border.Load()
	return ShedSnapshot{
		Level: s.level, Delay: s.delay, Refused: s.refused.Load(),
		Border: Priority(border >> 32), Share: float64(uint32(border)) / (1 << 32),
	}
}

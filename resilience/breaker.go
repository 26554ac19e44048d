package resilience

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// BreakerState is closed (calls pass), open (calls are refused) or half-open (a few calls try).
type BreakerState uint8

// The states of a breaker.
const (
	Closed BreakerState = iota
	Open
	HalfOpen
)

// String gives the state as people write it: closed, open, half-open.
func (s BreakerState) String() string { return [...]string{"closed", "open", "half-open"}[s] }

// Outcome is how a call ended, as a policy sees it.
type Outcome uint8

// The outcomes of a call. Ignored says nothing about the other side: the caller went away, say.
const (
	Success Outcome = iota
	Failure
	Ignored
)

// BreakerOptions says when a breaker opens and how it closes again. A criterion that is 0 is off; with all three off,
// Consecutive is 10 and FailureRate 0.6.
type BreakerOptions struct {
	Consecutive int           // opens at so many failures in a row
	FailureRate float64       // 0..1: opens when this share of the window's calls failed
	SlowRate    float64       // 0..1: opens when this share of the window's calls took Slow or longer
	Slow        time.Duration // what counts as slow; 1s where not given
	Volume      int           // calls the window must hold before a rate opens it; 20 where not given
	Window      time.Duration // time looked back on; 10s where not given
	Reset       time.Duration // how long it stays open the first time; 1s where not given; doubles with each failed trial
	MaxReset    time.Duration // bounds Reset's growth; 1m where not given
	Probes      int           // calls that try at once while half-open, and successes that close it; 1 where not given
	// ProbeTimeout is how long a probe may stay without its Done: one that is lost, or hangs, then counts as failed, so that
	// it cannot block the breaker. 30s where not given; more than a good answer can take.
	ProbeTimeout time.Duration
	Rand         rand.Source         // randomness; the runtime\'s where nil. Must be safe for concurrent use
	Classify     func(error) Outcome // what the errors of calls through Enter mean; Judge where not given
	OnChange     func(BreakerChange) // called after each change, in order, never under a lock
}

func (o BreakerOptions) withDefaults() BreakerOptions {
	if o.Consecutive <= 0 && o.FailureRate <= 0 && o.SlowRate <= 0 {
		o.Consecutive, o.FailureRate = 10, 0.6
	}
	o.Slow = orDefault(o.Slow, time.Second)
	o.Volume = orDefault(o.Volume, 20)
	o.Window = orDefault(o.Window, 10*time.Second)
	o.Reset = orDefault(o.Reset, time.Second)
	o.MaxReset = max(o.Reset, orDefault(o.MaxReset, time.Minute))
	o.Probes = orDefault(o.Probes, 1)
	o.ProbeTimeout = orDefault(o.ProbeTimeout, 30*time.Second)
	return o
}

// same says whether two sets of options judge alike; OnChange is kept elsewhere and left out.
func (o BreakerOptions) same(p BreakerOptions) bool {
	return o.Consecutive == p.Consecutive && o.FailureRate == p.FailureRate && o.SlowRate == p.SlowRate && o.Slow == p.Slow &&
		o.Volume == p.Volume && o.Window == p.Window && o.Reset == p.Reset && o.MaxReset == p.MaxReset && o.Probes == p.Probes &&
		o.ProbeTimeout == p.ProbeTimeout && o.Classify == nil && p.Classify == nil
}

// simple says that only failures in a row are judged, as Judge finds them.
func (o BreakerOptions) simple() bool { return !o.rated() && o.Classify == nil }

// rated says whether a rate is judged.
func (o BreakerOptions) rated() bool { return o.FailureRate > 0 || o.SlowRate > 0 }

func orDefault[T int | float64 | time.Duration](value, otherwise T) T {
	if value <= 0 {
		return otherwise
	}
	return value
}

// BreakerChange is one change of state.
type BreakerChange struct {
	From, To BreakerState
	Cause    string        // a phrase for people: "10 failures in a row"
	Reset    time.Duration // how long it stays open; 0 unless To is Open, and 0 when isolated by hand
	At       time.Time
}

// Breaker stops calls to what keeps failing, so that callers fail fast and the other side can recover (M. Nygard, Release It!,
// 2nd ed., ch. 5; M. Fowler, CircuitBreaker, 2014). It opens on failures in a row, on the failure rate or on the slow-call
// rate; after a growing, jittered time it lets a few calls try.
//
// All that belongs to one stay in one state is an era. A permit knows its era, and its result is dropped once another has
// begun: answers to calls made before the breaker opened do not close it, and old failures do not open it again.
type Breaker struct {
	clock   clock
	era     atomic.Pointer[era]
	refused counts

	mu         sync.Mutex
	onChange   func(BreakerChange)
	pending    []BreakerChange // changes that OnChange has not been told of
	delivering bool            // somebody is telling it
}

// Permit is the right to make one call. Its zero value is valid and nobody's.
type Permit struct {
	breaker *Breaker
	era     uint32
	probe   int
}

// NewBreaker makes a closed breaker.
func NewBreaker(o BreakerOptions) *Breaker {
	b := &Breaker{clock: newClock(), refused: newCounts(), onChange: o.OnChange}
	o = o.withDefaults()
	b.era.Store(&era{state: Closed, simple: o.simple(), options: o, clock: b.clock, tally: newTally(o, b.clock), cause: "new"})
	return b
}

// Ready says whether Allow would admit a call now; it takes nothing and changes nothing.
func (b *Breaker) Ready() bool {
	e := b.era.Load()
	if e.state == HalfOpen {
		b.mu.Lock()
		defer b.mu.Unlock()
		if e = b.era.Load(); e.state == HalfOpen {
			return e.trial.room(b.clock.now()) == vacant
		}
	}
	return e.state == Closed || e.rested(b.clock.now())
}

// Allow admits a call, whose Permit must be given Done exactly once, or refuses it with ErrOpen.
func (b *Breaker) Allow() (Permit, error) {
	e := b.era.Load()
	if e.state == Closed {
		return Permit{breaker: b, era: e.number}, nil
	}
	return b.probe(e)
}

// probe admits a call to an open breaker whose rest is over, or to a half-open one that has room.
func (b *Breaker) probe(e *era) (Permit, error) {
	if e.shut() {
		b.refused.add(1)
		return Permit{}, ErrOpen
	}
	now := b.clock.now()
	if e.state == Open && !e.rested(now) {
		b.refused.add(1)
		return Permit{}, ErrOpen
	}
	b.mu.Lock()
	if e = b.era.Load(); e.state == Open && e.rested(now) {
		e = b.move(rested, "reset timeout is over", 0)
	}
	permit, err := Permit{breaker: b, era: e.number}, error(nil)
	switch e.state {
	case Open:
		err = ErrOpen
	case HalfOpen:
		switch e.trial.room(now) {
		case vacant:
			permit.probe = e.trial.start(now)
		case busy:
			err = ErrOpen
		case lost:
			err = ErrOpen
			b.move(relapsed, "a probe did not end within "+e.options.ProbeTimeout.String(), 0)
		}
	case Closed: // another caller's probe has just closed it
	}
	b.mu.Unlock()
	b.deliver()
	if err != nil {
		b.refused.add(1)
		return Permit{}, ErrOpen
	}
	return permit, nil
}

// Done tells how the call ended and how long it took.
func (p Permit) Done(o Outcome, took time.Duration) { p.DoneAfter(o, took, 0) }

// DoneAfter is Done for an answer that asked not to be called again before retryAfter has passed (RFC 9110, section 10.2.3):
// if this result opens the breaker, it stays open for at least that long, bounded by MaxReset.
func (p Permit) DoneAfter(o Outcome, took, retryAfter time.Duration) {
	if p.breaker == nil {
		return
	}
	e := p.breaker.era.Load()
	if e.number != p.era {
		return
	}
	if e.state == HalfOpen {
		p.breaker.probed(p, o, took, retryAfter)
		return
	}
	if cause := e.record(o, took); cause != "" {
		p.breaker.change(e, tripped, cause, retryAfter)
	}
}

// probed takes a probe's result.
func (b *Breaker) probed(p Permit, o Outcome, took, retryAfter time.Duration) {
	b.mu.Lock()
	e := b.era.Load()
	if e.number == p.era {
		if event, cause := e.probed(p.probe, o, took); event != nothing {
			b.move(event, cause, retryAfter)
		}
	}
	b.mu.Unlock()
	b.deliver()
}

// State is the state now. An open breaker whose time is over stays open until a call tries it.
func (b *Breaker) State() BreakerState { return b.era.Load().state }

// RetryAfter is the time until an open breaker tries again; 0 when it admits calls or is isolated by hand.
func (b *Breaker) RetryAfter() time.Duration {
	e := b.era.Load()
	if e.state != Open || e.forced {
		return 0
	}
	return max(0, e.until-b.clock.now())
}

// Reset closes the breaker, forgets all results and ends what Isolate or ForceClose began.
func (b *Breaker) Reset() { b.change(nil, cleared, "reset by hand", 0) }

// Isolate opens the breaker until Reset or ForceClose.
func (b *Breaker) Isolate() { b.change(nil, isolated, "isolated by hand", 0) }

// ForceClose closes the breaker until Reset or Isolate, whatever the results.
func (b *Breaker) ForceClose() { b.change(nil, forced, "forced closed by hand", 0) }

// Update puts new options in force. The state stays; so do results, unless the window has another length.
func (b *Breaker) Update(o BreakerOptions) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onChange = o.OnChange
	o = o.withDefaults()
	e := *b.era.Load()
	if e.options.same(o) {
		return
	}
	if e.state == Closed && (e.options.Window != o.Window || e.tally.rated != o.rated()) {
		e.tally = newTally(o, b.clock)
	}
	if e.state == HalfOpen {
		e.trial.resize(o)
	}
	e.options, e.simple = o, e.state == Closed && o.simple()
	b.era.Store(&e)
}

// change applies an event to the era it was seen in; nil is whichever is on.
func (b *Breaker) change(seen *era, event event, cause string, retryAfter time.Duration) {
	b.mu.Lock()
	if seen == nil || b.era.Load().number == seen.number {
		b.move(event, cause, retryAfter)
	}
	b.mu.Unlock()
	b.deliver()
}

// move begins the era that follows on an event. The caller holds the mutex.
func (b *Breaker) move(event event, cause string, retryAfter time.Duration) *era {
	from, now := b.era.Load(), b.clock.now()
	to := from.next(event, now, retryAfter)
	to.cause = cause
	b.era.Store(to)
	if b.onChange != nil && (from.state != to.state || from.forced != to.forced) {
		change := BreakerChange{From: from.state, To: to.state, Cause: cause, At: b.clock.at(now)}
		if to.state == Open && !to.forced {
			change.Reset = to.until - now
		}
		b.pending = append(b.pending, change)
	}
	return to
}

// deliver tells OnChange what is pending: one goroutine at a time, which keeps the order, and without the lock, so that
// OnChange may use the breaker.
func (b *Breaker) deliver() {
	b.mu.Lock()
	if b.delivering || len(b.pending) == 0 {
		b.mu.Unlock()
		return
	}
	b.delivering = true
	defer func() {
		b.delivering = false
		b.mu.Unlock()
	}()
	for len(b.pending) > 0 {
		change, tell := b.pending[0], b.onChange
		b.pending = b.pending[1:]
		if tell != nil {
			b.tell(tell, change)
		}
	}
}

// tell calls OnChange outside the lock, and takes it again even where that panics.
func (b *Breaker) tell(tell func(BreakerChange), change BreakerChange) {
	b.mu.Unlock()
	defer b.mu.Lock()
	tell(change)
}

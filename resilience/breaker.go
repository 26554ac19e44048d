package resilience

import "time"

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

// Outcome is how a call ended, as a breaker sees it.
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
	// it cannot block the breaker. 10s where not given.
	ProbeTimeout time.Duration
	OnChange     func(BreakerChange) // called after each change, in order, never under a lock
}

// BreakerChange is one change of state.
type BreakerChange struct {
	From, To BreakerState
	Cause    string        // a phrase for people: "10 failures in a row"
	Reset    time.Duration // how long it stays open; 0 unless To is Open, and 0 when isolated by hand
	At       time.Time
}

// BreakerSnapshot is a breaker at one moment, for display.
type BreakerSnapshot struct {
	State       BreakerState
	Forced      bool          // by Isolate or ForceClose: stays until Reset
	Cause       string        // why it is in this state
	Since       time.Time     // when it came into this state
	RetryAfter  time.Duration // time until an open one tries
	Calls       int           // in the window; only while closed and judged by a rate
	Failures    int           // in the window
	Slow        int           // in the window
	Consecutive int           // failures in a row
	Probes      int           // at work now, while half-open
	Refused     uint64        // calls refused since it was made
}

// Breaker stops calls to what keeps failing.
type Breaker struct{}

// Permit is the right to make one call.
type Permit struct{ b *Breaker }

// NewBreaker makes a closed breaker.
func NewBreaker(o BreakerOptions) *Breaker { panic("not yet") }

// Ready says whether Allow would admit a call now; it takes nothing and changes nothing.
func (b *Breaker) Ready() bool { panic("not yet") }

// Allow admits a call, whose Permit must be given Done exactly once, or refuses it with ErrOpen.
func (b *Breaker) Allow() (Permit, error) { panic("not yet") }

// Done tells how the call ended and how long it took.
func (p Permit) Done(o Outcome, took time.Duration) { panic("not yet") }

// DoneAfter is Done for an answer that asked not to be called again before retryAfter has passed: if the breaker is opened by it, it
// stays open for at least that long, bounded by MaxReset.
func (p Permit) DoneAfter(o Outcome, took, retryAfter time.Duration) { panic("not yet") }

// State is the state now.
func (b *Breaker) State() BreakerState { panic("not yet") }

// RetryAfter is the time until an open breaker tries again; 0 when it admits calls or is isolated by hand.
func (b *Breaker) RetryAfter() time.Duration { panic("not yet") }

// Reset closes the breaker, forgets all results and ends what Isolate or ForceClose began.
func (b *Breaker) Reset() { panic("not yet") }

// Isolate opens the breaker until Reset or ForceClose.
func (b *Breaker) Isolate() { panic("not yet") }

// ForceClose closes the breaker until Reset or Isolate, whatever the results.
func (b *Breaker) ForceClose() { panic("not yet") }

// Snapshot is the breaker now, for display.
func (b *Breaker) Snapshot() BreakerSnapshot { panic("not yet") }

// Update puts new options in force; the state stays.
func (b *Breaker) Update(o BreakerOptions) { panic("not yet") }

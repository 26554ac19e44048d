package resilience

import (
	"context"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// ThrottleOptions says when a client holds calls back.
type ThrottleOptions struct {
	K        float64             // calls sent for each accepted one before any is held back; 2 where not given
	Window   time.Duration       // time looked back on; 2m where not given
	Most     float64             // 0..1: bounds the probability; 0.9 where not given
	Rand     rand.Source         // randomness; the runtime\'s where nil. Must be safe for concurrent use
	Classify func(error) Outcome // a Failure is a call that the other side did not accept; Judge where not given
}

// Throttle is client-side adaptive throttling (Google SRE, "Handling Overload"): calls are held back with the probability
//
//	max(0, (requests − K × accepts) / (requests + 1))
//
// over the window, so that a backend that refuses is sent K times what it accepts and not everything. It needs no word from
// the backend but its answers. Taken alone, the formula would send next to nothing during an outage, and would so notice its
// end late; hence Most, as in Envoy's admission control.
type Throttle struct {
	k, most  float64
	classify func(error) Outcome
	random   source
	clock    clock
	ticker   ticker
	requests rings
	accepts  rings
	refuse   atomic.Uint64 // the probability, as bits
	recount  atomic.Int64
}

// throttleRecount is how long a probability is used for; counting takes longer than all else.
const throttleRecount = 10 * time.Millisecond

// NewThrottle makes a throttle that holds nothing back yet.
func NewThrottle(o ThrottleOptions) *Throttle {
	if o.Classify == nil {
		o.Classify = Judge
	}
	return &Throttle{
		k: orDefault(o.K, 2), most: min(orDefault(o.Most, 0.9), 1), classify: o.Classify, random: source{o.Rand},
		clock: newClock(), ticker: newTicker(orDefault(o.Window, 2*time.Minute)),
		requests: newRings(), accepts: newRings(),
	}
}

// Refusing is the probability with which a call is held back now, 0..1.
func (t *Throttle) Refusing() float64 { return t.refusing(t.clock.now()) }

func (t *Throttle) refusing(now time.Duration) float64 {
	if due := t.recount.Load(); int64(now) >= due && t.recount.CompareAndSwap(due, int64(now+throttleRecount)) {
		at := t.ticker.at(now)
		requests, accepts := float64(t.requests.sum(at)), float64(t.accepts.sum(at))
		t.refuse.Store(math.Float64bits(min(max(0, (requests-t.k*accepts)/(requests+1)), t.most)))
	}
	return math.Float64frombits(t.refuse.Load())
}

// Enter holds a call back with ErrThrottled.
func (t *Throttle) Enter(context.Context) (Pass, error) {
	now := t.clock.now()
	p := t.refusing(now)
	t.requests.add(t.ticker.at(now))
	if p > 0 && t.random.float64() < p {
		return Pass{}, ErrThrottled
	}
	return Pass{Gate: t, Begun: now}, nil
}

// Leave counts a call that was accepted, in the time at which it began.
func (t *Throttle) Leave(p Pass, err error) {
	if t.classify(err) != Failure {
		t.accepts.add(t.ticker.at(p.Begun))
	}
}

package resilience

import (
	"fmt"
	"sync/atomic"
	"time"
)

// event is what can happen to a breaker.
type event uint8

const (
	nothing   event = iota
	tripped         // the results of a closed breaker reached a threshold
	rested          // the reset timeout of an open one is over and a call came
	recovered       // the probes of a half-open one succeeded
	relapsed        // one of them failed or got lost
	isolated        // by hand
	forced          // by hand
	cleared         // by hand
)

// follows is the state machine: the state that follows on an event (row) in a state (column). An event that cannot happen in a
// state leaves it; it is never raised there.
var follows = [...][3]BreakerState{
	nothing:   {Closed, Open, HalfOpen},
	tripped:   {Open, Open, HalfOpen},
	rested:    {Closed, HalfOpen, HalfOpen},
	recovered: {Closed, Open, Closed},
	relapsed:  {Closed, Open, Open},
	isolated:  {Open, Open, Open},
	forced:    {Closed, Closed, Closed},
	cleared:   {Closed, Closed, Closed},
}

// era is one stay in one state. Its fields do not change; what changes is in tally and trial, which die with it.
type era struct {
	number  uint32
	state   BreakerState
	forced  bool // by hand: no result ends it
	simple  bool // it is closed and goes by failures in a row alone, as Judge finds them
	cause   string
	since   time.Duration
	options BreakerOptions
	clock   clock // the breaker's

	reset time.Duration // Open, HalfOpen: the timeout that growth has reached, without its jitter
	until time.Duration // Open: when it may try
	// asleep is set in the first seven eighths of an open era, and all through one that was forced: no need to read the clock,
	// which would take longer than all else that a refusal does.
	asleep *atomic.Bool
	tally  *tally // Closed: the results
	trial  *trial // HalfOpen: the probes, under the breaker's mutex
}

// next is the era that follows on an event.
func (e *era) next(event event, now, retryAfter time.Duration) *era {
	n := &era{number: e.number + 1, state: follows[event][e.state], since: now, options: e.options, clock: e.clock}
	n.forced = event == isolated || event == forced
	n.simple = n.state == Closed && n.options.simple()
	switch n.state {
	case Closed:
		n.tally = newTally(n.options, e.clock)
	case Open:
		n.reset = n.options.Reset
		if event == relapsed {
			n.reset = min(2*e.reset, n.options.MaxReset)
		}
		// Up to a quarter shorter, at random: breakers that opened together must not all try together.
		rest := n.reset - source{n.options.Rand}.upTo(n.reset/4)
		n.until = now + max(rest, min(retryAfter, n.options.MaxReset))
		n.asleep = new(atomic.Bool)
		switch rest, asleep := n.until-now, n.asleep; {
		case n.forced:
			asleep.Store(true)
		case rest >= 10*time.Millisecond: // a timer of less comes too late to be of use
			asleep.Store(true)
			time.AfterFunc(rest/8*7, func() { asleep.Store(false) })
		}
	case HalfOpen:
		n.reset = e.reset
		n.trial = newTrial(n.options)
	}
	return n
}

// shut says, without a look at the clock, that an open era is not over yet; not in its last part.
func (e *era) shut() bool { return e.state == Open && e.asleep.Load() }

// rested says whether an open era is over.
func (e *era) rested(now time.Duration) bool { return !e.forced && now >= e.until }

// slow says whether a call took too long.
func (e *era) slow(took time.Duration) bool { return e.options.SlowRate > 0 && took >= e.options.Slow }

// tally is the results of a closed era.
type tally struct {
	streak atomic.Int64 // failures in a row; only read while all is well
	_      [56]byte
	rated  bool // a rate is judged: calls are counted by time
	pace   *pace
	calls  rings
	failed ring
	slow   ring
}

func newTally(o BreakerOptions, c clock) *tally {
	t := &tally{rated: o.rated()}
	if t.rated {
		t.calls, t.pace = newRings(), newPace(c, o.Window)
	}
	return t
}

// record counts a result of a closed era; where it opens the breaker, it says why. Only a failure or a slow call does that: a
// success that makes up the volume does not.
func (e *era) record(o Outcome, took time.Duration) (cause string) {
	t := e.tally
	switch o {
	case Ignored:
		return ""
	case Success:
		if t.streak.Load() != 0 { // looked at first: a store would take the cache line from all others each time
			t.streak.Store(0)
		}
	case Failure:
		if n := t.streak.Add(1); e.options.Consecutive > 0 && n >= int64(e.options.Consecutive) && !e.forced {
			cause = fmt.Sprintf("%d failures in a row", n)
		}
	}
	if !t.rated {
		return cause
	}
	slow := e.slow(took)
	if o == Success && !slow {
		t.calls.add(t.pace.now())
		return cause
	}
	now := t.pace.ticker.at(e.clock.now()) // exactly, as this one may decide
	t.calls.add(now)
	if slow {
		t.slow.add(now)
	}
	if o == Failure {
		t.failed.add(now)
	}
	if cause != "" || e.forced {
		return cause
	}
	return e.judge(now)
}

// judge compares the window with the rates.
func (e *era) judge(now tick) string {
	t, o := e.tally, e.options
	failed, slow := t.failed.sum(now), t.slow.sum(now)
	if !reached(failed, o.FailureRate, o.Volume) && !reached(slow, o.SlowRate, o.Volume) {
		return "" // not even if the window held no more than the volume: spares summing up all shards
	}
	calls := t.calls.sum(now)
	switch {
	case calls < o.Volume:
		return ""
	case reached(failed, o.FailureRate, calls):
		return fmt.Sprintf("%d of %d calls failed within %v", failed, calls, o.Window)
	case reached(slow, o.SlowRate, calls):
		return fmt.Sprintf("%d of %d calls took %v or longer within %v", slow, calls, o.Slow, o.Window)
	}
	return ""
}

// reached says whether n of all is the rate or more; a rate of 0 is off.
func reached(n int, rate float64, all int) bool {
	return rate > 0 && n > 0 && float64(n) >= rate*float64(all)-1e-9
}

// room is whether another probe may start.
type room uint8

const (
	vacant room = iota
	busy        // as many as may are at work
	lost        // one has been at work for too long
)

// trial is the probes of a half-open era.
type trial struct {
	begun     []time.Duration // when each probe at work began; free where it is none
	atWork    int
	most      int
	timeout   time.Duration
	succeeded int
}

const free = time.Duration(-1 << 63)

func newTrial(o BreakerOptions) *trial {
	t := &trial{}
	t.resize(o)
	return t
}

// resize keeps the probes at work, even where there are more than new options allow.
func (t *trial) resize(o BreakerOptions) {
	t.timeout, t.most = o.ProbeTimeout, o.Probes
	for len(t.begun) < o.Probes {
		t.begun = append(t.begun, free)
	}
}

func (t *trial) room(now time.Duration) room {
	for _, begun := range t.begun {
		if begun != free && now-begun >= t.timeout {
			return lost
		}
	}
	if t.atWork >= t.most {
		return busy
	}
	return vacant
}

// start takes a place that room has found.
func (t *trial) start(now time.Duration) int {
	for i, begun := range t.begun {
		if begun == free {
			t.begun[i] = now
			t.atWork++
			return i
		}
	}
	panic("resilience: a probe without a place")
}

// probed takes the result of a probe.
func (e *era) probed(probe int, o Outcome, took time.Duration) (event, string) {
	t := e.trial
	if probe >= len(t.begun) || t.begun[probe] == free {
		return nothing, "" // its permit has been used before
	}
	t.begun[probe] = free
	t.atWork--
	switch {
	case o == Ignored:
		return nothing, ""
	case o == Failure:
		return relapsed, "a probe failed"
	case e.slow(took):
		return relapsed, fmt.Sprintf("a probe took %v or longer", e.options.Slow)
	}
	if t.succeeded++; t.succeeded < e.options.Probes {
		return nothing, ""
	}
	return recovered, fmt.Sprintf("%d probes succeeded", t.succeeded)
}

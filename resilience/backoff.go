package resilience

import (
	"errors"
	"fmt"
	"time"
)

// Jitter is how a delay is made random.
type Jitter uint8

// The kinds of jitter, as M. Brooker compares them in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
const (
	FullJitter         Jitter = iota // between 0 and the bound: spreads best
	EqualJitter                      // between half the bound and the bound: never retries at once
	DecorrelatedJitter               // between Initial and three times the delay before
	NoJitter                         // the bound itself; Validate refuses it for a fixed delay
)

// Backoff is a growing, random delay between tries. Its zero value is right for most calls in one data centre.
type Backoff struct {
	Initial time.Duration // bound of the first delay; 25ms where not given
	Max     time.Duration // bound of all delays; 1s where not given
	Factor  float64       // growth of the bound; 2 where not given
	Jitter  Jitter
}

// Delay is the random time to wait before a retry; 1 is the first. It never exceeds Max.
func (b Backoff) Delay(retry int) time.Duration { return b.delay(retry, source{}) }

func (b Backoff) delay(retry int, random source) time.Duration {
	b = b.withDefaults()
	if b.Jitter == DecorrelatedJitter {
		return b.decorrelated(retry, random)
	}
	bound := b.bound(retry)
	switch b.Jitter {
	case EqualJitter:
		return bound - random.upTo(bound/2)
	case NoJitter:
		return bound
	default:
		return random.upTo(bound)
	}
}

// bound is Initial × Factor^(retry-1), at most Max.
func (b Backoff) bound(retry int) time.Duration {
	bound := float64(b.Initial)
	for i := 1; i < retry && bound < float64(b.Max) && b.Factor > 1; i++ {
		bound *= b.Factor
	}
	return time.Duration(min(bound, float64(b.Max)))
}

// decorrelated walks the whole chain of delays each time, which gives each the same distribution as one that remembers the
// delay before.
func (b Backoff) decorrelated(retry int, random source) time.Duration {
	delay := b.Initial
	for range min(max(retry, 1), 64) {
		if delay = b.Initial + random.upTo(3*delay-b.Initial); delay > b.Max {
			delay = b.Max
		}
	}
	return delay
}

func (b Backoff) withDefaults() Backoff {
	b.Initial = orDefault(b.Initial, 25*time.Millisecond)
	b.Max = min(max(b.Initial, orDefault(b.Max, time.Second)), 1<<60) // so that three times it is still a time
	b.Initial = min(b.Initial, b.Max)
	b.Factor = orDefault(b.Factor, 2)
	return b
}

// Validate says what is wrong with the settings and what to do, or nil.
func (b Backoff) Validate() error {
	var errs []error
	if b.Initial < 0 || b.Max < 0 {
		errs = append(errs, fmt.Errorf("backoff: delays cannot be negative (initial %v, max %v): use 0 for the default", b.Initial, b.Max))
	}
	if b.Max > 0 && b.Initial > b.Max {
		errs = append(errs, fmt.Errorf("backoff: the initial delay %v exceeds the longest, %v: exchange them", b.Initial, b.Max))
	}
	if b.Factor != 0 && !(b.Factor >= 1) {
		errs = append(errs, fmt.Errorf("backoff: a factor of %v makes delays shrink, "+
			"so that retries speed up while the other side fails: use 1 or more", b.Factor))
	}
	if b.Jitter > NoJitter {
		errs = append(errs, fmt.Errorf("backoff: there is no jitter %d: use FullJitter, EqualJitter or DecorrelatedJitter", b.Jitter))
	}
	if d := b.withDefaults(); b.Jitter == NoJitter && (d.Factor == 1 || d.Initial == d.Max) {
		errs = append(errs, fmt.Errorf("backoff: a fixed delay of %v without jitter is refused: "+
			"callers that failed together would all come back together, every %v, and keep the other side from recovering: use FullJitter", d.Initial, d.Initial))
	}
	return errors.Join(errs...)
}

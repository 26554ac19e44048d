package resilience

import "time"

// Jitter is how a delay is made random.
type Jitter uint8

// The kinds of jitter.
const (
	FullJitter         Jitter = iota // between 0 and the bound
	EqualJitter                      // between half the bound and the bound
	DecorrelatedJitter               // between Initial and three times the delay before
	NoJitter                         // the bound itself; Validate refuses it for a fixed delay
)

// Backoff is a growing, random delay between tries.
type Backoff struct {
	Initial time.Duration // bound of the first delay; 25ms where not given
	Max     time.Duration // bound of all delays; 1s where not given
	Factor  float64       // growth of the bound; 2 where not given
	Jitter  Jitter
}

// Delay is the random time to wait before a retry; 1 is the first.
func (b Backoff) Delay(retry int) time.Duration { panic("not yet") }

// Validate says what is wrong with the settings, or nil.
func (b Backoff) Validate() error { panic("not yet") }

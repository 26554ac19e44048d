package resilience

import (
	"math/bits"
	"math/rand/v2"
	"time"
)

// source is where a policy's randomness comes from: the runtime, or what the Rand of its options says, so that a simulation can
// be repeated.
type source struct{ rand.Source }

func (s source) uint64() uint64 {
	if s.Source == nil {
		return rand.Uint64()
	}
	return s.Uint64()
}

// float64 is at least 0 and below 1.
func (s source) float64() float64 { return float64(s.uint64()>>11) / (1 << 53) }

// upTo is a duration from 0 to d.
func (s source) upTo(d time.Duration) time.Duration {
	high, _ := bits.Mul64(s.uint64(), uint64(d)+1)
	return time.Duration(high)
}

package sim

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// Distribution draws durations.
type Distribution func(*rand.Rand) time.Duration

// Constant is always the same.
func Constant(d time.Duration) Distribution { return func(*rand.Rand) time.Duration { return d } }

// Exponential has no memory: most are short, some long; the 99th percentile is 4.6 times the mean.
func Exponential(mean time.Duration) Distribution {
	return func(r *rand.Rand) time.Duration { return time.Duration(r.ExpFloat64() * float64(mean)) }
}

// Lognormal is what response times of real services look like; sigma is the spread of their logarithm.
func Lognormal(median time.Duration, sigma float64) Distribution {
	return func(r *rand.Rand) time.Duration {
		return time.Duration(float64(median) * math.Exp(sigma*r.NormFloat64()))
	}
}

// Bimodal draws from another distribution with the given probability: a cache that misses, say.
func Bimodal(usual, other Distribution, share float64) Distribution {
	return func(r *rand.Rand) time.Duration {
		if r.Float64() < share {
			return other(r)
		}
		return usual(r)
	}
}

// Source is a seeded generator that many goroutines may use, for the Rand of a policy's options.
type Source struct {
	mu        sync.Mutex
	generator *rand.PCG
}

// NewSource makes a generator.
func NewSource(seed uint64) *Source { return &Source{generator: rand.NewPCG(seed, 1)} }

// Uint64 is the next number.
func (s *Source) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.generator.Uint64()
}

// generator is one of its own for the n-th of something with a name.
func generator(seed uint64, name string, n int) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed^h.Sum64(), uint64(n)))
}

package resilience

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Priority is how much a call matters: one of four classes and, within it, a level from 0 to 127. Under overload the lowest is
// refused first.
type Priority uint16

// The classes, each at its lowest level (Google SRE, "Handling Overload", names them alike).
const (
	Sheddable    Priority = iota << 7 // may fail for long: batch work, prefetching
	Normal                            // may fail now and then: most of what people ask for
	Critical                          // people notice when it fails
	CriticalPlus                      // the business notices: logging in, paying
)

const priorities = 4 << 7

// String is the class: sheddable, normal, critical, critical+.
func (p Priority) String() string {
	return [...]string{"sheddable", "normal", "critical", "critical+"}[min(p, priorities-1)>>7]
}

// Number is class and level in numbers, such as 2.17: how headers tell a priority.
func (p Priority) Number() string { return fmt.Sprintf("%d.%d", p>>7, p&127) }

// ParsePriority reads a Number. Without a level it is the class's lowest.
func ParsePriority(number string) (p Priority, ok bool) {
	class, level, leveled := strings.Cut(number, ".")
	c, err := strconv.ParseUint(class, 10, 2)
	if err != nil {
		return 0, false
	}
	l, err := strconv.ParseUint(level, 10, 7)
	if err != nil && leveled {
		return 0, false
	}
	return Priority(c<<7 | l), true
}

// For spreads the clients of a class over its levels, so that under overload some are served well and not all badly: what one
// client calls is all admitted or all refused (Zhou et al., "Overload Control for Scaling WeChat Microservices", SoCC 2018).
// Who is at the bottom is chance, and stays there: see ForAt.
func (p Priority) For(client string) Priority { return p.level(hashed(client, 0)) }

// ForAt is For with levels dealt out anew every so often, so that nobody is always at the bottom: over many periods all clients
// of a class fare alike. A client's periods begin at a time of its own, so that at no moment all change places at once, and
// all nodes whose clocks agree give the same level.
//
// Sources: WeChat's DAGOR (above) draws anew each hour; Stochastic Fair Blue (Feng, Kandlur, Saha, Shin, INFOCOM 2001) moves its
// hash functions for the same reason, as Stochastic Fairness Queueing (McKenney, INFOCOM 1990) does.
func (p Priority) ForAt(client string, now time.Time, every time.Duration) Priority {
	if every <= 0 {
		return p.For(client)
	}
	period := uint64(every)
	shift := hashed(client, 1) % period
	return p.level(hashed(client, 2+(uint64(now.UnixNano())+shift)/period))
}

// level is a level of the class, by a hash.
func (p Priority) level(hash uint64) Priority {
	return min(p, priorities-1)&^127 | Priority((hash^hash>>32)&127)
}

// hashed is FNV-1a of a client, and, where the draw is not 0, of that too: alike on all nodes.
func hashed(client string, draw uint64) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	hash := uint64(offset)
	for i := range len(client) {
		hash = (hash ^ uint64(client[i])) * prime
	}
	if draw != 0 { // mixed in whole: two draws must have nothing in common (the finalizer of SplitMix64, Steele et al. 2014)
		hash += draw * 0x9E3779B97F4A7C15
		hash = (hash ^ hash>>30) * 0xBF58476D1CE4E5B9
		hash = (hash ^ hash>>27) * 0x94D049BB133111EB
		hash ^= hash >> 31
	}
	return hash
}

type priorityKey struct{}

// WithPriority says how much calls under this context matter.
func WithPriority(ctx context.Context, p Priority) context.Context {
	return context.WithValue(ctx, priorityKey{}, min(p, priorities-1))
}

// PriorityOf is how much a call matters; Normal where nobody has said.
func PriorityOf(ctx context.Context) Priority {
	if p, ok := ctx.Value(priorityKey{}).(Priority); ok {
		return p
	}
	return Normal
}

package resilience

import "context"

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

// For spreads the clients of a class over its levels, so that under overload some are served well and not all badly: what one
// client calls is all admitted or all refused (Zhou et al., "Overload Control for Scaling WeChat Microservices", SoCC 2018).
// Who is at the bottom is chance; add the hour to the client, say, to let that change.
func (p Priority) For(client string) Priority {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a: alike on all nodes
	hash := uint64(offset)
	for i := range len(client) {
		hash = (hash ^ uint64(client[i])) * prime
	}
	return min(p, priorities-1)&^127 | Priority((hash^hash>>32)&127)
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

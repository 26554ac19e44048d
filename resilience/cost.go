package resilience

import "context"

// mostCost bounds the cost of one call, so that sums of costs cannot overflow.
const mostCost = 1 << 20

type costKey struct{}

// WithCost says that a call under this context takes as much as n ordinary ones: rows it will read, say, or seconds of work. Limit,
// Rate and Shed go by it where their Weighted is set. It is bounded to 1…1048576.
func WithCost(ctx context.Context, n int) context.Context {
	return context.WithValue(ctx, costKey{}, min(max(n, 1), mostCost))
}

// CostOf is what a call costs; 1 where nobody has said.
func CostOf(ctx context.Context) int {
	if n, ok := ctx.Value(costKey{}).(int); ok {
		return n
	}
	return 1
}

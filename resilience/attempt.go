package resilience

import "context"

type (
	attemptKey struct{}
	unsafeKey  struct{}
)

// WithAttempt says that what happens under this context is the n-th try of something; adapters call it with what a header says.
func WithAttempt(ctx context.Context, n int) context.Context {
	if n == AttemptOf(ctx) {
		return ctx
	}
	return context.WithValue(ctx, attemptKey{}, n)
}

// AttemptOf is which try this is: 1 unless an outer Do, here or in a process that called this one, has tried before.
func AttemptOf(ctx context.Context) int {
	if n, ok := ctx.Value(attemptKey{}).(int); ok {
		return max(n, 1)
	}
	return 1
}

// Unsafe marks calls under this context as not safe to make twice: Do retries them, and Race repeats them, only where they provably
// were not made.
func Unsafe(ctx context.Context) context.Context { return context.WithValue(ctx, unsafeKey{}, true) }

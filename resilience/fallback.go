package resilience

import (
	"context"
	"errors"
)

// FirstOf asks for an answer and, where that fails, for the next best one: another service, what is in a cache, a static
// answer. It returns the answer, which of the calls gave it (0 is the first), and, where none did, all their errors. What
// cannot be helped by asking elsewhere ends it: an error marked Permanent, and a caller who left (context.Canceled). A missed
// deadline does not: a static answer takes no time.
func FirstOf[T any](ctx context.Context, calls ...func(context.Context) (T, error)) (result T, which int, err error) {
	var failed []error
	for i, call := range calls {
		result, err = call(ctx)
		if err == nil {
			return result, i, nil
		}
		failed = append(failed, err)
		if _, wrong := errors.AsType[*permanent](err); wrong || errors.Is(ctx.Err(), context.Canceled) {
			break
		}
	}
	var none T
	return none, -1, errors.Join(failed...)
}

// Static answers with a fixed value.
func Static[T any](value T) func(context.Context) (T, error) {
	return func(context.Context) (T, error) { return value, nil }
}

package resilience

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// RetryOptions says what is tried again, how often and when.
type RetryOptions struct {
	Attempts int           // tries at most, the first included; 3 where not given
	Backoff  Backoff       // the delay between tries
	PerTry   time.Duration // bounds each try; 0 is no bound
	Total    time.Duration // bounds all tries and delays together; 0 is no bound but the context's
	Budget   *Budget       // shared by all that call the same thing; one with default options where nil
	Rand     rand.Source   // randomness; the runtime\'s where nil. Must be safe for concurrent use
	// Retryable says which errors may go away by trying again; Transient where not given.
	Retryable func(error) bool
	// OnRetry is told of each retry before its delay begins.
	OnRetry func(RetryEvent)
}

// RetryEvent is one retry about to happen.
type RetryEvent struct {
	Attempt int           // the try that follows: 2 is the first retry
	Delay   time.Duration // how long it waits first
	Err     error         // why
	Context context.Context
}

// Retry tries calls again that failed, where that is safe and cannot make things worse: with a growing random delay, at most
// so often, within a deadline and within a Budget. An answer that names a time (an error with RetryAfter() time.Duration) is
// obeyed: the delay is at least that, and there is no retry if that is too late.
//
// Retries in several layers multiply: three layers of three tries make 27. So only the layer next to a failure retries: what
// it has given up (GaveUp), an outer one does not try again; and a call that is itself a retry of an outer layer
// (AttemptOf(ctx) > 1) is tried once only. Adapters pass both on between processes. Sources: Google SRE, "Handling Overload"
// and "Addressing Cascading Failures"; M. Brooker, "Timeouts, retries, and backoff with jitter" (Amazon Builders' Library).
type Retry struct{ options RetryOptions }

// NewRetry makes a retry policy, or says what is wrong with its options.
func NewRetry(o RetryOptions) (*Retry, error) {
	if err := o.Backoff.Validate(); err != nil {
		return nil, err
	}
	if o.Attempts < 0 || o.PerTry < 0 || o.Total < 0 {
		return nil, fmt.Errorf("retry: attempts (%d), time per try (%v) and in total (%v) cannot be negative: use 0 for the default",
			o.Attempts, o.PerTry, o.Total)
	}
	o.Attempts = orDefault(o.Attempts, 3)
	if o.Budget == nil {
		o.Budget = NewBudget(BudgetOptions{})
	}
	if o.Retryable == nil {
		o.Retryable = Transient
	}
	return &Retry{o}, nil
}

// Do makes a call, and makes it again as the policy allows. The error wraps the last try's; GaveUp tells whether there were retries
// in vain.
//
// Only what may happen twice belongs in here. For a call that may not, mark its context with Unsafe: it is then retried only
// on errors that prove that it was not made (ErrRefused, ErrNotSent).
func Do[T any](ctx context.Context, r *Retry, call func(context.Context) (T, error)) (T, error) {
	o := &r.options
	if o.Total <= 0 && o.PerTry <= 0 {
		result, err := call(ctx)
		if err == nil {
			o.Budget.Count()
			return result, nil
		}
		return more(ctx, o, call, result, err)
	}
	if o.Total > 0 {
		total := newUntil(ctx, o.Total)
		defer total.end()
		ctx = total
	}
	result, err := try(ctx, o.PerTry, call)
	if err == nil {
		o.Budget.Count()
		return result, nil
	}
	return more(ctx, o, call, result, err)
}

// more makes a call again that has failed.
func more[T any](ctx context.Context, o *RetryOptions, call func(context.Context) (T, error), result T, err error) (T, error) {
	o.Budget.Begin()
	defer o.Budget.End()
	for attempt := 2; err != nil; attempt++ {
		delay, again := o.again(ctx, attempt, err)
		if !again || !o.Budget.TryRetry() {
			if attempt > 2 || again {
				err = &gaveUp{attempt - 1, err}
			}
			return result, err
		}
		if o.OnRetry != nil {
			o.OnRetry(RetryEvent{attempt, delay, err, ctx})
		}
		if waited := sleep(ctx, delay); waited != nil {
			o.Budget.EndRetry()
			return result, &gaveUp{attempt - 1, errors.Join(err, waited)}
		}
		result, err = func() (T, error) {
			defer o.Budget.EndRetry() // also when the call panics
			return try(WithAttempt(ctx, attempt), o.PerTry, call)
		}()
	}
	return result, nil
}

// try makes the call once.
func try[T any](ctx context.Context, limit time.Duration, call func(context.Context) (T, error)) (T, error) {
	if limit <= 0 {
		return call(ctx)
	}
	bounded := newUntil(ctx, limit)
	defer bounded.end()
	return call(bounded)
}

// again says whether a failed call is worth another try, and after what delay.
func (o *RetryOptions) again(ctx context.Context, attempt int, err error) (time.Duration, bool) {
	unsafe := ctx.Value(unsafeKey{}) != nil && !errors.Is(err, ErrRefused) && !errors.Is(err, ErrNotSent)
	if attempt > o.Attempts || unsafe || AttemptOf(ctx) > 1 || ctx.Err() != nil || GaveUp(err) || !o.Retryable(err) {
		return 0, false
	}
	delay := max(o.Backoff.delay(attempt-1, source{o.Rand}), retryAfter(err))
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= delay {
		return 0, false // would wake up too late
	}
	return delay, true
}

// gaveUp is the error after retries in vain, or without any when the budget is spent.
type gaveUp struct {
	tries int
	last  error
}

func (g *gaveUp) Error() string {
	if g.tries == 1 {
		return fmt.Sprintf("not retried, as too many calls fail: %v", g.last)
	}
	return fmt.Sprintf("gave up after %d tries: %v", g.tries, g.last)
}

func (g *gaveUp) Unwrap() error { return g.last }

// GaveUp says whether an error is what a Retry, here or further in, was left with after trying again in vain. It should be
// passed on without more retries.
func GaveUp(err error) bool {
	_, ok := errors.AsType[*gaveUp](err)
	return ok
}

// sleep waits for d, or returns the context's cause when it ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Transient is what may go away by trying again where no classification is given: all but what Permanent marks and what the
// caller gave up (context.Canceled). A missed deadline is transient: it may have been the try's own.
func Transient(err error) bool {
	_, marked := errors.AsType[*permanent](err)
	return err != nil && !errors.Is(err, context.Canceled) && !marked
}

// ErrNotSent is wrapped by errors that prove that the other side did not get to work on a call, a refused connection say.
var ErrNotSent = errors.New("not sent")

type permanent struct{ error }

func (p *permanent) Unwrap() error { return p.error }

// Permanent marks an error that trying again cannot help: the call is wrong, say. Nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{err}
}

// retryAfter is the time that an error asks to wait for; 0 where it does not.
func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](err); ok {
		return e.RetryAfter()
	}
	return 0
}

package resilience

import (
	"context"
	"sync/atomic"
	"time"
)

// RateOptions bounds how often something may happen.
type RateOptions struct {
	PerSecond float64       // 0 is no bound
	Burst     int           // how many may happen at once after a rest; a tenth of a second's, and at least 1, where not given
	Wait      time.Duration // how long a call may be made to wait for its turn; 0 refuses at once
	Weighted  bool          // a call takes as many tokens as CostOf its context says; more than Burst can be owed
}

// Rate is a token bucket: Burst tokens at most, PerSecond new ones a second. It is kept as one number, the time at which the
// bucket will be full again (the generic cell rate algorithm, ITU-T I.371), so that taking a token is one compare-and-swap.
type Rate struct {
	clock clock
	terms atomic.Pointer[rateTerms]
	full  atomic.Int64 // when the bucket is full again
}

type rateTerms struct {
	RateOptions
	each, depth time.Duration // time for one token, and for a bucket full of them
}

// NewRate makes a full bucket.
func NewRate(o RateOptions) *Rate {
	r := &Rate{clock: newClock()}
	r.Update(o)
	return r
}

// Update puts new options in force; tokens that are taken stay so.
func (r *Rate) Update(o RateOptions) {
	t := &rateTerms{RateOptions: o}
	if o.PerSecond > 0 {
		t.Burst = orDefault(o.Burst, max(1, int(o.PerSecond/10)))
		t.each = max(1, time.Duration(float64(time.Second)/o.PerSecond))
		t.depth = t.each * time.Duration(t.Burst)
	}
	r.terms.Store(t)
}

// With is a bucket of its own with other options. It holds as many tokens as this one, and no more than its burst; where this one is
// full, so is it.
func (r *Rate) With(o RateOptions) *Rate {
	next := &Rate{clock: r.clock}
	next.Update(o)
	was, is, now := r.terms.Load(), next.terms.Load(), r.clock.now()
	if debt := time.Duration(r.full.Load()) - now; debt > 0 && was.PerSecond > 0 && is.PerSecond > 0 {
		held := min(float64(was.depth-debt)/float64(was.each), float64(is.Burst))
		next.full.Store(int64(now + is.depth - time.Duration(held*float64(is.each))))
	}
	return next
}

// TryTake takes n tokens if they are there.
func (r *Rate) TryTake(n int) bool {
	_, ok := r.take(n, 0, false)
	return ok
}

// take takes n tokens that will be there within wait, and says when that is. Where there can never be so many, a full bucket is
// enough for who may owe: those who come next wait for the rest, so that the rate is kept all the same.
func (r *Rate) take(n int, wait time.Duration, owe bool) (time.Duration, bool) {
	t := r.terms.Load()
	if t.PerSecond <= 0 {
		return 0, true
	}
	now, need := r.clock.now(), t.each*time.Duration(n)
	early := need - t.depth
	if owe {
		early = min(early, 0)
	}
	for {
		full := r.full.Load()
		from := max(time.Duration(full), now)
		early := from + early - now
		if early > wait {
			return early, false
		}
		if r.full.CompareAndSwap(full, int64(from+need)) {
			return max(early, 0), true
		}
	}
}

// RetryAfter is the time until there is a token again.
func (r *Rate) RetryAfter() time.Duration {
	t := r.terms.Load()
	return max(0, time.Duration(r.full.Load())+t.each-r.clock.now()-t.depth)
}

// Enter takes a token (as many as the call costs, where the rate is Weighted), waiting for it up to Wait. Errors: ErrRate, or the context's cause; then the token is lost.
func (r *Rate) Enter(ctx context.Context) (Pass, error) {
	t := r.terms.Load()
	wait, cost := t.Wait, 1
	if t.Weighted {
		cost = CostOf(ctx)
	}
	if deadline, ok := ctx.Deadline(); ok && wait > 0 {
		wait = min(wait, time.Until(deadline))
	}
	wait, ok := r.take(cost, max(wait, 0), t.Weighted)
	if !ok {
		return Pass{}, ErrRate
	}
	if wait > 0 {
		return Pass{}, sleep(ctx, wait)
	}
	return Pass{}, nil
}

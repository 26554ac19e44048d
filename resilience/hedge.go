package resilience

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// HedgeOptions says when a call is made a second time before it has ended.
type HedgeOptions struct {
	Quantile float64       // 0..1: calls slower than this quantile of recent ones are hedged; 0.95 where not given
	Least    time.Duration // never sooner than this; 1ms where not given
	Volume   int           // calls to have seen before any is hedged; 100 where not given
	Window   time.Duration // time looked back on; 30s where not given
	Budget   *Budget       // bounds hedges; one of its own, of a tenth of the calls, where nil
	// OnHedge is told of each hedge as it begins.
	OnHedge func(HedgeEvent)
}

// HedgeEvent is one call made a second time.
type HedgeEvent struct {
	Delay   time.Duration // after which it begins
	Context context.Context
}

// Hedge makes a slow call a second time and takes the answer that comes first, which cuts off the tail of latency at the price
// of a few more calls: those slower than the quantile, and no more than the budget allows, so that a slow other side is not
// given twice the work. Source: Dean, Barroso, "The Tail at Scale" (CACM 56(2), 2013).
type Hedge struct {
	options HedgeOptions
	recent  *latencies
}

// NewHedge makes a policy that knows of no calls yet.
func NewHedge(o HedgeOptions) *Hedge {
	o.Least = orDefault(o.Least, time.Millisecond)
	if o.Budget == nil {
		o.Budget = NewBudget(BudgetOptions{Ratio: 0.1, Min: 1})
	}
	return &Hedge{o, newLatencies(orDefault(o.Quantile, 0.95), orDefault(o.Volume, 100), orDefault(o.Window, 30*time.Second))}
}

// Delay is when a call is hedged now; false while too few are known.
func (h *Hedge) Delay() (time.Duration, bool) {
	d, ok := h.recent.value()
	return max(d, h.options.Least), ok
}

// Race makes a call, and makes it once more when it takes too long. The context of the one that loses is cancelled; the call must
// return then. Discard, where not nil, is given the result of a loser that succeeded all the same, to close it.
//
// Only calls that may be made twice belong in here; one whose context is marked Unsafe is made once. The first call runs in
// the caller's goroutine and the second in a timer's, so that a call that is fast enough costs no goroutine.
func Race[T any](ctx context.Context, h *Hedge, call func(context.Context) (T, error), discard func(T)) (T, error) {
	h.options.Budget.Begin()
	defer h.options.Budget.End()
	begun := h.recent.clock.now()
	result, err := runRace(ctx, h, call, discard)
	if err == nil {
		h.recent.add(h.recent.clock.now() - begun)
	}
	return result, err
}

func runRace[T any](ctx context.Context, h *Hedge, call func(context.Context) (T, error), discard func(T)) (T, error) {
	delay, known := h.Delay()
	if !known || ctx.Value(unsafeKey{}) != nil {
		return call(ctx)
	}
	r := &race[T]{hedge: h, call: call, discard: discard, delay: delay, ended: make(chan struct{})}
	var first context.Context
	first, r.stopFirst = context.WithCancel(ctx)
	defer r.stopFirst()
	r.ctx, r.stop = context.WithCancel(ctx)
	defer r.stop()
	defer r.finish() // also when the call panics
	timer := time.AfterFunc(delay, r.second)
	defer timer.Stop()
	result, err := call(first)
	if err == nil || !r.join() {
		return result, err
	}
	<-r.ended // the first has failed while the second is at work, or because the second has won
	if r.err == nil {
		return r.result, nil
	}
	return result, err
}

// race is the second call.
type race[T any] struct {
	hedge     *Hedge
	call      func(context.Context) (T, error)
	discard   func(T)
	delay     time.Duration
	ctx       context.Context
	stop      context.CancelFunc
	stopFirst context.CancelFunc
	ended     chan struct{} // closed when result and err are final

	mu     sync.Mutex
	begun  bool
	over   bool // nobody waits for it: it must not begin, and its result is discarded
	joined bool // the first has failed and waits for it
	result T
	err    error
}

// second makes the second call.
func (r *race[T]) second() {
	r.mu.Lock()
	r.begun = !r.over && r.hedge.options.Budget.TryRetry()
	begun := r.begun
	r.mu.Unlock()
	if !begun {
		return
	}
	if r.hedge.options.OnHedge != nil {
		r.hedge.options.OnHedge(HedgeEvent{r.delay, r.ctx})
	}
	result, err := r.make()
	r.hedge.options.Budget.EndRetry()
	r.mu.Lock()
	r.result, r.err = result, err
	over := r.over
	close(r.ended)
	r.mu.Unlock()
	switch {
	case err != nil:
	case !over:
		r.stopFirst()
	case r.discard != nil:
		r.discard(result)
	}
}

// make turns a panic into an error: nobody could recover it in a timer's goroutine.
func (r *race[T]) make() (result T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the hedged call panicked: %v", p)
		}
	}()
	return r.call(r.ctx)
}

// join waits for the second call if that has begun.
func (r *race[T]) join() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joined = r.begun
	return r.begun
}

// finish says that nobody waits any more.
func (r *race[T]) finish() {
	r.mu.Lock()
	late := r.begun && !r.joined && !r.over
	r.over = true
	ended := false
	select {
	case <-r.ended:
		ended = true
	default:
	}
	r.mu.Unlock()
	if late && ended && r.err == nil && r.discard != nil {
		r.discard(r.result) // both have succeeded
	}
}

package resilience

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// HedgeOptions says when a call is made again before it has ended.
type HedgeOptions struct {
	Quantile float64       // 0..1: calls slower than this quantile of recent ones are hedged; 0.95 where not given
	Least    time.Duration // never sooner than this; 1ms where not given
	Max      int           // how often one is made again at most, each time after the same delay; 1 where not given
	Volume   int           // calls to have seen before any is hedged; 100 where not given
	Window   time.Duration // time looked back on; 30s where not given
	Budget   *Budget       // bounds hedges; one of its own, of a tenth of the calls, where nil
	// OnHedge is told of each hedge as it begins.
	OnHedge func(HedgeEvent)
}

// HedgeEvent is one call made again.
type HedgeEvent struct {
	Delay   time.Duration // since the first began
	Context context.Context
}

// Hedge makes a slow call again and takes the answer that comes first, which cuts off the tail of latency at the price
// of a few more calls: those slower than the quantile, and no more than the budget allows, so that a slow other side is not
// given twice the work. Source: Dean, Barroso, "The Tail at Scale" (CACM 56(2), 2013).
type Hedge struct {
	options HedgeOptions // but for what Update changes
	recent  *latencies
	least   atomic.Int64
	most    atomic.Int64 // further calls
}

// NewHedge makes a policy that knows of no calls yet.
func NewHedge(o HedgeOptions) *Hedge {
	if o.Budget == nil {
		o.Budget = NewBudget(BudgetOptions{Ratio: 0.1, Min: 1})
	}
	h := &Hedge{options: o, recent: newLatencies(0, orDefault(o.Volume, 100), orDefault(o.Window, 30*time.Second))}
	h.Update(o)
	return h
}

// Update puts another Quantile, Least and Max in force; the rest, and what is known of calls, stays.
func (h *Hedge) Update(o HedgeOptions) {
	h.least.Store(int64(orDefault(o.Least, time.Millisecond)))
	h.most.Store(int64(orDefault(o.Max, 1)))
	h.recent.ask(orDefault(o.Quantile, 0.95))
}

// Delay is how long after its beginning, or after it was last made again, a call is made again now; false while too few are known.
func (h *Hedge) Delay() (time.Duration, bool) {
	d, ok := h.recent.value()
	return max(d, time.Duration(h.least.Load())), ok
}

// Race makes a call, and makes it again when it takes too long. The contexts of those that lose are cancelled; they must return then.
// Discard, where not nil, is given the result of a loser that succeeded all the same, to close it. Where all fail, the error is the first
// one's; a call that fails before any other has begun is left to Do.
//
// Only calls that may be made more than once belong in here; one whose context is marked Unsafe is made once. The first call runs in
// the caller's goroutine and the further ones in a timer's, so that a call that is fast enough costs no goroutine.
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
	r := &race[T]{hedge: h, call: call, discard: discard, delay: delay}
	r.ctx, r.stop = context.WithCancel(ctx)
	r.arm()
	defer r.finish() // also when the call panics
	result, err := call(r.ctx)
	if err == nil {
		return result, nil
	}
	if other, won := r.other(); won {
		return other, nil
	}
	return result, err
}

// race is the further calls.
type race[T any] struct {
	hedge   *Hedge
	call    func(context.Context) (T, error)
	discard func(T)
	delay   time.Duration
	ctx     context.Context // of all calls: once one has an answer, the others are of no use
	stop    context.CancelFunc

	mu      sync.Mutex
	timer   *time.Timer
	made    int           // further calls begun
	atWork  int           // of them, not ended
	over    bool          // no more may begin, and what comes now is discarded
	won     bool          // result is that of one of them
	taken   bool          // and the caller's
	settled chan struct{} // made by the caller when it waits: closed when one has won or none is at work
	result  T
}

// arm starts the timer of the first further call.
func (r *race[T]) arm() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = time.AfterFunc(r.delay, r.further)
}

// further makes one further call.
func (r *race[T]) further() {
	n, begun := r.begin()
	if !begun {
		return
	}
	if r.hedge.options.OnHedge != nil {
		r.hedge.options.OnHedge(HedgeEvent{r.delay * time.Duration(n), r.ctx})
	}
	result, err := r.make()
	r.hedge.options.Budget.EndRetry()
	switch won := r.end(result, err); {
	case won:
		r.stop()
	case err == nil && r.discard != nil:
		r.discard(result)
	}
}

// begin counts a further call, if there may be one, and has the next one follow.
func (r *race[T]) begin() (n int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || !r.hedge.options.Budget.TryRetry() {
		return 0, false
	}
	r.made++
	r.atWork++
	if r.made < int(r.hedge.most.Load()) {
		r.timer.Reset(r.delay)
	}
	return r.made, true
}

// end notes how a further call has ended, and says whether its result counts.
func (r *race[T]) end(result T, err error) (won bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.atWork--
	if r.over {
		return false
	}
	if err == nil {
		r.result, r.won = result, true
	}
	r.over = r.won || r.atWork == 0 && r.settled != nil
	if r.over && r.settled != nil {
		close(r.settled)
	}
	return r.won
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

// other is the result of the further call that succeeds, if one does: the first has failed, maybe because one has.
func (r *race[T]) other() (result T, won bool) {
	r.mu.Lock()
	if !r.won && r.atWork > 0 {
		r.settled = make(chan struct{})
		r.mu.Unlock()
		<-r.settled
		r.mu.Lock()
	}
	defer r.mu.Unlock()
	r.over, r.taken = true, r.won
	return r.result, r.won
}

// finish says that nobody waits any more.
func (r *race[T]) finish() {
	r.mu.Lock()
	r.over = true
	r.timer.Stop()
	lost := r.won && !r.taken
	r.mu.Unlock()
	r.stop()
	if lost && r.discard != nil {
		r.discard(r.result) // both have succeeded
	}
}

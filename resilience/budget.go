package resilience

import (
	"sync"
	"sync/atomic"
	"time"
)

// BudgetOptions bounds retries by the requests they come from.
type BudgetOptions struct {
	Ratio  float64       // retries for each request; 0.2 where not given, none where negative
	Min    int           // retries that are allowed whatever the requests; 3 where not given, none where negative
	Window time.Duration // requests and retries of this time are counted; 10s where not given, only those at work where negative
}

func (o BudgetOptions) withDefaults() BudgetOptions {
	if o.Ratio == 0 {
		o.Ratio = 0.2
	}
	if o.Min == 0 {
		o.Min = 3
	}
	if o.Window == 0 {
		o.Window = 10 * time.Second
	}
	o.Ratio, o.Min, o.Window = max(o.Ratio, 0), max(o.Min, 0), max(o.Window, 0)
	return o
}

// BudgetSnapshot is a budget at one moment, for display.
type BudgetSnapshot struct {
	Requests, Retries int    // that count now: of the window, or at work
	Allowed           int    // retries there may be now
	Refused           uint64 // retries refused since it was made
}

// Budget keeps retries, those that wait for their delay included, at or below Min + Ratio × requests, so that retrying
// multiplies load by no more than 1 + Ratio, however often each call would retry. Both are counted over a window; what has
// begun earlier and is still at work counts as well. A window, and not only what is at work, because failures come in bursts
// (all calls on one member at once) and because calls that fail fast are hardly ever at work: a budget of concurrency alone
// refuses the first and lets the second through.
//
// Sources: Google SRE, "Handling Overload" (retry budgets); Finagle's RetryBudget; Envoy's retry_budget.
type Budget struct {
	clock    clock
	limits   atomic.Pointer[budgetLimits]
	requests counts // at work
	refused  atomic.Uint64

	mu    sync.Mutex // taken by retries only
	tries int        // retries at work or waiting
}

// budgetLimits is the options in force with what is counted by their window.
type budgetLimits struct {
	BudgetOptions
	ticker  ticker
	begun   rings // requests
	retried ring
}

// NewBudget makes a budget that nobody has used.
func NewBudget(o BudgetOptions) *Budget {
	b := &Budget{clock: newClock(), requests: newCounts()}
	o = o.withDefaults()
	b.limits.Store(&budgetLimits{BudgetOptions: o, ticker: newTicker(o.Window), begun: newRings()})
	return b
}

// Begin counts a request (not its retries); End must follow.
func (b *Budget) Begin() {
	b.requests.add(1)
	if l := b.limits.Load(); l.Window > 0 {
		l.begun.add(l.ticker.at(b.clock.now()))
	}
}

// End says that a request has ended.
func (b *Budget) End() { b.requests.add(-1) }

// TryRetry takes a retry out of the budget, before its delay begins; where true, EndRetry must follow.
func (b *Budget) TryRetry() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.limits.Load()
	now := l.ticker.at(b.clock.now())
	requests, retries := b.count(l, now)
	if retries >= l.allowed(requests) {
		b.refused.Add(1)
		return false
	}
	b.tries++
	if l.Window > 0 {
		l.retried.add(now)
	}
	return true
}

// count is what counts at a moment. The caller holds the mutex.
func (b *Budget) count(l *budgetLimits, now tick) (requests, retries int) {
	requests, retries = max(0, int(b.requests.sum())), b.tries
	if l.Window > 0 {
		requests, retries = max(requests, l.begun.sum(now)), max(retries, l.retried.sum(now))
	}
	return requests, retries
}

// allowed is how many retries so many requests may have.
func (o BudgetOptions) allowed(requests int) int {
	return o.Min + int(o.Ratio*float64(requests)+1e-9)
}

// EndRetry says that a retry has ended, or was not made after all.
func (b *Budget) EndRetry() {
	b.mu.Lock()
	b.tries--
	b.mu.Unlock()
}

// Update puts new options in force. What is at work stays counted; so does what began in the window where that has the same length.
func (b *Budget) Update(o BudgetOptions) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o = o.withDefaults()
	l := b.limits.Load()
	if l.Window == o.Window {
		if l.BudgetOptions == o {
			return
		}
		n := &budgetLimits{BudgetOptions: o, ticker: l.ticker, begun: l.begun}
		n.retried.copy(&l.retried)
		b.limits.Store(n)
		return
	}
	b.limits.Store(&budgetLimits{BudgetOptions: o, ticker: newTicker(o.Window), begun: newRings()})
}

// Snapshot is the budget now, for display.
func (b *Budget) Snapshot() BudgetSnapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.limits.Load()
	s := BudgetSnapshot{Refused: b.refused.Load()}
	s.Requests, s.Retries = b.count(l, l.ticker.at(b.clock.now()))
	s.Allowed = l.allowed(s.Requests)
	return s
}

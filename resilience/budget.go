package resilience

import (
	"sync"
	"sync/atomic"
	"time"
)

// BudgetOptions bounds retries by the requests they come from.
type BudgetOptions struct {
	Ratio  float64       // retries for each request; 0.2 where not given, none where negative
	Min    int           // retries that are allowed where the ratio gives fewer; 3 where not given, none where negative
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

// Budget keeps retries, those that wait for their delay included, at or below Ratio × requests (or Min, where that is more), so that
// retrying multiplies load by no more than 1 + Ratio, however often each call would retry. Both are counted over a window, retries
// over a little more than it and requests over a little less, so that it holds for every stretch of that length, although some hold a
// few requests more than others; what has
// begun earlier and is still at work counts as well. A window, and not only what is at work, because failures come in bursts
// (all calls on one member at once) and because calls that fail fast are hardly ever at work: a budget of concurrency alone
// refuses the first and lets the second through.
//
// Sources: Google SRE, "Handling Overload" (retry budgets); Finagle's RetryBudget; Envoy's retry_budget.
type Budget struct {
	clock    clock
	limits   atomic.Pointer[budgetLimits]
	requests flow
	refused  atomic.Uint64

	mu    sync.Mutex // taken by retries only
	tries int        // retries at work or waiting
}

// budgetLimits is the options in force with what is counted by their window.
type budgetLimits struct {
	BudgetOptions
	recent  *recent // requests; nil where only those at work count
	retried *ring
}

// NewBudget makes a budget that nobody has used.
func NewBudget(o BudgetOptions) *Budget {
	b := &Budget{clock: newClock(), requests: newFlow()}
	b.limits.Store(b.newLimits(o.withDefaults()))
	return b
}

func (b *Budget) newLimits(o BudgetOptions) *budgetLimits {
	l := &budgetLimits{BudgetOptions: o}
	if o.Window > 0 {
		l.recent, l.retried = newRecent(b.requests, newPace(b.clock, o.Window/(spans-1)*spans)), new(ring)
	}
	return l
}

// Begin counts a request (not its retries); End must follow.
func (b *Budget) Begin() {
	if r := b.limits.Load().recent; r != nil {
		r.begin()
	} else {
		b.requests.begin()
	}
}

// Count counts a request that has ended without a retry: Begin and End in one. It may be called instead of both, when a request has
// succeeded; Begin and End then for those that have failed, before TryRetry. What is at work for the first time is not
// counted so, which allows fewer retries, never more.
func (b *Budget) Count() {
	if r := b.limits.Load().recent; r != nil {
		r.count()
	}
}

// End says that a request has ended.
func (b *Budget) End() { b.requests.end() }

// TryRetry takes a retry out of the budget, before its delay begins; where true, EndRetry must follow.
func (b *Budget) TryRetry() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.limits.Load()
	requests, retries := b.count(l)
	if retries >= l.allowed(requests) {
		b.refused.Add(1)
		return false
	}
	b.tries++
	if l.Window > 0 {
		l.retried.add(b.now(l))
	}
	return true
}

// count is what counts now. The caller holds the mutex.
func (b *Budget) count(l *budgetLimits) (requests, retries int) {
	if l.Window <= 0 {
		return b.requests.atWork(), b.tries
	}
	now := b.now(l)
	begun, atWork := l.recent.read(now, spans-2)
	return max(begun, atWork), max(b.tries, l.retried.sum(now))
}

// now is the bucket of this moment by the clock.
func (b *Budget) now(l *budgetLimits) tick { return l.recent.pace.ticker.at(b.clock.now()) }

// allowed is how many retries so many requests may have.
func (o BudgetOptions) allowed(requests int) int {
	return max(o.Min, int(o.Ratio*float64(requests)+1e-9))
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
		b.limits.Store(&budgetLimits{BudgetOptions: o, recent: l.recent, retried: l.retried})
		return
	}
	b.limits.Store(b.newLimits(o))
}

// Snapshot is the budget now, for display.
func (b *Budget) Snapshot() BudgetSnapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.limits.Load()
	s := BudgetSnapshot{Refused: b.refused.Load()}
	s.Requests, s.Retries = b.count(l)
	s.Allowed = l.allowed(s.Requests)
	return s
}

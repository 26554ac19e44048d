package resilience

import "time"

// BudgetOptions bounds retries by the requests they come from.
type BudgetOptions struct {
	Ratio  float64       // retries for each request; 0.2 where not given
	Min    int           // retries that are always allowed; 3 where not given, none where negative
	Window time.Duration // requests and retries of this time are counted; 10s where not given, only those at work where negative
}

// Budget keeps retries, waiting ones counted, at or below Min + Ratio × requests, so that retrying cannot multiply load.
type Budget struct{}

// NewBudget makes a budget that nobody has used.
func NewBudget(o BudgetOptions) *Budget { panic("not yet") }

// Begin counts a request (not its retries); End must follow.
func (b *Budget) Begin() { panic("not yet") }

// End says that a request has ended.
func (b *Budget) End() { panic("not yet") }

// TryRetry takes a retry out of the budget, before its delay begins; where true, EndRetry must follow.
func (b *Budget) TryRetry() bool { panic("not yet") }

// EndRetry says that a retry has ended.
func (b *Budget) EndRetry() { panic("not yet") }

// Update puts new options in force; what is counted stays where the window is the same.
func (b *Budget) Update(o BudgetOptions) { panic("not yet") }

package resilience

import (
	"context"
	"errors"
	"time"
)

// Observer is told what policies do: one function for logs, metrics and traces, whatever the policy. Its methods make of it the
// hooks that the policies have; the packages beside this one take it as it is. It is called with the context of the call that
// something happened to (context.Background() where it was no call), at once and in the call's goroutine: it must be quick,
// and safe for concurrent use. A nil Observer costs nothing.
type Observer func(ctx context.Context, e Event)

// EventKind is what happened.
type EventKind uint8

// The kinds of events, with the fields that they fill in.
const (
	EventCall     EventKind = iota // a call has ended: Err, Took
	EventRefusal                   // a gate did not let a call through: Err
	EventRetry                     // a try is about to be made again: Err, Attempt, Delay
	EventHedge                     // a call is made again: Delay
	EventFallback                  // an answer came from the next best source: Number
	EventBreaker                   // a breaker has changed its state: From, To, Cause
	EventMode                      // a degradation mode has opened or closed: Open, Cause
)

// String is the kind in one word: call, refusal, retry, hedge, fallback, breaker, mode.
func (k EventKind) String() string {
	return [...]string{"call", "refusal", "retry", "hedge", "fallback", "breaker", "mode"}[k]
}

// Event is one thing that a policy did.
type Event struct {
	Kind     EventKind
	Name     string        // of what it happened to, as the application calls it
	Err      error         // nil is a success
	Took     time.Duration // from the first try to the end
	Delay    time.Duration // before the next try begins
	Attempt  int           // the try that follows: 2 is the first retry
	Number   int           // which source answered: 1 is the first fallback
	From, To BreakerState
	Open     bool
	Cause    string // a phrase for people
}

// Reason is the event's error in one word, as Reason gives it.
func (e Event) Reason() string { return Reason(e.Err) }

// reasons are tried in turn: the first that an error wraps is the word for it.
var reasons = [...]struct {
	err  error
	word string
}{
	{ErrOpen, "open"},
	{ErrQueueFull, "queue_full"},
	{ErrQueueTimeout, "queue_timeout"},
	{ErrLimited, "limited"},
	{ErrRate, "rate"},
	{ErrShed, "shed"},
	{ErrThrottled, "throttled"},
	{ErrTooLate, "too_late"},
	{ErrHoldFull, "hold_full"},
	{ErrHoldTimeout, "hold_timeout"},
	{ErrRefused, "refused"},
	{context.Canceled, "canceled"},
	{context.DeadlineExceeded, "deadline"},
}

// Reason tells an error in one word of a small set, fit to be a label: ok for nil, failed for what is no policy's own error.
func Reason(err error) string {
	if err == nil {
		return "ok"
	}
	for i := range reasons {
		if errors.Is(err, reasons[i].err) {
			return reasons[i].word
		}
	}
	return "failed"
}

// Watch makes a call and tells the observer how it ended and how long it took. Around everything else it sees what the caller sees.
func Watch[T any](ctx context.Context, o Observer, name string, call func(context.Context) (T, error)) (result T, err error) {
	if o == nil {
		return call(ctx)
	}
	begun := time.Now()
	err = errPanicked // what the observer is told unless the call returns
	defer func() { o(ctx, Event{Kind: EventCall, Name: name, Err: err, Took: time.Since(begun)}) }()
	result, err = call(ctx)
	return result, err
}

// Gate is a gate that tells of what another refuses.
func (o Observer) Gate(name string, gate Gate) Gate {
	if o == nil {
		return gate
	}
	return &Report{Gate: gate, Name: name, Hook: func(r Refusal) {
		o(r.Context, Event{Kind: EventRefusal, Name: name, Err: r.Err, Attempt: r.Attempt})
	}}
}

// Breaker is for BreakerOptions.OnChange.
func (o Observer) Breaker(name string) func(BreakerChange) {
	if o == nil {
		return nil
	}
	return func(c BreakerChange) {
		o(context.Background(), Event{Kind: EventBreaker, Name: name, From: c.From, To: c.To, Cause: c.Cause, Delay: c.Reset})
	}
}

// Retry is for RetryOptions.OnRetry.
func (o Observer) Retry(name string) func(RetryEvent) {
	if o == nil {
		return nil
	}
	return func(r RetryEvent) {
		o(r.Context, Event{Kind: EventRetry, Name: name, Err: r.Err, Attempt: r.Attempt, Delay: r.Delay})
	}
}

// Hedge is for HedgeOptions.OnHedge.
func (o Observer) Hedge(name string) func(HedgeEvent) {
	if o == nil {
		return nil
	}
	return func(h HedgeEvent) { o(h.Context, Event{Kind: EventHedge, Name: name, Delay: h.Delay}) }
}

// Mode is for ModeOptions.OnChange; the event's name is the mode's.
func (o Observer) Mode() func(ModeChange) {
	if o == nil {
		return nil
	}
	return func(m ModeChange) {
		cause := "by itself"
		if m.Forced {
			cause = "by hand"
		}
		o(context.Background(), Event{Kind: EventMode, Name: m.Name, Open: m.Open, Cause: cause})
	}
}

// Fallback tells which source FirstOf has had its answer from; the first of them is nothing to tell.
func (o Observer) Fallback(ctx context.Context, name string, which int) {
	if o != nil && which > 0 {
		o(ctx, Event{Kind: EventFallback, Name: name, Number: which})
	}
}

// Observers is one that tells several, in turn; nil ones are left out.
func Observers(all ...Observer) Observer {
	var some []Observer
	for _, o := range all {
		if o != nil {
			some = append(some, o)
		}
	}
	switch len(some) {
	case 0:
		return nil
	case 1:
		return some[0]
	}
	return func(ctx context.Context, e Event) {
		for _, o := range some {
			o(ctx, e)
		}
	}
}

package resilience

import "errors"

// ErrRefused is wrapped by every error with which a policy refuses a call before it is made: the call was not sent.
var ErrRefused = errors.New("refused")

// The refusals.
var (
	ErrOpen         error = &refusal{ErrRefused, "circuit breaker is open: recent calls failed, try again later"}
	ErrLimited      error = &refusal{ErrRefused, "too many calls at work"}
	ErrQueueFull    error = &refusal{ErrLimited, "too many calls at work and the queue is full: try again later"}
	ErrQueueTimeout error = &refusal{ErrLimited, "too many calls at work: waited in the queue in vain, try again later"}
	ErrHoldFull     error = &refusal{ErrRefused, "nothing can serve the call and the waiting room is full: try again later"}
	ErrTooLate      error = &refusal{ErrRefused, "too little time is left for the call to finish: allow it more time"}
	ErrRate         error = &refusal{ErrRefused, "too many calls: slow down, try again later"}
	ErrThrottled    error = &refusal{ErrRefused, "the other side refuses most calls: not sent, to let it recover"}
	ErrShed         error = &refusal{ErrRefused, "overloaded: calls of this priority are refused at the moment, try again later"}
	ErrHoldTimeout  error = &refusal{ErrRefused, "nothing can serve the call: waited for it in vain, try again later"}
)

// refusal is an error with a fixed text under a more general one.
type refusal struct {
	parent error
	text   string
}

// Error is the text for people.
func (r *refusal) Error() string { return r.text }

// Unwrap is the more general error.
func (r *refusal) Unwrap() error { return r.parent }

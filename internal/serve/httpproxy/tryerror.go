package httpproxy

import (
	"errors"
	"os"

	"github.com/backstay/backstay/internal/serve/http1"
)

// A failure is how a try failed before its answer could be passed on.
type failure uint8

const (
	failConnect  failure = iota + 1 // no connection to the member
	failReset                       // the connection broke before any byte of the answer
	failTimeout                     // no head of an answer in time
	failProtocol                    // what came is no answer, or none that may be passed on
	failGone                        // the member was taken away
	failBusy                        // it has as many connections as it may
)

// A tryError says how a try failed and whether the member can have seen any of the request.
type tryError struct {
	failure failure
	unsent  bool // not one byte of the request was written: it provably was not processed
	stale   bool // on a kept connection that may have been closed by the member in the meantime
	err     error
}

// Error names the failure and its cause.
func (e *tryError) Error() string {
	s := [...]string{"", "connecting failed", "connection broken", "no answer in time", "bad answer", "member taken away", "all connections in use"}[e.failure]
	if e.err != nil {
		s += ": " + e.err.Error()
	}
	return s
}

// Unwrap is the cause.
func (e *tryError) Unwrap() error { return e.err }

// classify wraps an error of reading or writing.
func classify(err error) failure {
	var bad *http1.Error
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return failTimeout
	case errors.As(err, &bad):
		return failProtocol
	}
	return failReset
}

// tryErrorIn is the tryError that err is or wraps, nil where there is none.
func tryErrorIn(err error) *tryError {
	if err == nil {
		return nil
	}
	var t *tryError
	_ = errors.As(err, &t)
	return t
}

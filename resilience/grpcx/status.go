// Package grpcx puts the policies of package resilience around gRPC: Client around the calls a program makes, UnaryServer and
// StreamServer around those it serves.
//
// gRPC itself passes deadlines on. Besides, metadata tells the next process, and trailers the one before, what they cannot know;
// package httpx has the same as headers:
//
//	backstay-attempt: 2            this is the second try: do not multiply it by tries of your own
//	backstay-priority: 2.17        how much it matters: class and level
//	backstay-priority-token: …     the same, signed (resilience.Tokens)
//	backstay-degraded: images      degradation modes that are open; in an answer's header: that it was made under
//	backstay-retry: no             (trailer) tried again in vain already: do not try again
//	backstay-refused: yes          (trailer) refused before any work was done: may be tried again whatever it was
//	grpc-retry-pushback-ms: 250    (trailer) try again no sooner; negative: not at all (gRPC's own, gRFC A6)
//
// What a server refuses it answers with RESOURCE_EXHAUSTED where it has too much to do (limits, rates, shedding), with UNAVAILABLE
// where something it needs is not there (an open breaker, nothing to serve the call), and with DEADLINE_EXCEEDED where too
// little time is left. Overload is not UNAVAILABLE because that is what gRPC clients are usually set to retry at once, which is
// what an overloaded server needs least; a Client of this package retries both, within its budget.
package grpcx

import (
	"context"
	"errors"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/backstay/backstay/resilience"
)

// StatusError is an answer that counts as a failure: of the server, or of the way to it.
type StatusError struct {
	Status *status.Status
	After  time.Duration // that the server has asked to wait; 0 where it has not
}

// Error is what gRPC says.
func (e *StatusError) Error() string { return e.Status.Err().Error() }

// GRPCStatus is for status.FromError.
func (e *StatusError) GRPCStatus() *status.Status { return e.Status }

// RetryAfter is what the server asked to wait.
func (e *StatusError) RetryAfter() time.Duration { return e.After }

// Is makes a missed deadline and a cancelled call the context's own errors.
func (e *StatusError) Is(target error) bool {
	switch e.Status.Code() {
	case codes.DeadlineExceeded:
		return target == context.DeadlineExceeded
	case codes.Canceled:
		return target == context.Canceled
	default:
		return false
	}
}

// Judge is how errors of calls count, for BreakerOptions.Classify around calls that are not made by a Client: a code that says
// that the request was wrong (NotFound, InvalidArgument and the like) is a Success, since the server works.
func Judge(err error) resilience.Outcome {
	if _, ok := status.FromError(err); ok || err == nil {
		return resilience.Judge(failure(err, nil, true))
	}
	return resilience.Judge(err)
}

// failure is what policies are told of a call: nil for an answer that is no failure. sent says whether the call got as far as a
// connection.
func failure(err error, trailer metadata.MD, sent bool) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch s.Code() {
	case codes.Canceled, codes.Unknown, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Unimplemented, codes.Internal,
		codes.Unavailable, codes.DataLoss:
	default:
		return nil
	}
	after, never := pushback(trailer)
	var failed error = &StatusError{s, after}
	if said(trailer, refusedKey, "yes") || (!sent && s.Code() == codes.Unavailable) {
		failed = &notSent{failed}
	}
	if never || said(trailer, retryKey, "no") {
		failed = resilience.Permanent(failed)
	}
	return failed
}

// notSent marks a call that did not get to work.
type notSent struct{ error }

func (n *notSent) Unwrap() []error { return []error{n.error, resilience.ErrNotSent} }

// pushback reads what the server wants of retries: to wait, or never to come.
func pushback(trailer metadata.MD) (after time.Duration, never bool) {
	values := trailer.Get(pushbackKey)
	if len(values) == 0 {
		return 0, false
	}
	ms, err := strconv.ParseInt(values[0], 10, 32)
	if err != nil || ms < 0 {
		return 0, true
	}
	return time.Duration(ms) * time.Millisecond, false
}

// Retryable says what may go away by trying again: Unavailable, ResourceExhausted, DeadlineExceeded (of a try), refusals, and
// every transient error without a status.
func Retryable(err error) bool {
	if s, ok := status.FromError(err); ok {
		switch s.Code() {
		case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded:
		default:
			return false
		}
	}
	return resilience.Transient(err)
}

// Code is the status code for an error of a policy; Unknown for what is none.
func Code(err error) codes.Code {
	if err == nil {
		return codes.OK
	}
	for _, c := range policyCodes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return codes.Unknown
}

// policyCodes are tried in turn.
var policyCodes = [...]struct {
	err  error
	code codes.Code
}{
	{resilience.ErrTooLate, codes.DeadlineExceeded},
	{resilience.ErrLimited, codes.ResourceExhausted},
	{resilience.ErrRate, codes.ResourceExhausted},
	{resilience.ErrShed, codes.ResourceExhausted},
	{resilience.ErrThrottled, codes.ResourceExhausted},
	{resilience.ErrRefused, codes.Unavailable},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
	{context.Canceled, codes.Canceled},
}

// policyError is a policy's error with a status.
type policyError struct{ error }

func (e *policyError) Unwrap() error { return e.error }

func (e *policyError) GRPCStatus() *status.Status { return status.New(Code(e.error), e.Error()) }

// withStatus gives a status to an error that has none; one that is no policy's stays as it is.
func withStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok || Code(err) == codes.Unknown {
		return err
	}
	return &policyError{err}
}

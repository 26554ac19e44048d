// Package httpx puts the policies of package resilience around HTTP: Transport around the requests a program sends, Handler
// around those it serves.
//
// Between the two, headers tell the next process what it cannot know, and in answers the one before:
//
//	Backstay-Attempt: 2            this is the second try: do not multiply it by tries of your own
//	Backstay-Timeout: 250          the answer is of no use after so many milliseconds
//	Backstay-Priority: 2.17        how much it matters: class and level
//	Backstay-Priority-Token: …     the same, signed (resilience.Tokens): for who is not trusted
//	Backstay-Degraded: images      degradation modes that are open; in an answer: that it was made under
//	Backstay-Retry: no             (in an answer) tried again in vain already: do not try again
//	Backstay-Refused: yes          (in an answer) refused before any work was done: may be tried again whatever it was
//
// A program that calls others gives its http.Client a Transport, and one that is called wraps its handler; what the second
// learns of a request is in the request's context, and the first passes on what is in the context of those it sends. So use
// http.NewRequestWithContext with the context of the request being served.
package httpx

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/resilience"
)

// The headers.
const (
	AttemptHeader  = "Backstay-Attempt"
	TimeoutHeader  = "Backstay-Timeout"
	PriorityHeader = "Backstay-Priority"
	TokenHeader    = "Backstay-Priority-Token"
	DegradedHeader = "Backstay-Degraded"
	RetryHeader    = "Backstay-Retry"
	RefusedHeader  = "Backstay-Refused"
)

// setHeaders tells the other side what the context knows.
func setHeaders(ctx context.Context, h http.Header, tokens *resilience.Tokens) {
	if n := resilience.AttemptOf(ctx); n > 1 {
		h.Set(AttemptHeader, strconv.Itoa(n))
	}
	if deadline, ok := ctx.Deadline(); ok {
		h.Set(TimeoutHeader, strconv.FormatInt(max(time.Until(deadline).Milliseconds(), 0), 10))
	}
	p := resilience.PriorityOf(ctx)
	if p != resilience.Normal {
		h.Set(PriorityHeader, p.Number())
	}
	switch token := resilience.TokenOf(ctx); {
	case tokens != nil:
		h.Set(TokenHeader, tokens.Sign(p))
	case token != "":
		h.Set(TokenHeader, token)
	}
	if modes := resilience.Degraded(ctx); len(modes) > 0 {
		h.Set(DegradedHeader, modeList(modes))
	}
}

// modeList writes modes into a header: what could end a name, or the header, becomes a low line.
func modeList(modes []string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '_'
		}
		return r
	}, strings.Join(modes, ", "))
}

// longestMode is that of a name in a header.
const longestMode = 64

// Degraded names the modes under which an answer was made, by its header; none where it is all that there could be. What could
// not be a list of them is left out.
func Degraded(h http.Header) []string {
	value := h.Get(DegradedHeader)
	if value == "" || len(value) > 2048 {
		return nil
	}
	var modes []string
	for mode := range strings.SplitSeq(value, ",") {
		if mode = strings.TrimSpace(mode); mode != "" && len(mode) <= longestMode {
			modes = append(modes, mode)
		}
	}
	return modes
}

// readHeaders puts what the other side tells into the context. What is malformed is as if it were not there. A priority is
// only taken from who is trusted, or signed: anyone could claim the highest.
func readHeaders(ctx context.Context, h http.Header, o *HandlerOptions) (context.Context, context.CancelFunc) {
	if n, err := strconv.Atoi(h.Get(AttemptHeader)); err == nil && n > 1 {
		ctx = resilience.WithAttempt(ctx, n)
	}
	if p, ok := resilience.ParsePriority(h.Get(PriorityHeader)); ok && o.TrustPriority {
		ctx = resilience.WithPriority(ctx, p)
	}
	if token := h.Get(TokenHeader); token != "" && o.Tokens != nil {
		if p, err := o.Tokens.Verify(token); err == nil {
			ctx = resilience.WithToken(resilience.WithPriority(ctx, p), token)
		}
	}
	if o.TrustDegraded {
		ctx = resilience.WithDegraded(ctx, Degraded(h)...)
	}
	if ms, err := strconv.ParseInt(h.Get(TimeoutHeader), 10, 32); err == nil && ms >= 0 {
		return context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
	}
	return ctx, func() {}
}

// retryAfter reads Retry-After: seconds, or a date (RFC 9110, section 10.2.3).
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(time.Until(date), 0)
	}
	return 0
}

// StatusError is an answer that counts as a failure: 429, or 500 and above.
type StatusError struct {
	Status int
	After  time.Duration // Retry-After; 0 where there is none
}

// Error names the status.
func (e *StatusError) Error() string {
	return fmt.Sprintf("the answer was %d %s", e.Status, http.StatusText(e.Status))
}

// RetryAfter is what the answer asked to wait.
func (e *StatusError) RetryAfter() time.Duration { return e.After }

// statusError is nil for an answer that is no failure.
func statusError(status int, h http.Header) error {
	if status < http.StatusInternalServerError && status != http.StatusTooManyRequests {
		return nil
	}
	err := error(&StatusError{status, retryAfter(h)})
	if h.Get(RefusedHeader) == "yes" {
		err = fmt.Errorf("%w: %w", err, resilience.ErrNotSent)
	}
	if h.Get(RetryHeader) == "no" {
		return resilience.Permanent(err)
	}
	return err
}

// Retryable says what may go away by trying again: 429, 502, 503, 504, and every transient error without an answer.
func Retryable(err error) bool {
	if e, ok := errors.AsType[*StatusError](err); ok {
		switch e.Status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		default:
			return false
		}
	}
	return resilience.Transient(err)
}

// WriteError answers with what an error of a call means to the one who asked: 429 for a rate that is exceeded, 504 for a
// missed deadline, 503 for other refusals, 502 for the rest; with Retry-After where the error or its kind says when, and
// Backstay-Retry where more tries are no use.
func WriteError(w http.ResponseWriter, err error) {
	status := http.StatusBadGateway
	switch {
	case errors.Is(err, resilience.ErrRate):
		status = http.StatusTooManyRequests
	case errors.Is(err, resilience.ErrTooLate), errors.Is(err, context.DeadlineExceeded):
		status = http.StatusGatewayTimeout
	case errors.Is(err, resilience.ErrRefused):
		status = http.StatusServiceUnavailable
	}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(afterSeconds(err)))
	}
	if resilience.GaveUp(err) {
		w.Header().Set(RetryHeader, "no")
	}
	http.Error(w, err.Error(), status)
}

func afterSeconds(err error) int {
	if e, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](err); ok {
		return max(1, int((e.RetryAfter()+time.Second-1)/time.Second))
	}
	return 1
}

package httpx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/backstay/backstay/resilience"
)

// TransportOptions says how requests are sent.
type TransportOptions struct {
	Base http.RoundTripper // http.DefaultTransport where nil
	// Retry says what is tried again. PerTry and Total count until the head of the answer; Retryable is that of this package
	// where nil.
	Retry resilience.RetryOptions
	Gates []resilience.Gate // passed by each try: a breaker, a limit, a throttle
}

// Transport is an http.RoundTripper that sends each try of a request through gates and tries again where that is safe: what
// was not sent; and, for idempotent methods (RFC 9110, section 9.2.2) and requests with an Idempotency-Key, what failed or was
// answered with 429, 502, 503 or 504. A body is sent again only if the request has GetBody. When tries run out, the last
// answer is returned as it is.
type Transport struct {
	base  http.RoundTripper
	retry *resilience.Retry
	gates []resilience.Gate
}

// NewTransport makes a transport, or says what is wrong with its options.
func NewTransport(o TransportOptions) (*Transport, error) {
	if o.Base == nil {
		o.Base = http.DefaultTransport
	}
	if o.Retry.Retryable == nil {
		o.Retry.Retryable = Retryable
	}
	retry, err := resilience.NewRetry(o.Retry)
	if err != nil {
		return nil, err
	}
	return &Transport{o.Base, retry, o.Gates}, nil
}

// RoundTrip sends a request. Errors of gates wrap resilience.ErrRefused.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	if !idempotent(request) {
		ctx = resilience.Unsafe(ctx)
	}
	x := &exchange{transport: t, request: request}
	response, err := resilience.Do(ctx, t.retry, x.try)
	if !x.used && request.Body != nil {
		_ = request.Body.Close() // a RoundTripper closes the body whatever happens
	}
	if response != nil && err != nil && request.Context().Err() != nil { // nobody is there to read it
		_ = response.Body.Close()
		return nil, err
	}
	if response != nil { // an answer that counts as a failure is an answer all the same
		if resilience.GaveUp(err) {
			response.Header.Set(RetryHeader, "no")
		}
		return response, nil
	}
	return nil, err
}

// idempotent says whether a request may be sent twice.
func idempotent(r *http.Request) bool {
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return r.Header.Get("Idempotency-Key") != ""
}

// exchange is one request with its tries.
type exchange struct {
	transport *Transport
	request   *http.Request
	used      bool           // the request's own body has been handed on
	last      *http.Response // of the try before
}

// try sends the request once. With an error of its own status it also returns the answer.
func (x *exchange) try(ctx context.Context) (*http.Response, error) {
	if x.last != nil { // so that its connection can be used again
		_, _ = io.CopyN(io.Discard, x.last.Body, 64<<10)
		_ = x.last.Body.Close()
		x.last = nil
	}
	return resilience.Guard(ctx, x.send, x.transport.gates...)
}

func (x *exchange) send(ctx context.Context) (*http.Response, error) {
	// The answer's body is read after Do has ended its context: so the try runs under the request's, and Do's ends it only
	// until the head is there.
	within, cancel := context.WithCancel(x.request.Context())
	request := x.request.Clone(within)
	if err := x.body(request); err != nil {
		cancel()
		return nil, resilience.Permanent(err)
	}
	setHeaders(ctx, request.Header)
	stop := context.AfterFunc(ctx, cancel)
	response, err := x.transport.base.RoundTrip(request)
	if !stop() && err == nil {
		_ = response.Body.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		cancel()
		if ctx.Err() != nil {
			err = context.Cause(ctx) // and not that of our own cancelling
		}
		return nil, x.explain(err)
	}
	response.Body = closing(response.Body, cancel)
	if err = statusError(response.StatusCode, response.Header); err != nil {
		x.last = response
		return response, x.explain(err)
	}
	return response, nil
}

// body gives a try its own copy of the body. The request's own is used up first.
func (x *exchange) body(request *http.Request) error {
	switch {
	case request.Body == nil || request.Body == http.NoBody:
	case !x.used:
		x.used = true
	case x.request.GetBody == nil:
		return errors.New("the body of a request without GetBody cannot be sent again")
	default:
		body, err := x.request.GetBody()
		if err != nil {
			return fmt.Errorf("get the body to send it again: %w", err)
		}
		request.Body = body
	}
	return nil
}

// explain adds what the retry has to know of an error.
func (x *exchange) explain(err error) error {
	if x.used && x.request.GetBody == nil {
		return resilience.Permanent(err) // the body is used up
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fmt.Errorf("%w: %w", resilience.ErrNotSent, err)
	}
	return err
}

// closing ends the try's context when the body is closed. An upgraded connection stays writable.
func closing(body io.ReadCloser, cancel context.CancelFunc) io.ReadCloser {
	if rw, ok := body.(io.ReadWriteCloser); ok {
		return &closingWriter{rw, cancel}
	}
	return &closingBody{body, cancel}
}

type closingBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *closingBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

type closingWriter struct {
	io.ReadWriteCloser
	cancel context.CancelFunc
}

func (b *closingWriter) Close() error {
	defer b.cancel()
	return b.ReadWriteCloser.Close()
}

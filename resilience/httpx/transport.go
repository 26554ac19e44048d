package httpx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/backstay/backstay/resilience"
)

// TransportOptions says how requests are sent.
type TransportOptions struct {
	Base http.RoundTripper // http.DefaultTransport where nil
	// Retry says what is tried again. PerTry and Total count until the head of the answer; Retryable is that of this package
	// where nil.
	Retry resilience.RetryOptions
	Gates []resilience.Gate // passed by each try: a breaker, a limit, a throttle
	// Hedge, where given, sends slow idempotent requests again and takes the answer whose head comes first; the others are cancelled.
	Hedge    *resilience.Hedge
	Tokens   *resilience.Tokens  // signs the priority of requests; where nil, a token that came with the request served is passed on
	Name     string              // what the observer is told of
	Observer resilience.Observer // told of each request (until the head of its answer), retry and refusal
}

// Transport is an http.RoundTripper that sends each try of a request through gates and tries again where that is safe: what
// was not sent, or says that it was refused (Backstay-Refused); and, for idempotent methods (RFC 9110, section 9.2.2) and requests with an Idempotency-Key, what failed or was
// answered with 429, 502, 503 or 504. A body is sent again only if the request has GetBody. When tries run out, the last
// answer is returned as it is.
type Transport struct {
	base  http.RoundTripper
	retry *resilience.Retry
	gates []resilience.Gate
	hedge *resilience.Hedge
	sign  *resilience.Tokens

	name     string
	observer resilience.Observer
}

// NewTransport makes a transport, or says what is wrong with its options.
func NewTransport(o TransportOptions) (*Transport, error) {
	if o.Base == nil {
		o.Base = http.DefaultTransport
	}
	if o.Retry.Retryable == nil {
		o.Retry.Retryable = Retryable
	}
	if tell := o.Observer.Retry(o.Name); tell != nil {
		own := o.Retry.OnRetry
		o.Retry.OnRetry = func(e resilience.RetryEvent) {
			tell(e)
			if own != nil {
				own(e)
			}
		}
	}
	retry, err := resilience.NewRetry(o.Retry)
	if err != nil {
		return nil, err
	}
	return &Transport{o.Base, retry, o.Gates, o.Hedge, o.Tokens, o.Name, o.Observer}, nil
}

// RoundTrip sends a request. Errors of gates wrap resilience.ErrRefused.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	if !idempotent(request) {
		ctx = resilience.Unsafe(ctx)
	}
	x := &exchange{transport: t, request: request}
	response, err := resilience.Watch(ctx, t.observer, t.name, func(ctx context.Context) (*http.Response, error) {
		return resilience.Do(ctx, t.retry, x.try)
	})
	if !x.takeBody() && request.Body != nil {
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
	used      atomic.Bool    // the request's own body has been handed on
	last      *http.Response // of the try before
}

// takeBody says whether somebody has taken the request's own body already.
func (x *exchange) takeBody() (before bool) { return x.used.Swap(true) }

// try sends the request once, or more often where it is hedged. With an error of its own status it also returns the answer.
func (x *exchange) try(ctx context.Context) (*http.Response, error) {
	if x.last != nil { // so that its connection can be used again
		_, _ = io.CopyN(io.Discard, x.last.Body, 64<<10)
		_ = x.last.Body.Close()
		x.last = nil
	}
	var response *http.Response
	var err error
	if x.transport.hedge == nil || x.once() {
		response, err = x.pass(ctx)
	} else {
		response, err = x.race(ctx)
	}
	if err != nil {
		x.last = response
	}
	return response, err
}

// once says whether the body cannot be had a second time.
func (x *exchange) once() bool {
	return x.request.Body != nil && x.request.Body != http.NoBody && x.request.GetBody == nil
}

// pass sends the request through the gates.
func (x *exchange) pass(ctx context.Context) (*http.Response, error) {
	t := x.transport
	response, err := resilience.Guard(ctx, x.send, t.gates...)
	if t.observer != nil && errors.Is(err, resilience.ErrRefused) {
		t.observer(ctx, resilience.Event{Kind: resilience.EventRefusal, Name: t.name, Err: err, Attempt: resilience.AttemptOf(ctx)})
	}
	return response, err
}

// race sends the request again when it takes long. The hedge knows of errors only; the answers that go with them are
// kept aside, and all but the one that is returned are closed.
func (x *exchange) race(ctx context.Context) (*http.Response, error) {
	var mu sync.Mutex
	var failed []*http.Response
	over := false
	response, err := resilience.Race(ctx, x.transport.hedge, func(ctx context.Context) (*http.Response, error) {
		response, err := x.pass(ctx)
		if err == nil || response == nil {
			return response, err
		}
		mu.Lock()
		defer mu.Unlock()
		if over {
			_ = response.Body.Close()
			return nil, err
		}
		failed = append(failed, response)
		return response, err
	}, func(late *http.Response) { _ = late.Body.Close() })
	mu.Lock()
	defer mu.Unlock()
	over = true
	for _, r := range failed {
		if r != response {
			_ = r.Body.Close()
		}
	}
	return response, err
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
	setHeaders(ctx, request.Header, x.transport.sign)
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
		return response, x.explain(err)
	}
	return response, nil
}

// body gives a try its own copy of the body. The request's own is used up first.
func (x *exchange) body(request *http.Request) error {
	switch {
	case request.Body == nil || request.Body == http.NoBody:
	case !x.takeBody():
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
	if x.once() && x.used.Load() {
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

package httpx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/resilience"
)

var errReset = errors.New("connection reset")

// script is a RoundTripper that answers with each of its steps in turn: a status, or an error where that is 0.
type script struct {
	t      *testing.T
	steps  []step
	bodies []string
	seen   []http.Header
	open   int // bodies of answers that are not closed
}

type step struct {
	status int
	header string // "Name: value"
	err    error
	takes  time.Duration
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	step := s.steps[min(len(s.seen), len(s.steps)-1)]
	s.seen = append(s.seen, r.Header.Clone())
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			s.t.Error(err)
		}
		_ = r.Body.Close()
		s.bodies = append(s.bodies, string(b))
	}
	select {
	case <-time.After(step.takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if step.err != nil {
		return nil, step.err
	}
	h := http.Header{}
	if name, value, ok := strings.Cut(step.header, ": "); ok {
		h.Set(name, value)
	}
	s.open++
	return &http.Response{StatusCode: step.status, Header: h, Body: &body{Reader: strings.NewReader("answer"), script: s, ctx: r.Context()}}, nil
}

// body is that of an answer; like a real one it cannot be read when the request's context has ended.
type body struct {
	io.Reader
	script *script
	ctx    context.Context
	closed bool
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.Reader.Read(p)
}

func (b *body) Close() error {
	if !b.closed {
		b.script.open--
		b.closed = true
	}
	return nil
}

func TestTransport(t *testing.T) {
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	bad := step{status: 503}
	tests := []struct {
		name    string
		method  string
		body    io.Reader
		key     string // Idempotency-Key
		options resilience.RetryOptions
		steps   []step
		want    string // status or error
		tries   int
		header  string // Backstay-Retry of the answer
	}{
		{name: "a good answer", method: "GET", steps: []step{{status: 200}}, want: "200", tries: 1},
		{name: "a wrong request is not repeated", method: "GET", steps: []step{{status: 404}}, want: "404", tries: 1},
		{name: "nor is a broken server asked again", method: "GET", steps: []step{{status: 500}}, want: "500", tries: 1},
		{name: "503, then good", method: "GET", steps: []step{bad, {status: 200}}, want: "200", tries: 2},
		{name: "429 and 502, then good", method: "GET", steps: []step{{status: 429}, {status: 502}, {status: 200}}, want: "200", tries: 3},
		{name: "the last answer is given back", method: "GET", steps: []step{bad, bad, {status: 504}}, want: "504", tries: 3, header: "no"},
		{name: "a reset, then good", method: "GET", steps: []step{{err: errReset}, {status: 200}}, want: "200", tries: 2},
		{name: "resets only", method: "GET", steps: []step{{err: errReset}}, want: "gave up after 3 tries: connection reset", tries: 3},
		{name: "POST is sent once", method: "POST", body: strings.NewReader("x"), steps: []step{bad, {status: 200}}, want: "503", tries: 1},
		{name: "also after a reset", method: "POST", body: strings.NewReader("x"), steps: []step{{err: errReset}, {status: 200}}, want: "connection reset", tries: 1},
		{name: "POST that did not get there", method: "POST", body: strings.NewReader("x"), steps: []step{{err: dial}, {status: 200}}, want: "200", tries: 2},
		{name: "POST that was refused at the door", method: "POST", body: strings.NewReader("x"), steps: []step{{status: 503, header: "Backstay-Refused: yes"}, {status: 200}}, want: "200", tries: 2},
		{name: "the same, whose body is used up", method: "POST", body: io.MultiReader(strings.NewReader("x")), steps: []step{{status: 503, header: "Backstay-Refused: yes"}, {status: 200}}, want: "503", tries: 1},
		{name: "POST with a key", method: "POST", body: strings.NewReader("x"), key: "1", steps: []step{bad, {status: 200}}, want: "200", tries: 2},
		{name: "PUT with its body", method: "PUT", body: strings.NewReader("x"), steps: []step{bad, {status: 200}}, want: "200", tries: 2},
		{name: "PUT whose body cannot be had again", method: "PUT", body: io.MultiReader(strings.NewReader("x")), steps: []step{bad, {status: 200}}, want: "503", tries: 1},
		{name: "told not to", method: "GET", steps: []step{{status: 503, header: "Backstay-Retry: no"}, {status: 200}}, want: "503", tries: 1, header: "no"},
		{name: "told when", method: "GET", options: resilience.RetryOptions{Total: 3 * time.Second}, steps: []step{{status: 503, header: "Retry-After: 2"}, {status: 200}}, want: "200", tries: 2},
		{name: "told too late", method: "GET", options: resilience.RetryOptions{Total: 3 * time.Second}, steps: []step{{status: 503, header: "Retry-After: 9"}, {status: 200}}, want: "503", tries: 1},
		{name: "a slow try", method: "GET", options: resilience.RetryOptions{PerTry: time.Second}, steps: []step{{status: 200, takes: time.Minute}, {status: 200}}, want: "200", tries: 2},
		{name: "slow ones only", method: "GET", options: resilience.RetryOptions{PerTry: time.Second}, steps: []step{{status: 200, takes: time.Minute}}, want: "gave up after 3 tries: context deadline exceeded", tries: 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{t: t, steps: tt.steps}
				tt.options.Budget = nil
				transport, err := NewTransport(TransportOptions{Base: s, Retry: tt.options})
				if err != nil {
					t.Fatal(err)
				}
				r, err := http.NewRequest(tt.method, "http://example.org/", tt.body)
				if err != nil {
					t.Fatal(err)
				}
				if tt.key != "" {
					r.Header.Set("Idempotency-Key", tt.key)
				}
				got, header := outcome(t, transport, r)
				if !strings.HasPrefix(got, tt.want) || len(s.seen) != tt.tries || header != tt.header {
					t.Errorf("%s after %d tries, %s %q; want %s after %d, %q", got, len(s.seen), RetryHeader, header, tt.want, tt.tries, tt.header)
				}
				for i, h := range s.seen {
					if want := map[bool]string{true: fmt.Sprint(i + 1)}[i > 0]; h.Get(AttemptHeader) != want {
						t.Errorf("try %d says it is %q", i+1, h.Get(AttemptHeader))
					}
				}
				for _, b := range s.bodies {
					if b != "x" {
						t.Errorf("sent the body %q", b)
					}
				}
				if s.open != 0 {
					t.Errorf("%d answers stay open", s.open)
				}
			})
		})
	}
}

// outcome sends a request, reads the answer a while later and says what it was.
func outcome(t *testing.T, transport http.RoundTripper, r *http.Request) (what, header string) {
	t.Helper()
	response, err := transport.RoundTrip(r)
	if err != nil {
		return err.Error(), ""
	}
	time.Sleep(time.Hour) // longer than any bound, which ends with the head
	if b, err := io.ReadAll(response.Body); err != nil || string(b) != "answer" {
		t.Errorf("read %q, %v", b, err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	return fmt.Sprint(response.StatusCode), response.Header.Get(RetryHeader)
}

func TestTransportPassesGates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{t: t, steps: []step{{status: 500}}}
		breaker := resilience.NewBreaker(resilience.BreakerOptions{Consecutive: 2})
		transport, err := NewTransport(TransportOptions{Base: s, Gates: []resilience.Gate{breaker}, Retry: resilience.RetryOptions{Attempts: 1}})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []error{nil, nil, resilience.ErrOpen} {
			r, _ := http.NewRequest(http.MethodPost, "http://example.org/", strings.NewReader("x"))
			response, err := transport.RoundTrip(r)
			if !errors.Is(err, want) {
				t.Errorf("request %d: %v, want %v", i, err, want)
			}
			if err == nil {
				_ = response.Body.Close()
			}
		}
	})
}

func TestTransportTellsWhatTheContextKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{t: t, steps: []step{{status: 200}}}
		transport, _ := NewTransport(TransportOptions{Base: s})
		ctx, cancel := context.WithTimeout(resilience.WithPriority(t.Context(), resilience.Critical+17), 3*time.Hour)
		defer cancel()
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://example.org/", nil)
		outcome(t, transport, r)
		if h := s.seen[0]; h.Get(PriorityHeader) != "2.17" || h.Get(TimeoutHeader) != "10800000" || len(r.Header) != 0 {
			t.Errorf("sent %v; the request itself has %v", h, r.Header)
		}
	})
}

func TestNewTransportRefuses(t *testing.T) {
	_, err := NewTransport(TransportOptions{Retry: resilience.RetryOptions{Attempts: -1}})
	if err == nil {
		t.Error("took negative attempts")
	}
}

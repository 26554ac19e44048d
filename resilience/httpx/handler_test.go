package httpx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/resilience"
)

func TestHandlerReadsHeaders(t *testing.T) {
	tests := []struct {
		name    string
		headers map[string]string
		options HandlerOptions
		want    string // attempt, priority, time left
	}{
		{"none", nil, HandlerOptions{}, "1 128 0s"},
		{"all, trusted", map[string]string{AttemptHeader: "3", PriorityHeader: "3.5", TimeoutHeader: "250"}, HandlerOptions{TrustPriority: true}, "3 389 250ms"},
		{"priority is not believed", map[string]string{PriorityHeader: "3.5"}, HandlerOptions{}, "1 128 0s"},
		{"a class alone", map[string]string{PriorityHeader: "0"}, HandlerOptions{TrustPriority: true}, "1 0 0s"},
		{"the service decides", map[string]string{PriorityHeader: "3"}, HandlerOptions{TrustPriority: true, Priority: func(*http.Request) resilience.Priority { return resilience.Sheddable }}, "1 0 0s"},
		{"malformed", map[string]string{AttemptHeader: "-1", PriorityHeader: "4.1", TimeoutHeader: "soon"}, HandlerOptions{TrustPriority: true}, "1 128 0s"},
		{"more malformed", map[string]string{AttemptHeader: "1e3", PriorityHeader: "1.200", TimeoutHeader: "-5"}, HandlerOptions{TrustPriority: true}, "1 128 0s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					var left time.Duration
					if deadline, ok := r.Context().Deadline(); ok {
						left = time.Until(deadline)
					}
					fmt.Fprint(w, resilience.AttemptOf(r.Context()), " ", uint16(resilience.PriorityOf(r.Context())), " ", left)
				}), tt.options)
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				for name, value := range tt.headers {
					r.Header.Set(name, value)
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if got := w.Body.String(); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
			})
		})
	}
}

func TestHandlerPassesGates(t *testing.T) {
	for _, tt := range []struct {
		status int
		want   resilience.BreakerState
	}{{200, resilience.Closed}, {404, resilience.Closed}, {500, resilience.Open}, {503, resilience.Open}} {
		synctest.Test(t, func(t *testing.T) {
			breaker := resilience.NewBreaker(resilience.BreakerOptions{Consecutive: 1})
			h := Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(tt.status)
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Error(err)
				}
			}), HandlerOptions{Gates: []resilience.Gate{breaker}})
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			if breaker.State() != tt.want {
				t.Errorf("%v after %d, want %v", breaker.State(), tt.status, tt.want)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			if refused := w.Code == 503 && w.Header().Get("Retry-After") == "1"; tt.status != 503 && refused != (tt.want == resilience.Open) {
				t.Errorf("then answered %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
			}
		})
	}
}

type later struct{ time.Duration }

func (l later) Error() string             { return "later" }
func (l later) RetryAfter() time.Duration { return l.Duration }

func TestWriteError(t *testing.T) {
	retry, _ := resilience.NewRetry(resilience.RetryOptions{Budget: resilience.NewBudget(resilience.BudgetOptions{Min: -1, Ratio: -1})})
	_, spent := resilience.Do(context.Background(), retry, func(context.Context) (int, error) { return 0, errReset })
	tests := []struct {
		err    error
		status int
		after  string
		retry  string
	}{
		{resilience.ErrRate, 429, "1", ""},
		{resilience.ErrTooLate, 504, "", ""},
		{fmt.Errorf("call: %w", context.DeadlineExceeded), 504, "", ""},
		{resilience.ErrShed, 503, "1", ""},
		{errors.Join(resilience.ErrOpen, later{1500 * time.Millisecond}), 503, "2", ""},
		{errReset, 502, "", ""},
		{spent, 502, "", "no"},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		WriteError(w, tt.err)
		if w.Code != tt.status || w.Header().Get("Retry-After") != tt.after || w.Header().Get(RetryHeader) != tt.retry {
			t.Errorf("%v: %d, %v", tt.err, w.Code, w.Header())
		}
	}
}

func TestRetryAfterHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for value, want := range map[string]time.Duration{
			"": 0, "3": 3 * time.Second, "-3": 0, "soon": 0, "99999999999999": 0,
			time.Now().Add(time.Minute).UTC().Format(http.TimeFormat):  time.Minute,
			time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat): 0,
		} {
			if got := retryAfter(http.Header{"Retry-After": {value}}); got != want {
				t.Errorf("%q is %v, want %v", value, got, want)
			}
		}
	})
}

// TestInLayers sends through two processes' worth of handlers and transports, over real sockets, to a backend that is down: only the layer
// next to it retries.
func TestInLayers(t *testing.T) {
	tries := 0
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		tries++
		http.Error(w, "down", http.StatusServiceUnavailable)
	}))
	t.Cleanup(backend.Close)
	retry := resilience.RetryOptions{Backoff: resilience.Backoff{Initial: time.Millisecond, Max: 2 * time.Millisecond}}
	inner, err := NewTransport(TransportOptions{Retry: retry})
	if err != nil {
		t.Fatal(err)
	}
	middle := httptest.NewServer(Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := http.NewRequestWithContext(r.Context(), r.Method, backend.URL, nil)
		if err != nil {
			t.Error(err)
			return
		}
		response, err := inner.RoundTrip(request)
		if err != nil {
			WriteError(w, err)
			return
		}
		defer response.Body.Close()
		w.Header().Set(RetryHeader, response.Header.Get(RetryHeader))
		w.WriteHeader(response.StatusCode)
		_, _ = io.Copy(w, response.Body)
	}), HandlerOptions{}))
	t.Cleanup(middle.Close)
	outer, err := NewTransport(TransportOptions{Retry: retry})
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Transport: outer}).Get(middle.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusServiceUnavailable || string(body) != "down\n" || err != nil || tries != 3 {
		t.Errorf("%d %q %v after %d tries", response.StatusCode, body, err, tries)
	}
}

func BenchmarkHandler(b *testing.B) {
	limit := resilience.NewLimit(resilience.LimitOptions{Concurrency: 10})
	h := Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), HandlerOptions{Gates: []resilience.Gate{limit}})
	r, w := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}

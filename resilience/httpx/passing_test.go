package httpx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/resilience"
)

func keys(t *testing.T, id string) *resilience.Tokens {
	t.Helper()
	tokens, err := resilience.NewTokens(resilience.TokenOptions{Keys: []resilience.TokenKey{{ID: id, Secret: bytes.Repeat([]byte(id), 32)}}})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// TestWhatIsPassedOn sends a request through two services and looks at what the second knows and what the client is told.
func TestWhatIsPassedOn(t *testing.T) {
	mode := resilience.NewMode("recommendations off", resilience.ModeOptions{})
	mode.Force(true)
	closed := resilience.NewMode("search off", resilience.ModeOptions{})
	k := keys(t, "k1")
	tests := []struct {
		name          string
		header        map[string]string
		first, second HandlerOptions
		between       TransportOptions
		want          string
		told          string // Backstay-Degraded of the answer
	}{
		{"nothing", nil, HandlerOptions{}, HandlerOptions{TrustPriority: true}, TransportOptions{}, "normal []", ""},
		{"an open mode", nil, HandlerOptions{Modes: []*resilience.Mode{closed, mode}}, HandlerOptions{TrustDegraded: true}, TransportOptions{}, "normal [recommendations off]", "recommendations off"},
		{"a mode that is not believed", nil, HandlerOptions{Modes: []*resilience.Mode{mode}}, HandlerOptions{}, TransportOptions{}, "normal []", "recommendations off"},
		{"modes of both", map[string]string{DegradedHeader: "images , ,recommendations off"}, HandlerOptions{TrustDegraded: true}, HandlerOptions{TrustDegraded: true, Modes: []*resilience.Mode{mode}}, TransportOptions{}, "normal [images recommendations off]", "images, recommendations off"},
		{"modes nobody could have", map[string]string{DegradedHeader: strings.Repeat("x", 65) + ", " + strings.Repeat("y", 64)}, HandlerOptions{TrustDegraded: true}, HandlerOptions{TrustDegraded: true}, TransportOptions{}, "normal [" + strings.Repeat("y", 64) + "]", strings.Repeat("y", 64)},
		{"a token", map[string]string{TokenHeader: k.Sign(resilience.Critical)}, HandlerOptions{Tokens: k}, HandlerOptions{Tokens: k}, TransportOptions{}, "critical []", ""},
		{"a token of somebody else", map[string]string{TokenHeader: keys(t, "k2").Sign(resilience.Critical)}, HandlerOptions{Tokens: k}, HandlerOptions{Tokens: k}, TransportOptions{}, "normal []", ""},
		{"a token beats a claim", map[string]string{TokenHeader: k.Sign(resilience.Sheddable), PriorityHeader: "3"}, HandlerOptions{Tokens: k}, HandlerOptions{Tokens: k}, TransportOptions{}, "sheddable []", ""},
		{"a claim, signed by the first", map[string]string{PriorityHeader: "3"}, HandlerOptions{TrustPriority: true}, HandlerOptions{Tokens: k}, TransportOptions{Tokens: k}, "critical+ []", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			second := httptest.NewServer(Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, resilience.PriorityOf(r.Context()), " ", resilience.Degraded(r.Context()))
			}), tt.second))
			defer second.Close()
			transport, err := NewTransport(tt.between)
			if err != nil {
				t.Fatal(err)
			}
			client := &http.Client{Transport: transport}
			first := httptest.NewServer(Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				onward, _ := http.NewRequestWithContext(r.Context(), http.MethodGet, second.URL, nil)
				answer, err := client.Do(onward)
				if err != nil {
					t.Error(err)
					return
				}
				defer answer.Body.Close()
				_, _ = io.Copy(w, answer.Body)
			}), tt.first))
			defer first.Close()
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, first.URL, nil)
			for name, value := range tt.header {
				r.Header.Set(name, value)
			}
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			body, _ := io.ReadAll(answer.Body)
			if string(body) != tt.want || answer.Header.Get(DegradedHeader) != tt.told {
				t.Errorf("%s, %s %q; want %s, %q", body, DegradedHeader, answer.Header.Get(DegradedHeader), tt.want, tt.told)
			}
		})
	}
}

// TestRefusedPostIsSentAgain: a handler that refuses says so, and what was refused may be sent again whatever it was.
func TestRefusedPostIsSentAgain(t *testing.T) {
	limit := resilience.NewLimit(resilience.LimitOptions{Concurrency: 1})
	_ = limit.Acquire(t.Context())
	served := 0
	server := httptest.NewServer(Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }), HandlerOptions{Gates: []resilience.Gate{limit}}))
	defer server.Close()
	transport, err := NewTransport(TransportOptions{Retry: resilience.RetryOptions{OnRetry: func(resilience.RetryEvent) { limit.Release() }}})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := (&http.Client{Transport: transport}).Post(server.URL, "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK || served != 1 {
		t.Errorf("%s after being served %d times", answer.Status, served)
	}
}

func TestModesCannotBreakTheHeader(t *testing.T) {
	if got := fmt.Sprint(Degraded(http.Header{DegradedHeader: {"a, ,b b"}}), len(Degraded(http.Header{DegradedHeader: {strings.Repeat("a,", 2000)}}))); got != "[a b b] 0" {
		t.Error(got)
	}
	if got := modeList([]string{"a\r\nSet-Cookie: x", "grün"}); got != "a__Set-Cookie: x, gr_n" {
		t.Errorf("%q", got)
	}
}

// slowly answers each request after the time that its turn says, with its body or a status.
type slowly struct {
	mu     sync.Mutex
	turns  []step
	made   int
	closed int
	bodies []string
}

func (s *slowly) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	turn := s.turns[min(s.made, len(s.turns)-1)]
	s.made++
	s.mu.Unlock()
	if r.Body != nil {
		b, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		s.mu.Lock()
		s.bodies = append(s.bodies, string(b))
		s.mu.Unlock()
	}
	select {
	case <-time.After(turn.takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if turn.err != nil {
		return nil, turn.err
	}
	s.mu.Lock()
	s.closed--
	s.mu.Unlock()
	return &http.Response{StatusCode: turn.status, Header: http.Header{}, Body: &counted{strings.NewReader("answer"), r.Context(), s}}, nil
}

type counted struct {
	io.Reader
	ctx context.Context
	s   *slowly
}

func (c *counted) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}

func (c *counted) Close() error {
	c.s.mu.Lock()
	c.s.closed++
	c.s.mu.Unlock()
	return nil
}

func TestTransportHedges(t *testing.T) {
	ms := time.Millisecond
	tests := []struct {
		name   string
		method string
		body   io.Reader
		turns  []step
		want   string
		made   int
		took   time.Duration
		most   int
	}{
		{"a fast answer", "GET", nil, []step{{status: 200, takes: 5 * ms}}, "200", 1, 5 * ms, 1},
		{"the second is faster", "GET", nil, []step{{status: 200, takes: time.Hour}, {status: 200, takes: 5 * ms}}, "200", 2, 15 * ms, 1},
		{"the first is faster after all", "GET", nil, []step{{status: 200, takes: 30 * ms}, {status: 200, takes: time.Hour}}, "200", 2, 30 * ms, 1},
		{"the second fails", "GET", nil, []step{{status: 200, takes: 60 * ms}, {status: 503, takes: 5 * ms}}, "200", 2, 60 * ms, 1},
		{"the first fails", "GET", nil, []step{{status: 503, takes: 30 * ms}, {status: 200, takes: 30 * ms}}, "200", 2, 40 * ms, 1},
		{"both fail", "GET", nil, []step{{status: 500, takes: 30 * ms}, {status: 503, takes: 30 * ms}}, "500", 2, 40 * ms, 1},
		{"a body is sent twice", "PUT", strings.NewReader("x"), []step{{status: 200, takes: time.Hour}, {status: 200, takes: 5 * ms}}, "200", 2, 15 * ms, 1},
		{"a body that cannot be", "PUT", io.MultiReader(strings.NewReader("x")), []step{{status: 200, takes: 100 * ms}}, "200", 1, 100 * ms, 1},
		{"what is not idempotent", "POST", strings.NewReader("x"), []step{{status: 200, takes: 100 * ms}}, "200", 1, 100 * ms, 1},
		{"the third is faster", "PUT", strings.NewReader("x"), []step{{status: 200, takes: time.Hour}, {status: 200, takes: time.Hour}, {status: 200, takes: 5 * ms}}, "200", 3, 25 * ms, 3},
		{"the first is faster than three", "GET", nil, []step{{status: 200, takes: 45 * ms}, {status: 200, takes: time.Hour}}, "200", 4, 45 * ms, 3},
		{"two fail", "GET", nil, []step{{status: 503, takes: 15 * ms}, {status: 500, takes: 15 * ms}, {status: 200, takes: 5 * ms}}, "200", 3, 25 * ms, 2},
		{"all fail one after another", "GET", nil, []step{{status: 500, takes: 25 * ms}, {status: 503, takes: 25 * ms}, {status: 502, takes: 25 * ms}}, "500", 3, 45 * ms, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &slowly{turns: []step{{status: 200, takes: 10 * ms}}}
				hedge := resilience.NewHedge(resilience.HedgeOptions{Volume: 3, Max: tt.most, Budget: resilience.NewBudget(resilience.BudgetOptions{Min: 9})})
				transport, err := NewTransport(TransportOptions{Base: s, Hedge: hedge})
				if err != nil {
					t.Fatal(err)
				}
				for range 4 { // to learn how long it takes
					r, _ := http.NewRequest(http.MethodGet, "http://example.org/", nil)
					answer, err := transport.RoundTrip(r)
					if err != nil {
						t.Fatal(err)
					}
					_ = answer.Body.Close()
				}
				time.Sleep(time.Second)
				s.turns, s.made = tt.turns, 0
				r, _ := http.NewRequest(tt.method, "http://example.org/", tt.body)
				begun := time.Now()
				answer, err := transport.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				took := time.Since(begun)
				time.Sleep(time.Hour)
				b, err := io.ReadAll(answer.Body)
				_ = answer.Body.Close()
				synctest.Wait()
				if got := fmt.Sprint(answer.StatusCode); got != tt.want || s.made != tt.made || string(b) != "answer" || err != nil {
					t.Errorf("%s (%q, %v) of %d, want %s of %d", got, b, err, s.made, tt.want, tt.made)
				}
				if took < tt.took-2*ms || took > tt.took+2*ms {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if s.closed != 0 {
					t.Errorf("%d answers stay open", -s.closed)
				}
				for _, body := range s.bodies {
					if body != "x" {
						t.Errorf("sent the body %q", body)
					}
				}
			})
		})
	}
}

func TestObserverIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		observe := func(_ context.Context, e resilience.Event) {
			told = append(told, fmt.Sprint(e.Name, " ", e.Kind, " ", e.Reason()))
		}
		own := 0
		limit := resilience.NewLimit(resilience.LimitOptions{Concurrency: 1})
		transport, err := NewTransport(TransportOptions{
			Base: &script{t: t, steps: []step{{status: 503}, {status: 200}}}, Name: "shop", Observer: observe, Gates: []resilience.Gate{limit},
			Retry: resilience.RetryOptions{Attempts: 2, OnRetry: func(resilience.RetryEvent) { own++ }},
		})
		if err != nil {
			t.Fatal(err)
		}
		r, _ := http.NewRequest(http.MethodGet, "http://example.org/", nil)
		outcome(t, transport, r)
		_ = limit.Acquire(t.Context())
		if _, err := transport.RoundTrip(r); !errors.Is(err, resilience.ErrLimited) {
			t.Error(err)
		}
		Handler(http.NotFoundHandler(), HandlerOptions{Name: "me", Observer: observe, Gates: []resilience.Gate{limit}}).
			ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		want := []string{
			"shop retry failed", "shop call ok",
			"shop refusal queue_full", "shop retry queue_full", "shop refusal queue_full", "shop call queue_full",
			"me refusal queue_full", "me call queue_full",
		}
		if !slices.Equal(told, want) || own != 2 {
			t.Errorf("told %q, want %q; own hook %d times", told, want, own)
		}
	})
}

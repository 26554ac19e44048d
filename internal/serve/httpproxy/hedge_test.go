package httpproxy

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const hedged = `
services:
  - name: web
    members: [{name: a, address: %q}, {name: b, address: %q}]
    balance: round_robin
    outlier: off
    breaker: off
    hedge: {quantile: 90%%, after: 5ms}
    timeout: {first_byte: 10m}
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`

// TestHedge: when one member of two begins to hang, requests that reach it are answered by the other.
func TestHedge(t *testing.T) {
	var hangs atomic.Bool
	var left atomic.Int32
	a := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		if hangs.Load() {
			select {
			case <-r.Context().Done():
				left.Add(1)
			case <-time.After(patience):
			}
		}
		fmt.Fprint(w, "a ", r.URL.Path)
	})
	b := newWebServer(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "b ", r.URL.Path) })
	k := start(t, hedged, a.address(), b.address())
	for i := range 150 { // as many as it takes to know what is unusual
		if res, body := k.ask("GET", fmt.Sprint("/", i)); res.StatusCode != 200 || body[1:] != fmt.Sprint(" /", i) {
			t.Fatalf("%d %q", res.StatusCode, body)
		}
	}
	time.Sleep(350 * time.Millisecond)
	hangs.Store(true)
	before := a.asked.Load()
	for i := range 20 {
		if res, body := k.ask("GET", fmt.Sprint("/", i)); res.StatusCode != 200 || body != fmt.Sprint("b /", i) {
			t.Errorf("%d %q", res.StatusCode, body)
		}
	}
	nothingInFlight(t, k) // so that a has seen all that it will see
	lost := a.asked.Load() - before
	eventually(t, "the requests that lost are cancelled", func() bool { return left.Load() == lost })
	if lost < 10 {
		t.Errorf("%d requests lost", lost)
	}
	asked := a.asked.Load() + b.asked.Load()
	hangs.Store(false)
	for range 10 {
		k.ask("POST", "/")
	}
	if n := a.asked.Load() + b.asked.Load() - asked; n != 10 {
		t.Errorf("10 POST requests were made %d times", n)
	}
	nothingInFlight(t, k)
}

// TestHedgeBothSlow: with both slow at random, every request has exactly one answer, its own.
func TestHedgeBothSlow(t *testing.T) {
	var n atomic.Int32
	slow := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if i := n.Add(1); i > 150 {
				time.Sleep(time.Duration(i*7%13) * time.Millisecond)
			}
			fmt.Fprint(w, r.URL.Path)
		}
	}
	k := start(t, hedged, newWebServer(t, slow("a")).address(), newWebServer(t, slow("b")).address())
	for i := range 450 {
		if i == 150 {
			time.Sleep(350 * time.Millisecond)
		}
		if res, body := k.ask("GET", fmt.Sprint("/", i)); res.StatusCode != 200 || body != fmt.Sprint("/", i) {
			t.Errorf("%d: %d %q", i, res.StatusCode, body)
		}
	}
	nothingInFlight(t, k)
}

// nothingInFlight waits until all that was begun on members was ended: clients have their answers a little before.
func nothingInFlight(t *testing.T, k *kit) {
	t.Helper()
	eventually(t, "nothing is in flight", func() bool { return k.pool("web").Status().InFlight == 0 })
}

const hedgedOften = `
services:
  - name: web
    members: [{name: a, address: %q}, {name: b, address: %q}, {name: c, address: %q}]
    balance: round_robin
    outlier: off
    breaker: off
    hedge: {quantile: 90%%, after: 5ms, max: %d}
    retry: {attempts: 1, budget: %s}
    timeout: {first_byte: 10m}
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`

// many is three members that answer at once until they hang; then each request waits for its turn, or to be cancelled.
type many struct {
	*kit
	hangs       atomic.Bool
	asked, left atomic.Int32

	mu    sync.Mutex
	seen  map[string]int        // requests by member and path
	turns map[string][]chan int // by path, in the order in which members were asked: statuses to answer with
}

func startMany(t *testing.T, max int, budget string) *many {
	m := &many{seen: map[string]int{}, turns: map[string][]chan int{}}
	member := func(name string) string {
		return newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
			if !m.hangs.Load() {
				return
			}
			turn := make(chan int)
			m.mu.Lock()
			m.seen[name+r.URL.Path]++
			m.turns[r.URL.Path] = append(m.turns[r.URL.Path], turn)
			m.mu.Unlock()
			m.asked.Add(1)
			select {
			case status := <-turn:
				if status == 0 { // it dies
					panic(http.ErrAbortHandler)
				}
				w.WriteHeader(status)
				fmt.Fprint(w, r.URL.Path)
			case <-r.Context().Done():
				m.left.Add(1)
			case <-time.After(patience):
			}
		}).address()
	}
	m.kit = start(t, hedgedOften, member("a"), member("b"), member("c"), max, budget)
	for range 150 { // as many as it takes to know what is unusual
		m.ask("GET", "/")
	}
	time.Sleep(350 * time.Millisecond)
	nothingInFlight(t, m.kit)
	eventually(t, "what was hedged meanwhile is forgotten", func() bool { return m.pool("web").Budget().Snapshot().Retries == 0 })
	m.hangs.Store(true)
	return m
}

// begin asks in another goroutine; what comes of it is the status and the body.
func (m *many) begin(path string) <-chan string {
	answered := make(chan string, 1)
	go func() {
		res, body := m.ask("GET", path)
		answered <- fmt.Sprint(res.StatusCode, " ", body)
	}()
	return answered
}

// answer has the n-th member that was asked for the path answer.
func (m *many) answer(path string, n, status int) {
	m.mu.Lock()
	turn := m.turns[path][n]
	m.mu.Unlock()
	turn <- status
}

// TestHedgeAsksSeveral: of members that all hang as many more are asked as max says, each once; when one answers, all others are cancelled.
func TestHedgeAsksSeveral(t *testing.T) {
	const path = "/several"
	for _, tt := range []struct {
		name string
		max  int
		want int32 // are asked
		wins int   // which answers: 0 is the first
	}{
		{"one more", 1, 2, 1},
		{"two more", 2, 3, 2},
		{"the first answers after all", 2, 3, 0},
		{"as many as there are", 5, 3, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := startMany(t, tt.max, "100%")
			answered := m.begin(path)
			eventually(t, "the members are asked", func() bool { return m.asked.Load() == tt.want })
			time.Sleep(50 * time.Millisecond) // in which one too many would be asked
			m.answer(path, tt.wins, 200)
			if got := <-answered; got != "200 "+path {
				t.Errorf("the answer is %q", got)
			}
			nothingInFlight(t, m.kit)
			eventually(t, "those that lost are cancelled", func() bool { return m.left.Load() == tt.want-1 })
			if m.asked.Load() != tt.want {
				t.Errorf("%d members were asked, want %d", m.asked.Load(), tt.want)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			for who, n := range m.seen {
				if n != 1 {
					t.Errorf("%s was asked %d times", who, n)
				}
			}
		})
	}
}

// TestHedgeKeepsToBudget: three further members at once are always allowed, and no more where the budget is nothing.
func TestHedgeKeepsToBudget(t *testing.T) {
	m := startMany(t, 2, "0%")
	one := m.begin("/one")
	eventually(t, "all three are asked", func() bool { return m.asked.Load() == 3 })
	two := m.begin("/two")
	eventually(t, "one more is asked", func() bool { return m.asked.Load() == 5 })
	time.Sleep(50 * time.Millisecond) // in which one too many would be asked
	m.answer("/one", 0, 200)
	m.answer("/two", 0, 200)
	if a, b := <-one, <-two; a != "200 /one" || b != "200 /two" || m.asked.Load() != 5 {
		t.Errorf("%q, %q of %d asked", a, b, m.asked.Load())
	}
	nothingInFlight(t, m.kit)
}

// TestHedgeFailureDoesNotWin: a further member that fails does not take the place of those that still work; where all fail, the client
// gets the first one's answer.
func TestHedgeFailureDoesNotWin(t *testing.T) {
	const path = "/failing"
	type turn struct{ n, status int }
	for _, tt := range []struct {
		turns []turn
		want  string
	}{
		{[]turn{{1, 500}, {0, 200}}, "200"},
		{[]turn{{1, 500}, {2, 203}}, "203"},
		{[]turn{{1, 503}, {2, 500}, {0, 201}}, "201"},
		{[]turn{{2, 503}, {1, 500}, {0, 502}}, "502"},
	} {
		m := startMany(t, 2, "100%") // anew: the budget always has room for two
		answered := m.begin(path)
		eventually(t, "all three are asked", func() bool { return m.asked.Load() == 3 })
		for _, turn := range tt.turns {
			time.Sleep(50 * time.Millisecond) // for the proxy to see the one before
			m.answer(path, turn.n, turn.status)
		}
		if got := <-answered; got != tt.want+" "+path {
			t.Errorf("%v: the client got %q", tt.turns, got)
		}
		nothingInFlight(t, m.kit)
	}
}

// TestHedgeOutlivesTheFirst: where the first member dies, the others are waited for.
func TestHedgeOutlivesTheFirst(t *testing.T) {
	m := startMany(t, 2, "100%")
	answered := m.begin("/")
	eventually(t, "all three are asked", func() bool { return m.asked.Load() == 3 })
	m.answer("/", 0, 0)
	time.Sleep(50 * time.Millisecond)
	m.answer("/", 1, 0)
	time.Sleep(50 * time.Millisecond)
	m.answer("/", 2, 200)
	if got := <-answered; got != "200 /" {
		t.Errorf("the client got %q", got)
	}
	nothingInFlight(t, m.kit)
}

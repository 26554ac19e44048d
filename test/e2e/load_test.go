package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is a number of clients, each with its own kept-alive connection, that ask again and again. They are strict: a
// connection that breaks without having been announced (Connection: close) is an error, even between two requests.
type load struct {
	address string
	method  string
	body    string
	answers atomic.Int64
	stood   atomic.Int64 // the longest that a client stood still between its steps, as it does where the machine stalls
	stop    chan struct{}
	wg      sync.WaitGroup

	mu       sync.Mutex
	problems []string
	slow     []time.Duration // answers that took over slowFrom
	by       map[string]int  // answers by X-Member
	closed   int             // announced closings
}

const slowFrom = 200 * time.Millisecond

// startLoad begins to ask with the given number of connections, pausing a moment between requests.
func startLoad(t *testing.T, address string, connections int) *load {
	t.Helper()
	l := &load{address: address, method: "GET", stop: make(chan struct{}), by: map[string]int{}}
	for i := range connections {
		l.wg.Go(func() { l.client(i) })
	}
	t.Cleanup(func() { l.end() })
	return l
}

// end stops asking and waits for the last answers.
func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.wg.Wait()
}

// check ends the load and fails the test if any client saw an error.
func (l *load) check(t *testing.T) {
	t.Helper()
	l.end()
	for i, p := range l.problems {
		if i == 5 {
			t.Errorf("and %d more", len(l.problems)-i)
			break
		}
		t.Errorf("a client saw: %s", p)
	}
	if l.answers.Load() == 0 {
		t.Error("not one request was answered")
	}
	t.Logf("%d answers, %d errors, %d took over %s, by member %v", l.answers.Load(), len(l.problems), len(l.slow), slowFrom, l.by)
}

func (l *load) client(id int) {
	var conn net.Conn
	var r *bufio.Reader
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		default:
		}
		if conn == nil {
			var err error
			if conn, err = net.DialTimeout("tcp", l.address, patience); err != nil {
				l.problem("connect: %v", err)
				time.Sleep(50 * time.Millisecond)
				continue
			}
			r = bufio.NewReader(conn)
		}
		keep, err := l.ask(conn, r, fmt.Sprintf("/c%d/n%d", id, n))
		if err != nil {
			l.problem("%v", err)
		}
		if !keep {
			conn.Close()
			conn = nil
		}
		rested := time.Now()
		time.Sleep(2 * time.Millisecond)
		l.stands(time.Since(rested))
	}
}

func (l *load) stands(d time.Duration) {
	for {
		if was := l.stood.Load(); int64(d) <= was || l.stood.CompareAndSwap(was, int64(d)) {
			return
		}
	}
}

// ask sends one request and reads its answer; keep says whether the connection may be used again.
func (l *load) ask(conn net.Conn, r *bufio.Reader, path string) (keep bool, err error) {
	began := time.Now()
	conn.SetDeadline(began.Add(patience))
	if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: e2e\r\nContent-Length: %d\r\n\r\n%s", l.method, path, len(l.body), l.body); err != nil {
		return false, fmt.Errorf("send: %w", err)
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return false, fmt.Errorf("no answer to %s after %s: %w", path, time.Since(began).Round(time.Millisecond), err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, fmt.Errorf("the answer broke off: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return !resp.Close, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	l.answers.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.by[resp.Header.Get("X-Member")]++
	took := time.Since(began)
	l.stands(took)
	if took > slowFrom {
		l.slow = append(l.slow, took)
	}
	if resp.Close {
		l.closed++
	}
	return !resp.Close, nil
}

func (l *load) problem(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problems = append(l.problems, fmt.Sprintf(format, args...))
}

// share counts the answers of a member up to now.
func (l *load) share(member string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.by[member]
}

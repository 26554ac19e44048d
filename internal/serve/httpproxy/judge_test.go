package httpproxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

const twoMembers = `
services:
  - name: web
    members: [{address: %q}, {address: %q}]
    balance: {policy: round_robin}
    retry: {attempts: 3, initial: 1ms, max: 10ms, budget: 100%%}
    timeout: {first_byte: %[3]s}
    hold: 0s
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`

// oncePer answers the first n requests of all its connections with script, and the rest well.
func failing(n int64, script func(w *wire)) func(b *backend, w *wire) {
	var failed atomic.Int64
	return func(b *backend, w *wire) {
		for {
			head, ok := b.request(w)
			if !ok {
				return
			}
			if failed.Add(1) <= n {
				script(w)
				return
			}
			if _, err := readBody(w, head); err != nil {
				return
			}
			if _, err := io.WriteString(w.Conn, okAnswer); err != nil {
				return
			}
		}
	}
}

func resetWire(w *wire) {
	_ = w.Conn.(*net.TCPConn).SetLinger(0)
	_ = w.Conn.Close()
}

func deadAddress(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// TestRetries shows promise 4: what is repeated, and what never is. Members count the heads they see.
func TestRetries(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	const post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
	const put = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
	unavailable := func(w *wire) { _, _ = io.WriteString(w.Conn, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n") }
	hang := func(w *wire) { _, _ = w.r.ReadByte(); _, _ = io.Copy(io.Discard, w.r) }
	cases := []struct {
		name, request string
		script        func(w *wire) // of both members, for the first request they see together
		status        string
		seen          int64 // heads at both members
	}{
		{"GET after reset", get, resetWire, "200", 2},
		{"PUT after reset", put, resetWire, "200", 2},
		{"POST after reset", post, resetWire, "502", 1},
		{"GET after close", get, func(w *wire) {}, "200", 2},
		{"POST after close", post, func(w *wire) {}, "502", 1},
		{"GET after 503", get, unavailable, "200", 2},
		{"POST after 503", post, unavailable, "503", 1},
		{"GET after timeout", get, hang, "200", 2},
		{"POST after timeout", post, hang, "504", 1},
		{"GET after half a head", get, func(w *wire) { _, _ = io.WriteString(w.Conn, "HTTP/1.1 200 OK\r\nConte") }, "200", 2},
		{"POST after half a head", post, func(w *wire) { _, _ = io.WriteString(w.Conn, "HTTP/1.1 200 OK\r\nConte") }, "502", 1},
		{"GET after nonsense", get, func(w *wire) { _, _ = io.WriteString(w.Conn, "SSH-2.0-OpenSSH\r\n\r\n") }, "502", 1},
		{"GET after 500", get, func(w *wire) { _, _ = io.WriteString(w.Conn, "HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n") }, "500", 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			script := failing(1, c.script)
			a, b := newBackend(t, script), newBackend(t, script)
			firstByte := "1m"
			if strings.Contains(c.name, "timeout") {
				firstByte = "500ms"
			}
			k := start(t, twoMembers, a.addr, b.addr, firstByte)
			head := k.dial().send(c.request).head()
			if got := head[9:12]; got != c.status {
				t.Errorf("status %s, want %s", got, c.status)
			}
			if c.name == "GET after timeout" { // on a machine that stalls a good try may be too late as well
				eventually(t, "both members are tried", func() bool { return a.heads.Load() > 0 && b.heads.Load() > 0 })
				return
			}
			eventually(t, "the members saw what was sent", func() bool { return a.heads.Load()+b.heads.Load() >= c.seen })
			if n := a.heads.Load() + b.heads.Load(); n != c.seen {
				t.Errorf("the members saw %d requests, want %d", n, c.seen)
			}
			if c.seen == 2 && (a.heads.Load() != 1 || b.heads.Load() != 1) {
				t.Errorf("%d and %d requests: the second try should go to the other member", a.heads.Load(), b.heads.Load())
			}
		})
	}
}

func TestConnectFailureIsRetriedForAnyMethod(t *testing.T) {
	b := newBackend(t, echo)
	k := start(t, twoMembers, deadAddress(t), b.addr, "1m")
	for range 20 {
		k.dial().send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").
			expect("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
	}
	if n := b.heads.Load(); n != 20 {
		t.Errorf("the member saw %d requests, want 20", n)
	}
}

func TestUnreachableServiceIs502(t *testing.T) {
	k := start(t, twoMembers, deadAddress(t), deadAddress(t), "1m")
	w := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	head := w.head()
	if !strings.HasPrefix(head, "HTTP/1.1 502 ") || !strings.Contains(head, "X-Request-Id: ") {
		t.Errorf("got %q", head)
	}
	w.expect("502 Bad Gateway: service web could not be reached (request ")
	w = k.dial().send("GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n")
	w.head()
	w.expect(`{"status":50`)
}

// TestKeptConnectionThatWasClosed: the member closes kept connections as it likes; no client notices.
func TestKeptConnectionThatWasClosed(t *testing.T) {
	for _, request := range []string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"} {
		b := newBackend(t, func(b *backend, w *wire) { // answers once, says nothing of closing, and closes
			if _, ok := b.request(w); ok {
				_, _ = io.WriteString(w.Conn, okAnswer)
			}
		})
		k := start(t, oneService, b.addr)
		w := k.dial()
		for range 50 {
			w.send(request).expect(okAnswer)
			eventually(t, "the member has closed", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.open) == 0 })
		}
		if n := b.heads.Load(); n != 50 {
			t.Errorf("the member saw %d requests, want 50", n)
		}
	}
}

// TestLargeBodyIsSentOnce: what is too large to be kept is not retried; what fits is.
func TestLargeBodyIsSentOnce(t *testing.T) {
	cases := []struct {
		size   int
		status string
		seen   int64
	}{{1000, "200", 2}, {30 << 10, "200", 2}, {300 << 10, "502", 1}}
	for _, c := range cases {
		t.Run(fmt.Sprint(c.size), func(t *testing.T) {
			script := failing(1, func(w *wire) {
				_, _ = io.ReadFull(w.r, make([]byte, c.size))
				resetWire(w)
			})
			a, b := newBackend(t, script), newBackend(t, script)
			k := start(t, twoMembers, a.addr, b.addr, "1m")
			w := k.dial()
			w.send(fmt.Sprintf("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", c.size))
			w.send(strings.Repeat("x", c.size))
			if head := w.head(); head[9:12] != c.status {
				t.Errorf("got %q, want %s", head, c.status)
			}
			if n := a.heads.Load() + b.heads.Load(); n != c.seen {
				t.Errorf("the members saw %d requests, want %d", n, c.seen)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	slow := "HTTP/1.1 503 Busy\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n"
	b := newBackend(t, answering(slow))
	k := start(t, strings.Replace(twoMembers, ", {address: %q}", "", 1), b.addr, "", "1m")
	head := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head()
	if !strings.Contains(head, "503") || !strings.Contains(head, "Retry-After: 60") {
		t.Errorf("got %q, want the member's own answer", head)
	}
	if n := b.heads.Load(); n != 1 {
		t.Errorf("the only member was asked %d times though it said to come back in a minute", n)
	}
}

// TestAnswerThatIsNone: what turns out to be wrong before anything of the answer has gone to the client is a 502, and its connection goes on.
func TestAnswerThatIsNone(t *testing.T) {
	const chunked = "HTTP/1.1 200 OK\r\nX-Member: its\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, answer := range map[string]string{
		"forbidden trailer":    chunked + "0\r\nContent-Length: 5\r\n\r\n",
		"trailer after a body": chunked + "2\r\nok\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
		"bad second chunk":     chunked + "2\r\nok\r\nzz\r\n",
		"bad first chunk":      chunked + "zz\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, func(b *backend, w *wire) {
				b.request(w)
				_, _ = io.WriteString(w.Conn, answer)
			})
			k := start(t, http2Service, "http1", b.addr)
			for _, c := range []*http.Client{k.http1Client(), k.http2Client()} {
				res, err := c.Get(k.url("/"))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if res.StatusCode != 502 || res.Header.Get("X-Member") != "" || !strings.Contains(string(body), "service web gave an answer that is not valid HTTP") || err != nil {
					t.Errorf("%s: %d %v %q, %v", res.Proto, res.StatusCode, res.Header, body, err)
				}
			}
			nothingInFlight(t, k)
			if n := b.heads.Load(); n != 2 {
				t.Errorf("%d requests: such an answer must not be retried", n)
			}
		})
	}
}

func TestAnswerThatBreaksOff(t *testing.T) {
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"
	for name, answer := range map[string][2]string{ // the second part is sent when the client has the first
		"length":    {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart", ""},
		"chunked":   {chunked, ""},
		"bad chunk": {chunked, "zz\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan struct{})
			b := newBackend(t, func(b *backend, w *wire) {
				b.request(w)
				_, _ = io.WriteString(w.Conn, answer[0])
				<-seen
				_, _ = io.WriteString(w.Conn, answer[1])
			})
			k := start(t, oneService, b.addr)
			for _, version := range []string{"1.1", "1.0"} {
				w := k.dial().send("GET / HTTP/" + version + "\r\nHost: a\r\n\r\n")
				var got []byte
				for !bytes.Contains(got, []byte("part")) {
					c, err := w.r.ReadByte()
					if err != nil {
						t.Fatalf("%v after %q", err, got)
					}
					got = append(got, c)
				}
				seen <- struct{}{}
				rest, err := io.ReadAll(w.r)
				got = append(got, rest...)
				if err == nil && version == "1.0" && name != "length" {
					t.Errorf("the client takes %q for the whole answer", got)
				}
				if strings.HasSuffix(string(got), "0\r\n\r\n") {
					t.Errorf("the answer was ended as if it were whole: %q", got)
				}
			}
			if n := b.heads.Load(); n != 2 {
				t.Errorf("%d requests: an answer that began must not be retried", n)
			}
		})
	}
}

package httpproxy

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestExpectContinue(t *testing.T) {
	b := newBackend(t, func(b *backend, w *wire) {
		for {
			head, ok := b.request(w)
			if !ok {
				return
			}
			if strings.Contains(head, "/no") {
				_, _ = io.WriteString(w.Conn, "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
				continue
			}
			_, _ = io.WriteString(w.Conn, "HTTP/1.1 100 Continue\r\n\r\n")
			body, err := readBody(w, head)
			if err != nil {
				return
			}
			fmt.Fprintf(w.Conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	})
	k := start(t, oneService, b.addr)
	w := k.dial()
	for range 2 {
		w.send("POST /yes HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		w.expect("HTTP/1.1 100 Continue\r\n\r\n")
		w.send("hello").expect("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
	}
	w.send("POST /no HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	if got := w.rest(); got != "HTTP/1.1 417 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" {
		t.Errorf("got %q", got)
	}
}

// TestEarlyAnswer: the member answers before the body is sent; the client gets the answer, not a broken connection.
func TestEarlyAnswer(t *testing.T) {
	b := newBackend(t, func(b *backend, w *wire) {
		if _, ok := b.request(w); ok {
			_, _ = io.WriteString(w.Conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
			_ = w.Conn.(*net.TCPConn).CloseWrite()
			_, _ = io.CopyN(io.Discard, w.r, 1<<20)
		}
	})
	k := start(t, oneService, b.addr)
	w := k.dial()
	w.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
	w.send(strings.Repeat("x", 100<<10))
	if got := w.rest(); got != "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig" {
		t.Errorf("got %q", got)
	}
	if n := b.heads.Load(); n != 1 {
		t.Errorf("the member saw %d requests", n)
	}
}

// TestBothWaysAtOnce: the answer streams while the request does.
func TestBothWaysAtOnce(t *testing.T) {
	b := newBackend(t, func(b *backend, w *wire) {
		if _, ok := b.request(w); !ok {
			return
		}
		_, _ = io.WriteString(w.Conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for { // every chunk goes back as it came
			line, err := w.r.ReadString('\n')
			if err != nil {
				return
			}
			data, err := w.r.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(w.Conn, line+data)
			if line == "0\r\n" {
				return
			}
		}
	})
	k := start(t, oneService, b.addr)
	w := k.dial().send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	w.head()
	for _, word := range []string{"one", "two", "six"} {
		w.send("3\r\n" + word + "\r\n").expect("3\r\n" + word + "\r\n")
	}
	w.send("0\r\n\r\n").expect("0\r\n\r\n")
}

func TestRefusals(t *testing.T) {
	const strict = `
services:
  - name: web
    members: [{address: %q}]
listeners:
  - listen: 127.0.0.1:0
    limits: {head: 1KiB, headers: 10, body: 100B, requests: 3}
    timeout: {head: 1m, body_idle: 1m}
    routes: [{match: {path: /}, service: web}]
`
	hasty := strings.Replace(strict, "head: 1m, body_idle: 1m", "head: 100ms, body_idle: 100ms", 1)
	cases := []struct{ name, request, status string }{
		{"bare LF", "GET / HTTP/1.1\nHost: a\n\n", "400"},
		{"length and chunked", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400"},
		{"no host", "GET / HTTP/1.1\r\n\r\n", "400"},
		{"space before colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400"},
		{"large head", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 2000) + "\r\n\r\n", "431"},
		{"many headers", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 20) + "\r\n", "431"},
		{"large body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", "413"},
		{"large chunked body", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n" + strings.Repeat("x", 80) +
			"\r\n50\r\n" + strings.Repeat("x", 80) + "\r\n0\r\n\r\n", "413"},
		{"bad chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
		{"slow head", "GET / HTTP/1.1\r\nHost:", "408"},
		{"slow body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", "408"},
		{"connect", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nConnection: close\r\n\r\n", "405"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := newBackend(t, echo)
			yaml := strict
			if c.status == "408" {
				yaml = hasty
			}
			k := start(t, yaml, b.addr)
			got := k.dial().send(c.request).rest()
			if !strings.HasPrefix(got, "HTTP/1.1 "+c.status+" ") {
				t.Fatalf("got %q, want %s", got, c.status)
			}
			if !strings.Contains(got, "Connection: close\r\n") {
				t.Errorf("the client is not told that the connection ends: %q", got)
			}
			if !strings.Contains(got, "(request ") {
				t.Errorf("no request id in %q", got)
			}
		})
	}
	t.Run("requests per connection", func(t *testing.T) {
		b := newBackend(t, echo)
		k := start(t, strict, b.addr)
		got := k.dial().send(strings.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 5)).rest()
		if n := strings.Count(got, "200 OK"); n != 3 || !strings.HasSuffix(got, "Connection: close\r\n\r\n") {
			t.Errorf("%d answers, want 3 and then the end: %q", n, got)
		}
	})
	t.Run("idle", func(t *testing.T) {
		b := newBackend(t, echo)
		k := start(t, strings.Replace(strict, "head: 1m", "head: 1m, idle: 300ms", 1), b.addr)
		began := time.Now()
		w := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		w.head()
		if rest := w.rest(); rest != "" || time.Since(began) < 250*time.Millisecond {
			t.Errorf("%q after %v", rest, time.Since(began))
		}
	})
}

// TestSlowClientsDoNotDelayOthers: many clients that send a byte now and then, and one that is in a hurry.
func TestSlowClientsDoNotDelayOthers(t *testing.T) {
	b := newBackend(t, echo)
	k := start(t, strings.Replace(oneService, "routes:", "timeout: {head: 10m}\n    routes:", 1), b.addr)
	for range 200 {
		k.dial().send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
	}
	w := k.dial()
	for range 100 {
		w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
}

func TestUpgrade(t *testing.T) {
	hold := make(chan struct{})
	b := newBackend(t, func(b *backend, w *wire) {
		head, ok := b.request(w)
		if !ok {
			return
		}
		if !strings.Contains(head, "Connection: Upgrade\r\nUpgrade: websocket\r\n") {
			_, _ = io.WriteString(w.Conn, "HTTP/1.1 400 no upgrade\r\nContent-Length: 0\r\n\r\n")
			return
		}
		_, _ = io.WriteString(w.Conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-A: b\r\n\r\nhello ")
		_, _ = io.Copy(w.Conn, w.r)
		close(hold)
	})
	k := start(t, oneService, b.addr)
	w := k.dial().send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nearly ")
	w.expect("HTTP/1.1 101 Switching Protocols\r\nX-A: b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello early ")
	for range 3 {
		w.send("ping").expect("ping")
	}
	if err := w.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := w.rest(); got != "" {
		t.Errorf("got %q after the end", got)
	}
	<-hold
}

func TestUpgradeIsCutWithItsMember(t *testing.T) {
	b := newBackend(t, func(b *backend, w *wire) {
		b.request(w)
		_, _ = io.WriteString(w.Conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		_, _ = io.Copy(io.Discard, w.r)
	})
	k := start(t, strings.Replace(oneService, "members:", "drain_timeout: 50ms\n    members:", 1), b.addr)
	w := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	w.head()
	if err := k.pool("web").Drain(b.addr, true); err != nil {
		t.Fatal(err)
	}
	if _, err := w.r.ReadByte(); err == nil {
		t.Error("the session goes on")
	}
}

func TestUnaskedUpgradeIsRefused(t *testing.T) {
	b := newBackend(t, answering("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"))
	k := start(t, oneService, b.addr)
	if head := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head(); !strings.HasPrefix(head, "HTTP/1.1 502 ") {
		t.Errorf("got %q", head)
	}
}

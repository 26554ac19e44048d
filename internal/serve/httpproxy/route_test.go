package httpproxy

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// mirrored answers with the head it saw.
func headEcho(b *backend, w *wire) {
	for {
		head, ok := b.request(w)
		if !ok {
			return
		}
		if _, err := readBody(w, head); err != nil {
			return
		}
		fmt.Fprintf(w.Conn, "HTTP/1.1 200 OK\r\nX-Kept: 1\r\nX-Gone: 1\r\nContent-Length: %d\r\n\r\n%s", len(head), head)
	}
}

func TestRoutes(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
listeners:
  - listen: 127.0.0.1:0
    routes:
      - {match: {path: /old}, redirect: {scheme: https, path: /new}}
      - {match: {path: /fixed}, respond: {status: 203, body: '{"a":1}', headers: {X-A: b}}}
      - match: {path: /api}
        service: web
        rewrite: {strip: /api, prefix: /v2, host: inner.example.org}
        request_headers: {remove: [X-Out, X-Forwarded-Host], set: {X-Set: "new"}, add: {X-Add: "1"}}
        response_headers: {remove: [X-Gone], add: {X-Via: backstay}}
      - {match: {host: www.example.org}, service: web}
`
	b := newBackend(t, headEcho)
	k := start(t, yaml, b.addr)
	cases := []struct {
		name, request string
		want, without []string
	}{
		{"redirect", "GET /old?x=1 HTTP/1.1\r\nHost: a:8080\r\n\r\n",
			[]string{"HTTP/1.1 308 ", "Location: https://a/new?x=1\r\n", "Content-Length: 0\r\n"}, nil},
		{"respond", "GET /fixed HTTP/1.1\r\nHost: a\r\n\r\n",
			[]string{"HTTP/1.1 203 ", "Content-Type: application/json\r\n", "X-A: b\r\n", `{"a":1}`}, nil},
		{"respond to HEAD", "HEAD /fixed HTTP/1.1\r\nHost: a\r\n\r\n", []string{"Content-Length: 7\r\n"}, []string{`{"a":1}`}},
		{"rewrite and edits", "GET /api/x?q HTTP/1.1\r\nHost: a\r\nX-Out: 1\r\nX-Set: old\r\nX-Stays: 1\r\n\r\n",
			[]string{"GET /v2/x?q HTTP/1.1\r\nHost: inner.example.org\r\n", "X-Set: new\r\n", "X-Add: 1\r\n", "X-Stays: 1\r\n",
				"X-Via: backstay\r\n", "X-Kept: 1"}, []string{"X-Out", "X-Set: old", "X-Gone", "X-Forwarded-Host"}},
		{"no route", "GET / HTTP/1.1\r\nHost: other\r\n\r\n", []string{"HTTP/1.1 404 ", "no route matches"}, nil},
		{"host", "GET / HTTP/1.1\r\nHost: WWW.example.org:80\r\n\r\n", []string{"200 OK", "Host: WWW.example.org:80\r\n"}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := k.dial().send(strings.Replace(c.request, "\r\nHost", "\r\nConnection: close\r\nHost", 1)).rest()
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("%q is missing in\n%s", want, got)
				}
			}
			for _, not := range c.without {
				if strings.Contains(got, not) {
					t.Errorf("%q is in\n%s", not, got)
				}
			}
		})
	}
}

func TestSplitAndSticky(t *testing.T) {
	const yaml = `
services:
  - name: old
    members: [{address: %q}]
  - name: new
    members: [{address: %q}]
  - name: sticky
    members: [{address: %q}, {address: %q}]
    balance: {policy: round_robin, sticky: who}
listeners:
  - listen: 127.0.0.1:0
    routes:
      - {match: {path: /sticky}, service: sticky}
      - split: [{service: old, weight: 3}, {service: new, weight: 1}]
`
	a, b := newBackend(t, echo), newBackend(t, echo)
	k := start(t, yaml, a.addr, b.addr, a.addr, b.addr)
	w := k.dial()
	for range 400 {
		w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head()
	}
	if n := b.heads.Load(); n < 50 || n > 150 {
		t.Errorf("the canary got %d of 400 requests, want about 100", n)
	}
	head := w.send("GET /sticky HTTP/1.1\r\nHost: a\r\n\r\n").head()
	_, rest, ok := strings.Cut(head, "Set-Cookie: who=")
	if !ok {
		t.Fatalf("no cookie in %q", head)
	}
	key, _, _ := strings.Cut(rest, ";")
	before := [2]int64{a.heads.Load(), b.heads.Load()}
	for range 10 {
		head := w.send("GET /sticky HTTP/1.1\r\nHost: a\r\nCookie: x=y; who=" + key + "\r\n\r\n").head()
		if strings.Contains(head, "Set-Cookie") {
			t.Errorf("the cookie is set again: %q", head)
		}
	}
	if x, y := a.heads.Load()-before[0], b.heads.Load()-before[1]; x*y != 0 || x+y != 10 {
		t.Errorf("the client was sent to both members: %d and %d", x, y)
	}
}

func TestMirror(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
  - name: shadow
    members: [{address: %q}]
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web, mirror: shadow}]
`
	copies := make(chan string, 10)
	a := newBackend(t, echo)
	b := newBackend(t, func(b *backend, w *wire) {
		for {
			head, ok := b.request(w)
			if !ok {
				return
			}
			body, _ := readBody(w, head)
			line, _, _ := strings.Cut(head, "\r\n")
			copies <- line + " " + string(body)
			_, _ = io.WriteString(w.Conn, "HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n")
		}
	})
	k := start(t, yaml, a.addr, b.addr)
	w := k.dial()
	w.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").head()
	w.send("POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").expect("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
	w.send("POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").expect("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
	big := strings.Repeat("x", 100<<10)
	w.send(fmt.Sprintf("POST /4 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(big), big)).head()
	got := map[string]bool{}
	for range 3 {
		select {
		case c := <-copies:
			got[c] = true
		case <-time.After(patience):
			t.Fatalf("only %v were copied", got)
		}
	}
	for _, want := range []string{"GET /1 HTTP/1.1 ", "POST /2 HTTP/1.1 hello", "POST /3 HTTP/1.1 abc"} {
		if !got[want] {
			t.Errorf("%q is not among %v", want, got)
		}
	}
}

// TestMirrorThatHangs: a second service that never answers delays nobody.
func TestMirrorThatHangs(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
  - name: shadow
    members: [{address: %q}]
    timeout: {first_byte: 10m}
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web, mirror: shadow}]
`
	a := newBackend(t, echo)
	b := newBackend(t, func(_ *backend, w *wire) { _, _ = io.Copy(io.Discard, w.r) })
	k := start(t, yaml, a.addr, b.addr)
	w := k.dial()
	for range 500 {
		w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head()
	}
	b.kill()
}

package httpproxy

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestAnswers(t *testing.T) {
	cases := []struct {
		name, member, request, want string
		closes                      bool
	}{
		{"length", okAnswer, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", okAnswer, false},
		{"chunked",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1;x=y\r\n!\r\n0\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nok!\r\n0\r\n\r\n", false},
		{"trailers",
			"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
			"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n", false},
		{"chunked to HTTP/1.0",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
			"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
			"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", true},
		{"length to HTTP/1.0 kept", okAnswer,
			"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok", false},
		{"length to HTTP/1.0", okAnswer, "GET / HTTP/1.0\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", true},
		{"client closes", okAnswer, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", true},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", false},
		{"HEAD chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
			"HTTP/1.1 200 OK\r\n\r\n", false},
		{"204", "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
			"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", false},
		{"304", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 5\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
			"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 5\r\n\r\n", false},
		{"interim 103", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + okAnswer, "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
			"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + okAnswer, false},
		{"interim 103 to HTTP/1.0", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + okAnswer,
			"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok", false},
		{"unasked 100", "HTTP/1.1 100 Continue\r\n\r\n" + okAnswer, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", okAnswer, false},
		{"hop by hop",
			"HTTP/1.1 200 OK\r\nConnection: x-secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\nX-Kept: 2\r\nContent-Length: 0\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
			"HTTP/1.1 200 OK\r\nX-Kept: 2\r\nContent-Length: 0\r\n\r\n", false},
		{"error of the member's own", "HTTP/1.1 500 Oh No\r\nContent-Length: 2\r\n\r\nno", "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
			"HTTP/1.1 500 Oh No\r\nContent-Length: 2\r\n\r\nno", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := newBackend(t, answering(c.member))
			k := start(t, oneService, b.addr)
			w := k.dial()
			for range 2 { // the second time over the kept connection to the member
				w.send(c.request).expect(c.want)
				if c.closes {
					if rest := w.rest(); rest != "" {
						t.Errorf("after the answer came %q", rest)
					}
					w = k.dial()
				}
			}
			if n := b.conns.Load(); n != 1 {
				t.Errorf("%d connections to the member, want 1 kept", n)
			}
		})
	}
}

func TestAnswerUntilClose(t *testing.T) {
	b := newBackend(t, func(b *backend, w *wire) {
		b.request(w)
		_, _ = io.WriteString(w.Conn, "HTTP/1.0 200 OK\r\n\r\nall of it")
	})
	k := start(t, oneService, b.addr)
	w := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	w.expect("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nall of it\r\n0\r\n\r\n")
	w.send("GET / HTTP/1.0\r\n\r\n").expect("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it")
}

func TestWhatMembersSee(t *testing.T) {
	const id = "X-Request-Id: "
	cases := []struct {
		name, extra, request string
		want, without        []string
	}{
		{"plain", "", "GET /a?b=c HTTP/1.1\r\nHost: Ex.org\r\nUser-Agent: u\r\n\r\n",
			[]string{"GET /a?b=c HTTP/1.1\r\nHost: Ex.org\r\nUser-Agent: u\r\n", id, "X-Forwarded-For: 127.0.0.1\r\n",
				"X-Forwarded-Proto: http\r\n", "X-Forwarded-Host: Ex.org\r\n"}, []string{"Connection"}},
		{"lies are replaced", "", "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=9\r\n" +
			"X-Forwarded-Prefix: /evil\r\nX-Request-Id: mine\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n",
			[]string{"X-Forwarded-For: 127.0.0.1\r\n"}, []string{"1.2.3.4", "6.6.6.6", "for=9", "evil", "mine", "traceparent"}},
		{"trusted proxy in front", "    forwarded: {trust: [127.0.0.0/8], headers: both}\n",
			"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nForwarded: for=1.2.3.4\r\n" +
				"X-Request-Id: mine\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\n\r\n",
			[]string{"X-Forwarded-For: 1.2.3.4, 127.0.0.1\r\n", "X-Forwarded-Proto: https\r\n", "X-Request-Id: mine\r\n",
				"Forwarded: for=1.2.3.4, for=127.0.0.1;host=\"a\";proto=http\r\n",
				"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n", "tracestate: a=b\r\n"},
			[]string{"X-Forwarded-Proto: http\r\n"}},
		{"forwarded", "    forwarded: {headers: forwarded}\n", "GET / HTTP/1.1\r\nHost: a:80\r\n\r\n",
			[]string{"Forwarded: for=127.0.0.1;host=\"a:80\";proto=http\r\n"}, []string{"X-Forwarded"}},
		{"none", "    forwarded: {headers: none}\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", []string{id}, []string{"orwarded"}},
		{"hop by hop", "", "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-h, keep-alive\r\nX-H: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\n\r\n",
			[]string{"GET / HTTP/1.1\r\nHost: a\r\n"}, []string{"X-H", "Keep-Alive", "Proxy-Connection", "TE:", "Connection"}},
		{"absolute target", "", "GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", []string{"GET /x HTTP/1.1\r\nHost: a\r\n"}, nil},
		{"HTTP/1.0", "", "GET /x HTTP/1.0\r\nHost: a\r\n\r\n", []string{"GET /x HTTP/1.1\r\nHost: a\r\n"}, nil},
		{"TE trailers", "", "GET /x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
			[]string{"Connection: TE\r\nTE: trailers\r\n"}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			seen := make(chan string, 4)
			b := newBackend(t, func(b *backend, w *wire) {
				for {
					head, ok := b.request(w)
					if !ok {
						return
					}
					seen <- head
					_, _ = io.WriteString(w.Conn, okAnswer)
				}
			})
			k := start(t, oneService+c.extra, b.addr)
			k.dial().send(c.request).head()
			head := <-seen
			for _, want := range c.want {
				if !strings.Contains(head, want) {
					t.Errorf("%q is missing in\n%s", want, head)
				}
			}
			for _, not := range c.without {
				if strings.Contains(head, not) {
					t.Errorf("%q is in\n%s", not, head)
				}
			}
		})
	}
}

// echo answers with the request's body, as it came: by length or in chunks.
func echo(b *backend, w *wire) {
	for {
		head, ok := b.request(w)
		if !ok {
			return
		}
		body, err := readBody(w, head)
		if err != nil {
			return
		}
		fmt.Fprintf(w.Conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
}

func readBody(w *wire, head string) ([]byte, error) {
	if strings.Contains(head, "Transfer-Encoding: chunked") {
		var body []byte
		for {
			line, err := w.r.ReadString('\n')
			if err != nil {
				return nil, err
			}
			var n int
			if _, err := fmt.Sscanf(line, "%x", &n); err != nil {
				return nil, err
			}
			p := make([]byte, n+2)
			if _, err := io.ReadFull(w.r, p); err != nil {
				return nil, err
			}
			if n == 0 {
				return body, nil
			}
			body = append(body, p[:n]...)
		}
	}
	n := 0
	if i := strings.Index(head, "Content-Length: "); i >= 0 {
		fmt.Sscanf(head[i:], "Content-Length: %d", &n)
	}
	p := make([]byte, n)
	_, err := io.ReadFull(w.r, p)
	return p, err
}

func TestBodies(t *testing.T) {
	b := newBackend(t, echo)
	k := start(t, oneService, b.addr)
	for _, size := range []int{0, 1, 100, 8 << 10, 16 << 10, 40 << 10, 300 << 10, 5 << 20} {
		body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		want := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, body)
		t.Run(fmt.Sprint("length ", size), func(t *testing.T) {
			w := k.dial()
			for range 2 {
				w.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", size, body)).expect(want)
			}
		})
		t.Run(fmt.Sprint("chunked ", size), func(t *testing.T) {
			w := k.dial()
			for range 2 {
				w.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
				for rest := body; len(rest) > 0; {
					n := min(len(rest), 5000)
					w.send(fmt.Sprintf("%x\r\n%s\r\n", n, rest[:n]))
					rest = rest[n:]
				}
				w.send("0\r\n\r\n").expect(want)
			}
		})
		t.Run(fmt.Sprint("head first ", size), func(t *testing.T) {
			w := k.dial()
			w.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size))
			w.send(body).expect(want)
			w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		})
	}
}

func TestPipelining(t *testing.T) {
	b := newBackend(t, func(b *backend, w *wire) {
		for {
			head, ok := b.request(w)
			if !ok {
				return
			}
			path, _, _ := strings.Cut(strings.TrimPrefix(head, "GET "), " ")
			fmt.Fprintf(w.Conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(path), path)
		}
	})
	k := start(t, oneService, b.addr)
	w := k.dial()
	var all, want strings.Builder
	for i := range 2000 { // more than a buffer holds, written at once
		fmt.Fprintf(&all, "GET /%05d HTTP/1.1\r\nHost: a\r\nX-Fill: %s\r\n\r\n", i, strings.Repeat("f", i%100))
		fmt.Fprintf(&want, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n/%05d", i)
	}
	go w.send(all.String())
	w.expect(want.String())
}

func TestHalfClosedClientHearsItsAnswer(t *testing.T) {
	b := newBackend(t, func(b *backend, w *wire) {
		b.request(w)
		time.Sleep(20 * time.Millisecond) // the client's end of stream comes first
		_, _ = io.WriteString(w.Conn, okAnswer)
	})
	k := start(t, oneService, b.addr)
	w := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if err := w.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := w.rest(); got != okAnswer {
		t.Errorf("got %q", got)
	}
}

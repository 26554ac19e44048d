package httpproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
)

// http2Member is a member that speaks HTTP/2 with prior knowledge.
func http2Member(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	return memberWith(t, handler, true)
}

func http1Member(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	return memberWith(t, handler, false)
}

func memberWith(t *testing.T, handler http.HandlerFunc, two bool) string {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(!two)
	s.Config.Protocols.SetUnencryptedHTTP2(two)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// http2Client speaks HTTP/2 with prior knowledge to the kit.
func (k *kit) http2Client() *http.Client {
	tr := &http.Transport{DisableCompression: true, Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	k.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

func (k *kit) http1Client() *http.Client {
	tr := &http.Transport{DisableCompression: true}
	k.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

const http2Service = `
services:
  - name: web
    protocol: %s
    members: [{address: %q}]
    retry: {attempts: 1}
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`

// every runs a test with each protocol on each side.
func every(t *testing.T, handler http.HandlerFunc, test func(t *testing.T, k *kit, c *http.Client)) {
	for _, member := range []string{"http1", "http2"} {
		for _, client := range []string{"http1", "http2"} {
			t.Run(client+" to "+member, func(t *testing.T) {
				k := start(t, http2Service, member, memberWith(t, handler, member == "http2"))
				c := k.http2Client()
				if client == "http1" {
					c = k.http1Client()
				}
				test(t, k, c)
			})
		}
	}
}

func (k *kit) url(path string) string { return "http://" + k.addr + path }

func TestProtocolsMeet(t *testing.T) {
	every(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Got", fmt.Sprintf("%s %s %s %s %d", r.Method, r.RequestURI, r.Host, r.Header.Get("X-Forwarded-For"), r.ContentLength))
		w.Header().Set("X-Agent", r.UserAgent())
		w.Header()["X-Two"] = []string{"a", "b"}
		w.WriteHeader(http.StatusMultiStatus)
		_, _ = w.Write(body)
	}, func(t *testing.T, k *kit, c *http.Client) {
		long := strings.Repeat("0123456789", 100_000)
		for _, body := range []string{"", "hello", long} {
			req, _ := http.NewRequest(http.MethodPut, k.url("//a%20b/../c?x=%zz&y"), strings.NewReader(body))
			req.Host = "shop.example.org"
			req.Header.Set("User-Agent", "tester")
			res, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if res.StatusCode != http.StatusMultiStatus || string(got) != body || err != nil {
				t.Fatalf("%d, %d bytes, %v; want %d bytes", res.StatusCode, len(got), err, len(body))
			}
			want := fmt.Sprintf("PUT //a%%20b/../c?x=%%zz&y shop.example.org 127.0.0.1 %d", len(body))
			if got := res.Header.Get("X-Got"); got != want {
				t.Errorf("the member got %q, want %q", got, want)
			}
			if a := res.Header.Get("X-Agent"); a != "tester" || len(res.Header["X-Two"]) != 2 {
				t.Errorf("agent %q, header %q", a, res.Header)
			}
			if res.ContentLength != int64(len(body)) && res.ContentLength != -1 {
				t.Errorf("length %d", res.ContentLength)
			}
		}
	})
}

func TestTrailersMeet(t *testing.T) {
	every(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(http.StatusOK)
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Sum", "got "+r.Trailer.Get("X-Ask"))
	}, func(t *testing.T, k *kit, c *http.Client) {
		body, in := io.Pipe()
		req, _ := http.NewRequest(http.MethodPost, k.url("/"), body)
		req.Trailer = http.Header{"X-Ask": nil}
		req.Header.Set("TE", "trailers")
		go func() {
			_, _ = io.WriteString(in, "hello")
			req.Trailer.Set("X-Ask", "7")
			_ = in.Close()
		}()
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		if string(got) != "hello" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if sum := res.Trailer.Get("X-Sum"); sum != "got 7" {
			t.Errorf("trailer %q", sum)
		}
	})
}

// TestFullDuplex: pieces pass both ways as they come, before either side has ended.
func TestFullDuplex(t *testing.T) {
	every(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		b := make([]byte, 100)
		for {
			n, err := r.Body.Read(b)
			_, _ = w.Write([]byte(strings.ToUpper(string(b[:n]))))
			_ = http.NewResponseController(w).Flush()
			if err != nil {
				return
			}
		}
	}, func(t *testing.T, k *kit, c *http.Client) {
		body, in := io.Pipe()
		req, _ := http.NewRequest(http.MethodPost, k.url("/"), body)
		res, err := c.Do(req) // the head comes before anything is sent
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 3)
		for _, word := range []string{"one", "two", "six"} {
			_, _ = io.WriteString(in, word)
			if _, err := io.ReadFull(res.Body, b); string(b) != strings.ToUpper(word) || err != nil {
				t.Fatalf("%q, %v", b, err)
			}
		}
		_ = in.Close()
		if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
			t.Errorf("%q, %v", rest, err)
		}
	})
}

func TestHeadsMeet(t *testing.T) {
	every(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		case "/304":
			w.Header().Set("ETag", `"x"`)
			w.WriteHeader(http.StatusNotModified)
		case "/103":
			w.Header().Set("Link", "</a>")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
			w.WriteHeader(http.StatusOK)
		case "/empty":
		case "/typeless":
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, "<html>")
		default:
			w.Header().Set("Content-Length", "5")
			w.WriteHeader(http.StatusOK)
		}
	}, func(t *testing.T, k *kit, c *http.Client) {
		for _, ask := range []struct {
			method, path string
			status       int
			length       int64
		}{
			{"GET", "/204", 204, 0}, {"GET", "/304", 304, 0}, {"GET", "/empty", 200, 0}, {"HEAD", "/", 200, 5}, {"GET", "/103", 200, 0}, {"GET", "/typeless", 200, 6},
		} {
			hints := 0
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
					if code == 103 && h.Get("Link") == "</a>" {
						hints++
					}
					return nil
				},
			})
			req, _ := http.NewRequestWithContext(ctx, ask.method, k.url(ask.path), nil)
			res, err := c.Do(req)
			if err != nil {
				t.Fatal(ask.path, err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode != ask.status || res.ContentLength != ask.length && res.ContentLength != -1 {
				t.Errorf("%s %s: %d, length %d", ask.method, ask.path, res.StatusCode, res.ContentLength)
			}
			if ask.path == "/103" && (hints != 1 || res.Header.Get("Link") != "") {
				t.Errorf("%d early hints, final header %v", hints, res.Header)
			}
			if got := res.Header.Get("Content-Type"); ask.path == "/typeless" && got != "" {
				t.Errorf("a content type was made up: %q", got)
			}
		}
	})
}

func TestExpectMeets(t *testing.T) {
	every(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n)
	}, func(t *testing.T, k *kit, c *http.Client) {
		if tr, ok := c.Transport.(*http.Transport); ok {
			tr.ExpectContinueTimeout = 10 * patience // it is told to continue, or fails
		}
		req, _ := http.NewRequest(http.MethodPost, k.url("/"), strings.NewReader(strings.Repeat("x", 50_000)))
		req.Header.Set("Expect", "100-continue")
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(res.Body); string(b) != "50000" {
			t.Errorf("the member got %s bytes", b)
		}
	})
}

// TestClientCancels: a client that resets its stream takes the member's with it, and the member is not blamed.
func TestClientCancels(t *testing.T) {
	for _, member := range []string{"http1", "http2"} {
		t.Run(member, func(t *testing.T) {
			arrived, left := make(chan struct{}), make(chan struct{})
			k := start(t, http2Service, member, memberWith(t, func(w http.ResponseWriter, r *http.Request) {
				close(arrived)
				<-r.Context().Done()
				close(left)
			}, member == "http2"))
			ctx, cancel := context.WithCancel(t.Context())
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, k.url("/"), nil)
			failed := make(chan error, 1)
			go func() {
				_, err := k.http2Client().Do(req)
				failed <- err
			}()
			<-arrived
			cancel()
			<-left
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			for _, m := range k.services["web"].Status().Members {
				if m.Failures != 0 {
					t.Errorf("member %s is blamed: %+v", m.Name, m)
				}
			}
		})
	}
}

// TestMemberBreaksOff: an answer that broke off does not look whole.
func TestMemberBreaksOff(t *testing.T) {
	every(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "some")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}, func(t *testing.T, k *kit, c *http.Client) {
		res, err := c.Get(k.url("/"))
		if err != nil {
			return // before its head was passed on
		}
		if b, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("%q looks whole", b)
		}
	})
}

// TestStreamsAtOnce: one connection carries many requests at a time, and one to the member does.
func TestStreamsAtOnce(t *testing.T) {
	const n = 50
	var conns, waiting atomic.Int64
	all := make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if waiting.Add(1) == n {
			close(all)
		}
		<-all
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	k := start(t, http2Service, "http2", s.Listener.Addr().String())
	c := k.http2Client()
	results := make(chan error, n)
	for range n {
		go func() {
			res, err := c.Get(k.url("/"))
			if err == nil {
				err = res.Body.Close()
			}
			results <- err
		}()
	}
	for range n {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if got := conns.Load(); got != 1 {
		t.Errorf("%d connections to the member, want 1", got)
	}
}

// TestHTTP2Refused: what is no valid request is refused on its stream, and the others go on.
func TestHTTP2Refused(t *testing.T) {
	k := start(t, http2Service, "http1", http1Member(t, func(w http.ResponseWriter, r *http.Request) {}))
	c := k.http2Client()
	for _, ask := range []struct {
		name, method string
		edit         func(r *http.Request)
		status       int
	}{
		{"fine", "GET", func(r *http.Request) {}, 200},
		{"connect", "CONNECT", func(r *http.Request) { r.URL.Opaque = "a:443"; r.URL.Path = "" }, 405},
		{"host", "GET", func(r *http.Request) { r.Host = "a,b" }, 400},
		{"expectation", "GET", func(r *http.Request) { r.Header.Set("Expect", "miracles") }, 417},
		{"fields", "GET", func(r *http.Request) {
			for i := range 120 {
				r.Header.Set(fmt.Sprint("X-", i), "y")
			}
		}, 431},
		{"fine after all", "GET", func(r *http.Request) {}, 200},
	} {
		req, _ := http.NewRequest(ask.method, k.url("/"), nil)
		ask.edit(req)
		res, err := c.Do(req)
		if err != nil {
			t.Errorf("%s: %v", ask.name, err)
			continue
		}
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != ask.status || ask.status >= 400 && !strings.Contains(string(body), res.Header.Get("X-Request-Id")) {
			t.Errorf("%s: %d %q", ask.name, res.StatusCode, body)
		}
	}
}

// TestHTTP2Drain: a connection at work ends when its last stream has, and takes no more.
func TestHTTP2Drain(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	k := start(t, http2Service, "http2", http2Member(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "done")
	}))
	c := k.http2Client()
	got := make(chan string, 1)
	go func() {
		res, err := c.Get(k.url("/"))
		if err != nil {
			got <- err.Error()
			return
		}
		b, _ := io.ReadAll(res.Body)
		got <- string(b)
	}()
	<-arrived
	drained := make(chan error, 1)
	go func() { drained <- k.server.Drain(t.Context()) }()
	eventually(t, "it drains", k.server.draining.Load)
	close(release)
	if s := <-got; s != "done" {
		t.Errorf("the request at work got %q", s)
	}
	c.CloseIdleConnections()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

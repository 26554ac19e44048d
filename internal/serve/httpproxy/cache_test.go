package httpproxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A webServer is a member that a test decides about.
type webServer struct {
	*httptest.Server
	asked atomic.Int32
	serve atomic.Pointer[http.HandlerFunc]
	first http.HandlerFunc // what it did at the beginning
}

func newWebServer(t *testing.T, serve http.HandlerFunc) *webServer {
	t.Helper()
	o := &webServer{first: serve}
	o.serve.Store(&serve)
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.asked.Add(1)
		(*o.serve.Load())(w, r)
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *webServer) becomes(serve http.HandlerFunc) { o.serve.Store(&serve) }

func (o *webServer) address() string { return strings.TrimPrefix(o.URL, "http://") }

const cachedService = `
services:
  - name: web
    members: [{address: %q}]
    retry: 1
    hold: 0s
    outlier: off
    breaker: off
    cache: 8MiB
    fallback: [{cache: 10m}, {respond: {status: 203, body: degraded}}]
listeners:
  - listen: 127.0.0.1:0
    routes: [{match: /raw, service: web, cache: false}, {service: web, response_headers: {set: {X-Edge: "1"}, remove: [X-Secret]}}]
`

// ask sends one request, with fields in pairs, and returns the answer with its body read.
func (k *kit) ask(method, path string, fields ...string) (*http.Response, string) {
	k.t.Helper()
	res, body, err := k.tryAsk(method, path, fields...)
	if err != nil {
		k.t.Fatal(err)
	}
	return res, body
}

func (k *kit) tryAsk(method, path string, fields ...string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+k.addr+path, http.NoBody)
	if err != nil {
		return nil, "", err
	}
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "Host" {
			req.Host = fields[i+1]
		}
		req.Header.Add(fields[i], fields[i+1])
	}
	tr := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res, string(b), err
}

func TestCacheAnswers(t *testing.T) {
	o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("ETag", `"a"`)
		w.Header().Set("X-Secret", "1")
		fmt.Fprintf(w, "body of %s", r.URL.Path)
	})
	k := start(t, cachedService, o.address())
	if res, body := k.ask("GET", "/a"); body != "body of /a" || res.Header.Get("Cache-Status") != "backstay; fwd=uri-miss; fwd-status=200; stored" {
		t.Errorf("%q %v", body, res.Header)
	}
	for _, tt := range []struct {
		method string
		fields []string
		status int
		body   string
	}{
		{"GET", nil, 200, "body of /a"},
		{"HEAD", nil, 200, ""},
		{"GET", []string{"If-None-Match", `"a"`}, 304, ""},
		{"GET", []string{"Range", "bytes=8-"}, 206, "/a"},
		{"GET", []string{"Range", "bytes=80-"}, 416, ""},
	} {
		res, body := k.ask(tt.method, "/a", tt.fields...)
		if res.StatusCode != tt.status || body != tt.body {
			t.Errorf("%s %q: %d %q", tt.method, tt.fields, res.StatusCode, body)
		}
		if h := res.Header; h.Get("Age") == "" || h.Get("ETag") != `"a"` || h.Get("X-Edge") != "1" || h.Get("X-Secret") != "" || !strings.HasPrefix(h.Get("Cache-Status"), "backstay; hit; ttl=") {
			t.Errorf("%s %q: %v", tt.method, tt.fields, h)
		}
		if tt.method == "HEAD" && res.ContentLength != 10 {
			t.Errorf("HEAD tells of %d bytes", res.ContentLength)
		}
	}
	if n := o.asked.Load(); n != 1 {
		t.Errorf("the member was asked %d times", n)
	}
	if res, _ := k.ask("GET", "/other", "Cache-Control", "only-if-cached"); res.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("only-if-cached: %d", res.StatusCode)
	}
	k.ask("GET", "/raw")
	if res, _ := k.ask("GET", "/raw"); res.Header.Get("Cache-Status") != "" || o.asked.Load() != 3 {
		t.Errorf("a route without cache: %v, asked %d", res.Header, o.asked.Load())
	}
}

func TestCacheOverHTTP2(t *testing.T) {
	o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, strings.Repeat("x", 200_000))
	})
	k := start(t, cachedService, o.address())
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	for range 3 {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+k.addr+"/a", nil)
		res, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || len(b) != 200_000 || res.ProtoMajor != 2 {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	}
	if _, body := k.ask("GET", "/a"); len(body) != 200_000 || o.asked.Load() != 1 {
		t.Errorf("%d bytes, asked %d times", len(body), o.asked.Load())
	}
}

// BenchmarkProxyCached is BenchmarkProxyGet out of the cache.
func BenchmarkProxyCached(b *testing.B) {
	m := newBackend(b, answering("HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nCache-Control: max-age=3600\r\nContent-Length: 1024\r\n\r\n"+strings.Repeat("x", 1024)))
	k := start(b, strings.Replace(cachedService, "cache: 8MiB", "cache: {memory: 8MiB, status: false}", 1), m.addr)
	k.ask("GET", "/index.html", "Host", "example.org")
	request := []byte("GET /index.html HTTP/1.1\r\nHost: example.org\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c := dialTo(b, k.addr)
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		buf := make([]byte, 8192)
		for pb.Next() {
			if _, err := c.Write(request); err != nil {
				b.Error(err)
				return
			}
			for body := -1; body < 1024; {
				n, err := c.Read(buf)
				if err != nil {
					b.Error(err)
					return
				}
				if body >= 0 {
					body += n
				} else if i := bytes.Index(buf[:n], []byte("\r\n\r\n")); i >= 0 {
					body = n - i - 4
				}
			}
		}
	})
	if m.heads.Load() != 1 {
		b.Errorf("the member was asked %d times", m.heads.Load())
	}
}

// TestNothingLeaks: what is one client's own is never given to another.
func TestNothingLeaks(t *testing.T) {
	o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60"+r.Header.Get("X-Say"))
		if r.Header.Get("X-Cookie") != "" {
			w.Header().Set("Set-Cookie", "session=secret")
		}
		if r.Header.Get("X-Vary") != "" {
			w.Header().Set("Vary", r.Header.Get("X-Vary"))
		}
		fmt.Fprint(w, "for the first: ", r.Header.Get("Authorization"), r.Header.Get("Cookie"), r.Header.Get("X-Forwarded-For"))
	})
	k := start(t, cachedService, o.address())
	for i, fields := range [][]string{
		{"Authorization", "Bearer x"},
		{"X-Say", ", private"},
		{"X-Say", ", no-store"},
		{"X-Cookie", "1"},
		{"X-Vary", "*"},
		{"X-Vary", "Cookie", "Cookie", "a=b"},
		{"Cache-Control", "no-store"},
		{"X-Vary", "X-Request-Id"},
	} {
		path := fmt.Sprint("/", i)
		k.ask("GET", path, fields...)
		o.becomes(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "down", http.StatusServiceUnavailable) })
		if res, body := k.ask("GET", path); strings.Contains(body, "first") || res.Header.Get("Set-Cookie") != "" {
			t.Errorf("%q: another gets %q %v", fields, body, res.Header)
		}
		o.becomes(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "second") })
		if _, body := k.ask("GET", path); body != "second" {
			t.Errorf("%q: another gets %q", fields, body)
		}
		o.becomes(o.first)
	}
}

// TestHostsThatProxiesTell: what a trusted proxy in front says of host and scheme is part of what was asked.
func TestHostsThatProxiesTell(t *testing.T) {
	o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, r.Host, " ", r.Header.Get("X-Forwarded-Host"), " ", r.Header.Get("X-Forwarded-Proto"))
	})
	k := start(t, strings.Replace(cachedService, "listen: 127.0.0.1:0", "listen: 127.0.0.1:0\n    forwarded: {trust: [127.0.0.1]}", 1), o.address())
	for range 2 {
		for _, fields := range [][]string{
			{"Host", "a"},
			{"Host", "b"},
			{"Host", "a", "X-Forwarded-Host", "evil"},
			{"Host", "a", "X-Forwarded-Proto", "https"},
		} {
			want := fields[1] + " " + fields[1] + " http"
			if len(fields) > 2 && fields[3] == "evil" {
				want = "a evil http"
			} else if len(fields) > 2 {
				want = "a a https"
			}
			if _, body := k.ask("GET", "/x", fields...); body != want {
				t.Errorf("%q: %q", fields, body)
			}
		}
	}
	if n := o.asked.Load(); n != 4 {
		t.Errorf("the member was asked %d times", n)
	}
}

func TestStaleInPlaceOfErrors(t *testing.T) {
	o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/strict" {
			w.Header().Set("Cache-Control", "max-age=0, must-revalidate")
			w.Header().Set("ETag", `"a"`)
		}
		fmt.Fprint(w, "good")
	})
	k := start(t, cachedService, o.address())
	k.ask("GET", "/a")
	k.ask("GET", "/strict")
	check := func(what, path string, status int, body, fallback string) {
		t.Helper()
		res, got := k.ask("GET", path)
		if res.StatusCode != status || got != body || res.Header.Get(FallbackHeader) != fallback {
			t.Errorf("%s, %s: %d %q, fallback %q", what, path, res.StatusCode, got, res.Header.Get(FallbackHeader))
		}
	}
	for _, status := range []int{500, 502, 503, 504} {
		o.becomes(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "bad", status) })
		check(fmt.Sprint(status), "/a", 200, "good", "cache")
		check(fmt.Sprint(status), "/b", 203, "degraded", "respond")
		check(fmt.Sprint(status), "/strict", 203, "degraded", "respond")
	}
	o.becomes(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "gone", http.StatusNotFound) })
	check("404", "/c", 404, "gone\n", "")
	o.becomes(func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	check("broken connection", "/a", 200, "good", "cache")
	check("broken connection", "/b", 203, "degraded", "respond")
	check("broken connection", "/strict", 203, "degraded", "respond")
	o.Close()
	check("no connection", "/a", 200, "good", "cache")
	check("no connection", "/c", 404, "gone\n", "cache")
	if res, _ := k.ask("POST", "/a"); res.StatusCode != http.StatusNonAuthoritativeInfo {
		t.Errorf("POST: %d", res.StatusCode)
	}
	if res, body := k.ask("HEAD", "/a"); res.StatusCode != http.StatusOK || body != "" {
		t.Errorf("HEAD: %d %q", res.StatusCode, body)
	}
}

// TestFallbackIsAFailure: clients that get something stale do not make a failing service look well to its breaker.
func TestFallbackIsAFailure(t *testing.T) {
	o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "good") })
	k := start(t, strings.Replace(cachedService, "breaker: off", "breaker: {service: true, consecutive: 3, reset: 1m}", 1), o.address())
	k.ask("GET", "/a")
	o.becomes(func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	for range 10 {
		if _, body := k.ask("GET", "/a"); body != "good" {
			t.Fatal(body)
		}
	}
	if n := o.asked.Load(); n > 8 { // of 11; a kept connection may be tried again, and a failure counts once it is seen
		t.Errorf("a service that fails was asked %d times", n)
	}
}

func TestServiceIsAskedOnce(t *testing.T) {
	release := make(chan struct{})
	o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		<-release
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, strings.Repeat("x", 100_000))
	})
	k := start(t, strings.Replace(cachedService, "cache: 8MiB", "cache: {memory: 8MiB, wait: 10m}", 1), o.address())
	var all sync.WaitGroup
	var good atomic.Int32
	for range 50 {
		all.Go(func() {
			if _, body, err := k.tryAsk("GET", "/a"); err == nil && len(body) == 100_000 {
				good.Add(1)
			}
		})
	}
	c := k.picture.Load().Services[0].Cache
	eventually(t, "all others wait", func() bool { return c.Usage().Waiting == 49 })
	close(release)
	all.Wait()
	if good.Load() != 50 || o.asked.Load() != 1 {
		t.Errorf("%d of 50 are good, the member was asked %d times", good.Load(), o.asked.Load())
	}
	if u := c.Usage(); u.Flights != 0 || u.Waiting != 0 || u.Writing != 0 {
		t.Errorf("left behind: %+v", u)
	}
}

func TestAbortedAnswersAreNotStored(t *testing.T) {
	o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", "100000")
		}
		fmt.Fprint(w, strings.Repeat("x", 50_000))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	k := start(t, cachedService, o.address())
	for _, path := range []string{"/length", "/chunked"} {
		if _, _, err := k.tryAsk("GET", path); err == nil {
			t.Errorf("%s: the client took it for whole", path)
		}
	}
	o.becomes(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "whole") })
	for _, path := range []string{"/length", "/chunked"} {
		if _, body := k.ask("GET", path); body != "whole" {
			t.Errorf("%s: %d bytes", path, len(body))
		}
	}
	if u := k.picture.Load().Services[0].Cache.Usage(); u.Writing != 0 || u.Flights != 0 {
		t.Errorf("left behind: %+v", u)
	}
}

func TestValidation(t *testing.T) {
	o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", `"a"`)
		if r.Header.Get("If-None-Match") == `"a"` {
			w.Header().Set("Set-Cookie", "mine=1")
			w.WriteHeader(http.StatusNotModified)
			return
		}
		if r.Header.Get("If-None-Match") != "" {
			t.Errorf("a client's condition %q reached the member", r.Header.Get("If-None-Match"))
		}
		fmt.Fprint(w, "body")
	})
	k := start(t, cachedService, o.address())
	k.ask("GET", "/a")
	for _, fields := range [][]string{nil, {"If-None-Match", `"old"`}} {
		res, body := k.ask("GET", "/a", fields...)
		if res.StatusCode != http.StatusOK || body != "body" || res.Header.Get("Set-Cookie") != "mine=1" || !strings.Contains(res.Header.Get("Cache-Status"), "fwd=stale; fwd-status=304") {
			t.Errorf("%d %q %v", res.StatusCode, body, res.Header)
		}
	}
	if res, _ := k.ask("GET", "/a", "If-None-Match", `"a"`); res.StatusCode != http.StatusNotModified {
		t.Errorf("%d", res.StatusCode)
	}
	if res, body := k.ask("GET", "/a", "Range", "bytes=1-2"); res.StatusCode != http.StatusPartialContent || body != "od" {
		t.Errorf("%d %q", res.StatusCode, body)
	}
	o.becomes(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "new") })
	if _, body := k.ask("GET", "/a"); body != "new" {
		t.Error(body)
	}
}

func TestStaleWhileRevalidate(t *testing.T) {
	var version atomic.Int32
	hold := make(chan struct{}, 10)
	o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		if version.Load() > 0 {
			<-hold
		}
		w.Header().Set("Cache-Control", "max-age=60, stale-while-revalidate=600")
		w.Header().Set("Age", map[bool]string{true: "0", false: "100"}[version.Load() > 0])
		fmt.Fprint(w, "version ", version.Load())
	})
	k := start(t, cachedService, o.address())
	k.ask("GET", "/a")
	version.Store(1)
	for range 20 { // the member does not answer: nobody waits for it
		if _, body := k.ask("GET", "/a"); body != "version 0" {
			t.Fatal(body)
		}
	}
	hold <- struct{}{}
	eventually(t, "the new one is there", func() bool { _, body := k.ask("GET", "/a"); return body == "version 1" })
	if o.asked.Load() != 2 {
		t.Errorf("asked %d times", o.asked.Load())
	}
}

func TestChangesInvalidate(t *testing.T) {
	var version atomic.Int32
	o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			version.Add(1)
			w.Header().Set("Location", "/b")
			return
		}
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, version.Load())
	})
	k := start(t, cachedService, o.address())
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "FROB"} {
		for _, path := range []string{"/a", "/b"} {
			k.ask("GET", path)
		}
		k.ask(method, "/a")
		for _, path := range []string{"/a", "/b"} {
			if _, body := k.ask("GET", path); body != fmt.Sprint(version.Load()) {
				t.Errorf("after %s %s is %s", method, path, body)
			}
		}
	}
}

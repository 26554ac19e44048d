package httpproxy

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/backstay/backstay/internal/serve/http1"
	"github.com/backstay/backstay/internal/serve/pool"
)

// frameMember is a member that speaks HTTP/2 frame by frame: serve is called for each request's stream.
func frameMember(t *testing.T, serve func(f *frames, id uint32)) *backend {
	t.Helper()
	return newBackend(t, func(b *backend, w *wire) {
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(w.r, preface); err != nil || string(preface) != http2.ClientPreface {
			return
		}
		f := &frames{Framer: http2.NewFramer(w.Conn, w.r), wire: w}
		f.hpack = hpack.NewEncoder(&f.block)
		_ = f.WriteSettings()
		for {
			fr, err := f.ReadFrame()
			if err != nil {
				return
			}
			switch fr := fr.(type) {
			case *http2.SettingsFrame:
				if !fr.IsAck() {
					_ = f.WriteSettingsAck()
				}
			case *http2.PingFrame:
				if !fr.IsAck() {
					_ = f.WritePing(true, fr.Data)
				}
			case *http2.HeadersFrame:
				b.heads.Add(1)
				serve(f, fr.StreamID)
			}
		}
	})
}

type frames struct {
	*http2.Framer
	wire  *wire
	hpack *hpack.Encoder
	block bytes.Buffer
}

// head sends a HEADERS frame.
func (f *frames) head(id uint32, end bool, fields ...string) {
	f.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = f.hpack.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: f.block.Bytes(), EndStream: end, EndHeaders: true})
}

const twoHTTP2Members = `
services:
  - name: web
    protocol: http2
    balance: round_robin
    members: [{address: %q}, {address: %q}]
    retry: {initial: 1ms}
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`

// TestUnprocessedIsSentAgain: what a member says it did not process goes out again, POST included (RFC 9113, section 8.7).
func TestUnprocessedIsSentAgain(t *testing.T) {
	for name, refuse := range map[string]func(f *frames, id uint32){
		"REFUSED_STREAM": func(f *frames, id uint32) { _ = f.WriteRSTStream(id, http2.ErrCodeRefusedStream) },
		"GOAWAY":         func(f *frames, id uint32) { _ = f.WriteGoAway(id-2, http2.ErrCodeNo, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			var served atomic.Int64
			bad := frameMember(t, func(f *frames, id uint32) {
				if id == 1 {
					f.head(id, true, ":status", "200")
					return
				}
				refuse(f, id)
			})
			good := http2Member(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				served.Add(1)
			})
			k := start(t, twoHTTP2Members, bad.addr, good)
			c := k.http2Client()
			for range 8 {
				res, err := c.Post(k.url("/"), "text/plain", strings.NewReader("once"))
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				if res.StatusCode != http.StatusOK {
					t.Errorf("got %s", res.Status)
				}
			}
			if served.Load() == 0 || bad.heads.Load() < 2 {
				t.Errorf("%d at the good member, %d at the other", served.Load(), bad.heads.Load())
			}
		})
	}
}

// TestProcessedIsNotSentAgain: a POST whose stream broke off may have been processed (promise 4).
func TestProcessedIsNotSentAgain(t *testing.T) {
	reset := func(f *frames, id uint32) { _ = f.WriteRSTStream(id, http2.ErrCodeInternal) }
	a, b := frameMember(t, reset), frameMember(t, reset)
	k := start(t, twoHTTP2Members, a.addr, b.addr)
	c := k.http2Client()
	res, err := c.Post(k.url("/"), "text/plain", strings.NewReader("once"))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if n := a.heads.Load() + b.heads.Load(); res.StatusCode != http.StatusBadGateway || n != 1 {
		t.Errorf("POST: %s after %d sendings", res.Status, n)
	}
	if res, err = c.Get(k.url("/")); err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if n := a.heads.Load() + b.heads.Load(); res.StatusCode != http.StatusBadGateway || n != 1+3 {
		t.Errorf("GET: %s after %d sendings", res.Status, n-1)
	}
}

// TestBadAnswersOverHTTP2: what HTTP/1 clients could not be told, or could be told in two ways, is refused. Where net/http has put it right already,
// it is told in one way.
func TestBadAnswersOverHTTP2(t *testing.T) {
	const refused, framed = "HTTP/1.1 502 ", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\n0\r\n\r\n"
	for name, c := range map[string]struct {
		putRight bool
		fields   []string
	}{
		"two lengths":     {true, []string{":status", "200", "content-length", "1", "content-length", "2"}},
		"odd length":      {true, []string{":status", "200", "content-length", "+2"}},
		"transfer coding": {true, []string{":status", "200", "transfer-encoding", "gzip"}},
		"status of 99":    {false, []string{":status", "99"}},
		"line break":      {false, []string{":status", "200", "x", "a\r\nb: c"}},
		"no status":       {false, []string{"x", "y"}},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, http2Service, "http2", frameMember(t, func(f *frames, id uint32) {
				f.head(id, false, c.fields...)
				_ = f.WriteData(id, true, []byte("ok"))
			}).addr)
			w := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			if got := w.rest(); !strings.HasPrefix(got, refused) && (!c.putRight || got != framed) {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestHTTP2OverTLS(t *testing.T) {
	p := newPKI(t)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Proto, " ", r.Header.Get("X-Forwarded-Proto"))
	}))
	cert, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		t.Fatal(err)
	}
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	k := start(t, grpcService, s.Listener.Addr().String(), fmt.Sprintf("tls: {ca: %q}", p.ca),
		fmt.Sprintf("tls: {certificates: [{cert: %q, key: %q}]}", p.cert, p.key))
	for _, two := range []bool{false, true} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.pool}, ForceAttemptHTTP2: two}
		res, err := (&http.Client{Transport: tr}).Get("https://" + k.addr)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		tr.CloseIdleConnections()
		if string(b) != "HTTP/2.0 https" || (res.ProtoMajor == 2) != two {
			t.Errorf("asked for HTTP/2 %t: got %s, the member %s", two, res.Proto, b)
		}
	}
}

// TestMemberWithoutHTTP2: a member that does not speak it is an error with advice, not a hang.
func TestMemberWithoutHTTP2(t *testing.T) {
	p := newPKI(t)
	cert, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	k := start(t, grpcService, s.Listener.Addr().String(), fmt.Sprintf("tls: {ca: %q}\n    retry: 1", p.ca), "")
	w := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if got := w.rest(); !strings.HasPrefix(got, "HTTP/1.1 502 ") {
		t.Errorf("got %q", got)
	}
}

// TestHTTP2Off: with http2 off, the preface is an ordinary bad request.
func TestHTTP2Off(t *testing.T) {
	k := start(t, `
services: [{name: web, members: [{address: %q}]}]
listeners: [{listen: 127.0.0.1:0, http2: false, routes: [{service: web}]}]
`, newBackend(t, answering(okAnswer)).addr)
	if got := k.dial().send(http2.ClientPreface).rest(); !strings.HasPrefix(got, "HTTP/1.1 505 ") {
		t.Errorf("got %q", got)
	}
}

// TestPrefaceInPieces: prior knowledge is recognised however its bytes arrive.
func TestPrefaceInPieces(t *testing.T) {
	k := start(t, http2Service, "http1", newBackend(t, answering(okAnswer)).addr)
	w := k.dial()
	for i := range http2.ClientPreface {
		w.send(http2.ClientPreface[i : i+1])
		time.Sleep(100 * time.Microsecond) // so that some arrive alone; all must pass either way
	}
	f := http2.NewFramer(w.Conn, w.r)
	_ = f.WriteSettings()
	if fr, err := f.ReadFrame(); err != nil || fr.Header().Type != http2.FrameSettings {
		t.Errorf("%v, %v", fr, err)
	}
}

// TestMemberIdleTimeoutOverHTTP2: a silent answer is ended, and the client sees that it is not whole.
func TestMemberIdleTimeoutOverHTTP2(t *testing.T) {
	member := http2Member(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begin")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	k := start(t, grpcService, member, "timeout: {idle: 50ms}", "")
	res, err := k.http2Client().Get(k.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); !strings.HasPrefix("begin", string(b)) || err == nil {
		t.Errorf("%q, %v", b, err)
	}
}

// TestSlowHTTP2Client: a client that takes nothing of its answer is let go of after the body's idle timeout.
func TestSlowHTTP2Client(t *testing.T) {
	gone := make(chan struct{})
	member := http2Member(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		for b := make([]byte, 64<<10); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	})
	k := start(t, grpcService, member, "", "timeout: {body_idle: 100ms}")
	res, err := k.http2Client().Get(k.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	<-gone // without a byte of the body being read here
}

// TestAbandonedAnswersGiveRoomBack: answers that nobody reads to the end do not use up the window of the connection to the member.
func TestAbandonedAnswersGiveRoomBack(t *testing.T) {
	written := make(chan struct{})
	member := http2Member(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(make([]byte, memberStreamWindow))
		written <- struct{}{}
	})
	k := start(t, http2Service, "http2", member)
	var req http1.Request
	if _, err := req.Parse([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), http1.Limits{}); err != nil {
		t.Fatal(err)
	}
	for range 2 * memberConnWindow / memberStreamWindow {
		m, err := k.services["web"].Pick(&pool.Query{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := k.server.open(t.Context(), m, &opening{service: k.picture.Load().Services[0]}, now())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(&ask{Request: &req, Path: req.Path}, piece{End: true}); err != nil {
			t.Fatal(err)
		}
		if err := s.Receive(new(http1.Response), now()+int64(patience)); err != nil {
			t.Fatal(err)
		}
		select {
		case <-written:
		case <-time.After(patience):
			t.Fatal("the member cannot write: the connection's window is used up")
		}
		s.Close()
		m.Done(pool.Outcome{})
	}
}

// TestHTTP2BodyLimits: a body that is too large, or does not come, is answered as it is over HTTP/1.
func TestHTTP2BodyLimits(t *testing.T) {
	member := http2Member(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	patient, hasty := start(t, grpcService, member, "", "limits: {body: 1KiB}"), start(t, grpcService, member, "", "timeout: {body_idle: 50ms}")
	large, in := io.Pipe()
	go func() {
		_, _ = in.Write(make([]byte, 2048))
		_ = in.Close()
	}()
	silent, never := io.Pipe()
	defer func() { _ = never.Close() }()
	for name, c := range map[string]struct {
		k      *kit
		body   io.Reader
		status int
	}{
		"announced": {patient, strings.NewReader(strings.Repeat("x", 2048)), http.StatusRequestEntityTooLarge},
		"streamed":  {patient, large, http.StatusRequestEntityTooLarge},
		"silent":    {hasty, silent, http.StatusRequestTimeout},
		"fine":      {patient, strings.NewReader("x"), http.StatusOK},
	} {
		res, err := c.k.http2Client().Post(c.k.url("/"), "text/plain", c.body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%s: %s, want %d", name, res.Status, c.status)
		}
	}
}

// TestHTTP2RequestsPerConnection: after as many requests as the listener allows the client is told to go, and loses none.
func TestHTTP2RequestsPerConnection(t *testing.T) {
	k := start(t, grpcService, http2Member(t, func(w http.ResponseWriter, r *http.Request) {}), "", "limits: {requests: 3}")
	c, conns := k.http2Client(), map[string]bool{}
	for range 12 {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { conns[i.Conn.LocalAddr().String()] = true }})
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, k.url("/"), nil)
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	if len(conns) < 2 {
		t.Errorf("%d connections carried 12 requests, of which 3 are allowed on one", len(conns))
	}
}

package httpproxy

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/observe/health"
)

func TestHolding(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
    check: {tcp: {}}
    balance: {panic: 0%%}
    hold: {for: 1m}
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`
	b := newBackend(t, echo)
	k := start(t, yaml, b.addr)
	k.pool("web").SetHealth(b.addr, health.Status{State: health.Down, Since: time.Now()})
	w := k.dial().send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
	eventually(t, "the request is held", func() bool { return k.pool("web").Status().Held == 1 })
	k.pool("web").SetHealth(b.addr, health.Status{State: health.Up, Since: time.Now()})
	w.expect("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
}

func TestHoldingEnds(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
    check: {tcp: {}}
    balance: {panic: 0%%}
    hold: {for: 50ms}
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`
	b := newBackend(t, echo)
	k := start(t, yaml, b.addr)
	k.pool("web").SetHealth(b.addr, health.Status{State: health.Down, Since: time.Now()})
	head := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head()
	if !strings.HasPrefix(head, "HTTP/1.1 503 ") || !strings.Contains(head, "Retry-After: 1\r\n") {
		t.Errorf("got %q", head)
	}
}

func TestFallback(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
    hold: 0s
    fallback: [{respond: {status: 200, body: '[]'}}]
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`
	k := start(t, yaml, deadAddress(t))
	w := k.dial()
	for range 3 {
		w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").
			expect("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nBackstay-Fallback: respond\r\nContent-Length: 2\r\n\r\n[]")
	}
}

func TestLimit(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
    limit: {concurrency: 1, queue: 1, wait: 1m}
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`
	release := make(chan struct{})
	b := newBackend(t, func(b *backend, w *wire) {
		for {
			if _, ok := b.request(w); !ok {
				return
			}
			<-release
			_, _ = io.WriteString(w.Conn, okAnswer)
		}
	})
	k := start(t, yaml, b.addr)
	const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	first := k.dial().send(get)
	eventually(t, "the member has the request", func() bool { return b.heads.Load() == 1 })
	second := k.dial().send(get)
	eventually(t, "the second waits", func() bool { return k.pool("web").Status().Queued == 1 })
	if head := k.dial().send(get).head(); !strings.HasPrefix(head, "HTTP/1.1 503 ") || !strings.Contains(head, "Retry-After") {
		t.Errorf("got %q", head)
	}
	close(release)
	first.expect(okAnswer)
	second.expect(okAnswer)
}

func TestServiceBreaker(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
    retry: 1
    breaker: {service: true, consecutive: 3, reset: 1m}
    outlier: {off: true}
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`
	b := newBackend(t, answering("HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n"))
	k := start(t, yaml, b.addr)
	w := k.dial()
	for range 3 {
		w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n")
	}
	if head := w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head(); !strings.HasPrefix(head, "HTTP/1.1 503 ") {
		t.Errorf("got %q", head)
	}
	if n := b.heads.Load(); n != 3 {
		t.Errorf("the member saw %d requests, want 3", n)
	}
}

func TestTotalTimeout(t *testing.T) {
	b := newBackend(t, func(b *backend, w *wire) {
		if _, ok := b.request(w); ok {
			_, _ = io.Copy(io.Discard, w.r)
		}
	})
	k := start(t, strings.Replace(oneService, "members:", "timeout: {total: 100ms}\n    members:", 1), b.addr)
	began := time.Now()
	head := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head()
	if took := time.Since(began); !strings.HasPrefix(head, "HTTP/1.1 504 ") || took < 90*time.Millisecond {
		t.Errorf("after %v: %q", took, head)
	}
}

// TestKilledMember: under load, one of three members dies; no client of GET sees an error.
func TestKilledMember(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}, {address: %q}, {address: %q}]
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`
	a, b, c := newBackend(t, echo), newBackend(t, echo), newBackend(t, echo)
	k := start(t, yaml, a.addr, b.addr, c.addr)
	var clients sync.WaitGroup
	killed := make(chan struct{})
	for range 16 {
		clients.Go(func() {
			w := k.dial()
			after := 0
			for after < 100 {
				if head := w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head(); !strings.HasPrefix(head, "HTTP/1.1 200 ") {
					t.Errorf("a client saw %q", head)
					return
				}
				select {
				case <-killed:
					after++
				default:
				}
			}
		})
	}
	eventually(t, "all is well for a while", func() bool { return a.heads.Load() >= 200 })
	a.kill()
	close(killed)
	clients.Wait()
}

func TestDrain(t *testing.T) {
	release := make(chan struct{})
	b := newBackend(t, func(b *backend, w *wire) {
		for {
			head, ok := b.request(w)
			if !ok {
				return
			}
			if strings.Contains(head, "/slow") {
				<-release
			}
			_, _ = io.WriteString(w.Conn, okAnswer)
		}
	})
	k := start(t, oneService, b.addr)
	idle := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect(okAnswer)
	untouched := k.dial()
	slow := k.dial().send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "the member has both requests", func() bool { return b.heads.Load() == 2 })
	k.stop() // as on SIGTERM: no more connections, and those there are end
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done <- k.server.Drain(ctx)
	}()
	if rest := idle.rest() + untouched.rest(); rest != "" {
		t.Errorf("idle connections got %q", rest)
	}
	close(release)
	if got := slow.rest(); got != strings.Replace(okAnswer, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1) {
		t.Errorf("got %q", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDrainThatTakesTooLong(t *testing.T) {
	b := newBackend(t, func(b *backend, w *wire) {
		b.request(w)
		_, _ = io.Copy(io.Discard, w.r)
	})
	k := start(t, oneService, b.addr)
	w := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "the member has the request", func() bool { return b.heads.Load() == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := k.server.Drain(ctx); err == nil {
		t.Error("no word of the request that was cut off")
	}
	_, _ = io.ReadAll(w.r) // long before the member's own timeouts
}

// TestReload: connections survive a reload, and the next request finds the new picture.
func TestReload(t *testing.T) {
	a, b := newBackend(t, answering(okAnswer)), newBackend(t, echo)
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
listeners:
  - name: front
    listen: 127.0.0.1:0
    routes: [{service: web}]
`
	k := start(t, yaml, a.addr)
	w := k.dial()
	for range 20 {
		w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect(okAnswer)
		k.load(yaml, b.addr)
		w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		k.load(yaml, a.addr)
	}
}

// TestVanishedMemberIsWaitedFor: the only member dies under a GET; the request is held and goes to it again when it is back.
func TestVanishedMemberIsWaitedFor(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
    check: {tcp: {}}
    balance: {panic: 0%%}
    hold: {for: 1m}
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`
	down := make(chan struct{})
	b := newBackend(t, failing(1, func(w *wire) {
		<-down
		resetWire(w)
	}))
	k := start(t, yaml, b.addr)
	k.pool("web").SetHealth(b.addr, health.Status{State: health.Up, Since: time.Now()})
	w := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "the member has the request", func() bool { return b.heads.Load() == 1 })
	k.pool("web").SetHealth(b.addr, health.Status{State: health.Down, Since: time.Now()})
	close(down)
	eventually(t, "the request is held", func() bool { return k.pool("web").Status().Held == 1 })
	k.pool("web").SetHealth(b.addr, health.Status{State: health.Up, Since: time.Now()})
	w.expect(okAnswer)
	if n := b.heads.Load(); n != 2 {
		t.Errorf("the member saw %d requests, want 2", n)
	}
}

// TestAnswerNobodyAskedFor: what a member sends behind an answer must not become the next request's.
func TestAnswerNobodyAskedFor(t *testing.T) {
	sent := make(chan struct{}, 8)
	b := newBackend(t, func(b *backend, w *wire) {
		for {
			head, ok := b.request(w)
			if !ok {
				return
			}
			if strings.HasPrefix(head, "HEAD") {
				_, _ = io.WriteString(w.Conn, "HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n")
				time.Sleep(5 * time.Millisecond) // a body it must not send, in a packet of its own
				_, _ = io.WriteString(w.Conn, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
				sent <- struct{}{}
				continue
			}
			_, _ = io.WriteString(w.Conn, okAnswer)
		}
	})
	k := start(t, oneService, b.addr)
	w := k.dial()
	for range 5 {
		w.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").expect("HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n")
		<-sent // it is on loopback: what was written is there
		w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect(okAnswer)
	}
}

// A service whose only member restarts: nobody listens for a while, and checks alone never take the last one out.
func TestWaitingForTheOnlyMember(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
    retry: {initial: 5ms, max: 20ms}
    breaker: off
    hold: {for: 1m}
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`
	addr := deadAddress(t)
	k := start(t, yaml, addr)
	w := k.dial().send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
	eventually(t, "the request is held", func() bool { return k.pool("web").Status().Held == 1 })
	b := newBackendAt(t, addr, echo)
	w.expect("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
	if n := b.heads.Load(); n != 1 {
		t.Errorf("the member saw %d requests", n)
	}
}

func TestWaitingForTheOnlyMemberEnds(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
    retry: {initial: 5ms, max: 20ms}
    hold: {for: 100ms}
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`
	k := start(t, yaml, deadAddress(t))
	began := time.Now()
	head := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head()
	if !strings.HasPrefix(head, "HTTP/1.1 50") || time.Since(began) < 100*time.Millisecond {
		t.Errorf("after %s: %q", time.Since(began), head)
	}
}

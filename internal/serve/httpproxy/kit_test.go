package httpproxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/resolve"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/cache"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come: no assertion about speed, the machine may stall.
const patience = time.Minute

// eventually waits for what others bring about.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for by := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(by) {
			t.Fatalf("never: %s", what)
		}
	}
}

// A kit is a Server on loopback sockets, built from a configuration as a node builds it.
type kit struct {
	t        testing.TB
	server   *Server
	metrics  *telemetry.Metrics
	picture  atomic.Pointer[snapshot.Snapshot]
	services map[string]*pool.Service
	caches   *cache.Set
	addr     string
	stop     context.CancelFunc
	stopped  sync.WaitGroup
}

// start serves the first listener of the configuration, whose address is replaced. What stands in %s are members' addresses.
func start(t testing.TB, yaml string, args ...any) *kit {
	t.Helper()
	k := &kit{t: t, services: map[string]*pool.Service{}, caches: cache.NewSet(), metrics: telemetry.NewMetrics(nil)}
	k.load(yaml, args...)
	k.server = New(Options{Snapshot: &k.picture})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	k.stop = cancel
	name := k.picture.Load().HTTP[0].Name
	k.stopped.Go(func() { _ = k.server.Serve(ctx, name, ln) })
	k.stopped.Go(func() { _ = k.server.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		_ = ln.Close()
		k.stopped.Wait()
		over, done := context.WithCancel(context.Background())
		done()
		_ = k.server.Drain(over)
		for _, s := range k.services {
			s.Close()
		}
	})
	return k
}

// load puts a configuration in force, as a node does.
func (k *kit) load(yaml string, args ...any) {
	k.t.Helper()
	c, err := config.Parse("test.yaml", fmt.Appendf(nil, yaml, args...))
	if err != nil {
		k.t.Fatal(err)
	}
	for i := range c.Services { // where a test does not say otherwise, none of its connections may fail for a machine that stalls
		if o := &c.Services[i].Timeout; o.Connect == config.Duration(time.Second) {
			o.Connect = config.Duration(patience)
		}
	}
	deps := snapshot.Deps{Metrics: k.metrics, Pool: k.pool, Cache: k.caches.Get, Previous: k.picture.Load()}
	if deps.Previous != nil {
		deps.Modes = deps.Previous.Modes
	}
	s, err := snapshot.Build(c, deps)
	if err != nil {
		k.t.Fatal(err)
	}
	caches := map[string]cache.Options{}
	for _, sc := range c.Services {
		if o, ok := snapshot.CacheOptions(sc); ok {
			caches[sc.Name] = o
		}
	}
	k.caches.Apply(caches)
	s.Modes.Set(s.StagedModes)
	for _, sc := range c.Services {
		var eps []resolve.Endpoint
		for _, m := range sc.Members {
			name := m.Name
			if name == "" {
				name = m.Address
			}
			eps = append(eps, resolve.Endpoint{Name: name, Address: m.Address, Zone: m.Zone, Weight: m.Weight, Priority: m.Priority})
		}
		k.pool(sc.Name).Set(sc, eps)
	}
	k.picture.Store(s)
}

func (k *kit) pool(name string) *pool.Service {
	if k.services[name] == nil {
		k.services[name] = pool.NewService(name, pool.Options{Metrics: k.metrics})
	}
	return k.services[name]
}

// dial connects to the server.
func (k *kit) dial() *wire { return dialTo(k.t, k.addr) }

// A wire is a client's connection, read and written in the raw.
type wire struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func dialTo(t testing.TB, addr string) *wire {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return &wire{Conn: c, t: t, r: bufio.NewReader(c)}
}

func (w *wire) send(s string) *wire {
	w.t.Helper()
	if _, err := io.WriteString(w.Conn, s); err != nil {
		w.t.Fatalf("send: %v", err)
	}
	return w
}

// rest reads to the end of the connection.
func (w *wire) rest() string {
	w.t.Helper()
	b, err := io.ReadAll(w.r)
	if err != nil {
		w.t.Fatalf("read: %v after %q", err, b)
	}
	return string(b)
}

// expect reads exactly that.
func (w *wire) expect(want string) *wire {
	w.t.Helper()
	b := make([]byte, len(want))
	n, err := io.ReadFull(w.r, b)
	if string(b[:n]) != want {
		w.t.Fatalf("got %q (%v), want %q", b[:n], err, want)
	}
	return w
}

// head reads up to and including the next empty line.
func (w *wire) head() string {
	w.t.Helper()
	var b strings.Builder
	for {
		line, err := w.r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			w.t.Fatalf("head: %v after %q", err, b.String())
		}
		if line == "\r\n" {
			return b.String()
		}
	}
}

// A backend is a scripted member: script serves each connection.
type backend struct {
	addr  string
	ln    net.Listener
	conns atomic.Int64
	heads atomic.Int64 // requests whose head came
	wg    sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]bool
}

func newBackend(t testing.TB, script func(b *backend, w *wire)) *backend {
	t.Helper()
	return newBackendAt(t, "127.0.0.1:0", script)
}

func newBackendAt(t testing.TB, addr string, script func(b *backend, w *wire)) *backend {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{addr: ln.Addr().String(), ln: ln, open: map[net.Conn]bool{}}
	b.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b.conns.Add(1)
			b.mu.Lock()
			b.open[c] = true
			b.mu.Unlock()
			b.wg.Go(func() {
				defer func() {
					_ = c.Close()
					b.mu.Lock()
					delete(b.open, c)
					b.mu.Unlock()
				}()
				script(b, &wire{Conn: c, t: t, r: bufio.NewReader(c)})
			})
		}
	})
	t.Cleanup(b.kill)
	return b
}

// kill ends the member as SIGKILL does: no listener, all connections reset.
func (b *backend) kill() {
	_ = b.ln.Close()
	b.mu.Lock()
	for c := range b.open {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
		_ = c.Close()
	}
	b.mu.Unlock()
	b.wg.Wait()
}

// request reads one request's head; false at the end of the connection.
func (b *backend) request(w *wire) (string, bool) {
	var s strings.Builder
	for {
		line, err := w.r.ReadString('\n')
		s.WriteString(line)
		if err != nil {
			return s.String(), false
		}
		if line == "\r\n" {
			b.heads.Add(1)
			return s.String(), true
		}
	}
}

// answering answers every request alike, whatever its body.
func answering(answer string) func(b *backend, w *wire) {
	return func(b *backend, w *wire) {
		for {
			if _, ok := b.request(w); !ok {
				return
			}
			if _, err := io.WriteString(w.Conn, answer); err != nil {
				return
			}
		}
	}
}

const oneService = `
services:
  - name: web
    members: [{address: %q}]
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`

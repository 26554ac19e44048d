package tcpproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/resolve"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/snapshot"
	"github.com/prometheus/client_golang/prometheus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come: no assertion about speed, the machine may stall.
const patience = time.Minute

// kit is a proxy in front of whatever members a test makes.
type kit struct {
	t        testing.TB
	server   *Server
	registry *prometheus.Registry
	snapshot atomic.Pointer[snapshot.Snapshot]
	pools    map[string]*pool.Service
	metrics  *telemetry.Metrics
	address  string
	stop     func() // accepting
}

// start serves the first listener of the configuration on a port of its own. Whatever it opened is closed when the test ends.
func start(t testing.TB, yaml string) *kit { return startWith(t, yaml, nil) }

func startWith(t testing.TB, yaml string, access *telemetry.AccessLog) *kit {
	t.Helper()
	descriptors := countDescriptors(t)
	k := &kit{t: t, pools: map[string]*pool.Service{}, registry: prometheus.NewRegistry()}
	k.metrics = telemetry.NewMetrics(k.registry)
	k.apply(yaml)
	k.server = New(Options{Snapshot: &k.snapshot, Metrics: k.metrics, Access: access})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k.address = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- k.server.Serve(ctx, k.snapshot.Load().TCP[0].Name, ln) }()
	k.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
		ln.Close()
	})
	t.Cleanup(func() {
		k.stop()
		over, cancel := context.WithCancel(context.Background())
		cancel()
		_ = k.server.Drain(over) // whatever the test left open
		for _, p := range k.pools {
			p.Close()
		}
		if now := countDescriptors(t); now > descriptors {
			eventually(t, "descriptors are closed", func() bool {
				runtime.GC() // lets go of the pipes that io.Copy keeps, in the members
				return countDescriptors(t) <= descriptors
			})
		}
	})
	return k
}

// apply puts a configuration in force, as a reload would.
func (k *kit) apply(yaml string) {
	k.t.Helper()
	c, err := config.Parse("test.yaml", []byte(yaml))
	if err != nil {
		k.t.Fatal(err)
	}
	snap, err := snapshot.Build(c, snapshot.Deps{Metrics: k.metrics, Pool: func(name string) *pool.Service {
		if k.pools[name] == nil {
			k.pools[name] = pool.NewService(name, pool.Options{Metrics: k.metrics})
		}
		return k.pools[name]
	}})
	if err != nil {
		k.t.Fatal(err)
	}
	for i := range c.Services { // where a test does not say otherwise, none of its sessions may fail for a machine that stalls
		if o := &c.Services[i].Timeout; o.Connect == config.Duration(time.Second) {
			o.Connect = config.Duration(patience)
		}
	}
	for _, s := range c.Services {
		var endpoints []resolve.Endpoint
		for _, m := range s.Members {
			name := m.Name
			if name == "" {
				name = m.Address
			}
			endpoints = append(endpoints, resolve.Endpoint{Name: name, Address: m.Address, Weight: m.Weight, Priority: m.Priority})
		}
		k.pools[s.Name].Set(s, endpoints)
	}
	k.snapshot.Store(snap)
}

// dial opens a session.
func (k *kit) dial() *net.TCPConn {
	k.t.Helper()
	c, err := net.Dial("tcp", k.address)
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// refused sends what is given and expects a reset, which may come before the connection is noticed to have been made.
func (k *kit) refused(send string) {
	k.t.Helper()
	c, err := net.Dial("tcp", k.address)
	if err == nil {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err = io.WriteString(c, send); err == nil {
			_, err = c.Read(make([]byte, 1))
		}
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		k.t.Errorf("the client saw %v, want a reset", err)
	}
}

// counter is the sum of a metric's samples whose labels have all the given values.
func (k *kit) counter(name string, labels ...string) (sum float64) {
	k.t.Helper()
	families, err := k.registry.Gather()
	if err != nil {
		k.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var have []string
			for _, l := range m.GetLabel() {
				have = append(have, l.GetValue())
			}
			all := true
			for _, want := range labels {
				all = all && strings.Contains(" "+strings.Join(have, " ")+" ", " "+want+" ")
			}
			if all {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// member runs serve for each connection it accepts, until the test ends.
func member(t testing.TB, serve func(*net.TCPConn)) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accept(t, ln, func(c net.Conn) { serve(c.(*net.TCPConn)) })
	return ln.Addr().String()
}

func accept(t testing.TB, ln net.Listener, serve func(net.Conn)) {
	var open sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	open.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			open.Go(func() {
				serve(c)
				c.Close()
				mu.Lock()
				delete(conns, c)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for c := range conns {
			c.Close()
		}
		mu.Unlock()
		open.Wait()
	})
}

// echo sends back what it gets, up to the end.
func echo(c *net.TCPConn) {
	_, _ = io.Copy(c, c) // the test looks at what arrives
	_ = c.CloseWrite()
}

// says sends a word and then whatever it gets.
func says(word string) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		_, _ = io.WriteString(c, word)
		echo(c)
	}
}

// closedAddress is one where nobody listens.
func closedAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// one is a configuration of one TCP listener and one service; more is added to each of them, members are addresses.
func one(listener, service string, members ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listeners:\n  - {name: in, listen: '127.0.0.1:1', service: s%s}\nservices:\n  - name: s\n", listener)
	for _, line := range strings.Split(service, "\n") {
		if line != "" {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	fmt.Fprintf(&b, "    members:\n")
	for i, m := range members {
		fmt.Fprintf(&b, "      - {name: m%d, address: '%s'}\n", i+1, m)
	}
	return b.String()
}

func ask(t testing.TB, c net.Conn, question string) string {
	t.Helper()
	if _, err := io.WriteString(c, question); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len(question))
	if _, err := io.ReadFull(c, answer); err != nil {
		t.Fatalf("after %q: %v", answer, err)
	}
	return string(answer)
}

func read(t testing.TB, c io.Reader, n int) string {
	t.Helper()
	b := make([]byte, n)
	if m, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("after %q: %v", b[:m], err)
	}
	return string(b)
}

// eventually waits for what others bring about.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func countDescriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

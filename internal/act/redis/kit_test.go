package redis

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/act/conformance"
	"github.com/backstay/backstay/internal/act/daemon"
	"github.com/backstay/backstay/internal/decide/plan"
)

// lab is three engines on three loopback addresses.
type lab struct {
	t       *testing.T
	dir     string
	engines map[string]*Engine
	ends    map[string]func()
}

var labs atomic.Int32

const secret = "s3cret"

// newLab makes engines that run until the test ends.
func newLab(t *testing.T, change func(*Options), nodes ...string) *lab {
	t.Helper()
	l := &lab{t: t, dir: t.TempDir(), engines: map[string]*Engine{}, ends: map[string]func(){}}
	for p := l.dir; p != "/" && p != "/tmp"; p = filepath.Dir(p) { // Redis runs as another user where this is root
		_ = os.Chmod(p, 0o755)
	}
	password := filepath.Join(l.dir, "password")
	if err := os.WriteFile(password, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	hosts := map[string]string{}
	peers := map[string]string{}
	port := freePort(t)
	round := labs.Add(1)
	for i, n := range nodes {
		hosts[n] = fmt.Sprintf("127.0.%d.%d", 70+round%100, i+1)
		peers[n] = net.JoinHostPort(hosts[n], strconv.Itoa(port))
	}
	for _, n := range nodes {
		o := Options{
			Node: n, Service: "db", DataDir: filepath.Join(l.dir, n), Listen: hosts[n], Port: port, Peers: map[string]string{}, Password: password,
			ProbeEvery: 100 * time.Millisecond,
		}
		for p, a := range peers {
			if p != n {
				o.Peers[p] = a
			}
		}
		if change != nil {
			change(&o)
		}
		l.engines[n] = New(o)
		l.ends[n] = l.run(n)
	}
	return l
}

// run runs a node's engine; the returned function ends it.
func (l *lab) run(node string) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	e := l.engines[node]
	go func() { done <- e.Run(ctx) }()
	ended := false
	end = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("run %s: %v", node, err)
		}
	}
	l.t.Cleanup(end)
	return end
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (l *lab) Engine(node string) conformance.Engine { return l.engines[node] }

// client speaks to a node's instance as anybody would.
func (l *lab) client(ctx context.Context, node string, words ...string) (string, error) {
	return ask(ctx, l.engines[node].address(), secret, words...)
}

func ask(ctx context.Context, address, password string, words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	k, err := dial(ctx, address, password)
	if err != nil {
		return "", err
	}
	defer k.close()
	return k.do(ctx, words...)
}

func (l *lab) Write(ctx context.Context, node, value string) error {
	n, err := l.client(ctx, node, "INCR", "count")
	if err != nil {
		return err
	}
	_, err = l.client(ctx, node, "SET", "value:"+n, value)
	return err
}

func (l *lab) Values(ctx context.Context, node string) ([]string, error) {
	return values(ctx, l.engines[node].address(), secret)
}

func values(ctx context.Context, address, password string) ([]string, error) {
	text, err := ask(ctx, address, password, "GET", "count")
	if err != nil {
		return nil, err
	}
	count, _ := strconv.Atoi(text)
	var all []string
	for i := 1; i <= count; i++ {
		v, err := ask(ctx, address, password, "GET", fmt.Sprintf("value:%d", i))
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

func (l *lab) Crash(t *testing.T, node string) {
	t.Helper()
	s := l.engines[node].sup.Process()
	if s == nil {
		t.Fatalf("%s does not run", node)
	}
	if err := s.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// do performs a step and waits for its effect.
func (l *lab) do(node string, s plan.Step) {
	l.t.Helper()
	s.Node, s.Service = node, "db"
	if err := l.engines[node].Do(l.t.Context(), s); err != nil {
		l.t.Fatal(err)
	}
	l.until(s.String()+" is done", func() bool {
		done, err := l.engines[node].Done(l.t.Context(), s)
		if err != nil {
			l.t.Fatal(err)
		}
		return done
	})
}

func (l *lab) observe(node string) plan.Observation {
	l.t.Helper()
	o, err := l.engines[node].Observe(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return o
}

func (l *lab) until(what string, ok func() bool) {
	l.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			for n := range l.engines {
				l.t.Logf("%s: %+v", n, l.observe(n))
				l.t.Logf("log of %s: %s", n, daemon.Tail(l.engines[n].logPath(), 2000))
			}
			l.t.Fatalf("not in time: %s", what)
		}
	}
}

// write commits a value and notes where.
func (l *lab) write(node, value string) {
	l.t.Helper()
	if err := l.Write(l.t.Context(), node, value); err != nil {
		l.t.Fatalf("write %s on %s: %v", value, node, err)
	}
}

// found a primary on a with the others as standbys, at epoch 1.
func (l *lab) found() {
	l.t.Helper()
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	for n := range l.engines {
		if n != "a" {
			l.do(n, plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
		}
	}
}

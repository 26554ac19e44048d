package cluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/cluster/trust"
)

// patience is how long a test waits for what must come: no assertion about speed, the machine may stall.
const patience = 2 * time.Minute

// eventually waits for what others bring about.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for by := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(by) {
			t.Fatalf("never: %s", what)
		}
	}
}

// A machine is a node's directory, addresses and certificates; its member can be started and killed again and again.
type machine struct {
	cluster.Options
	t   testing.TB
	dir string

	*cluster.Cluster // while it runs
	stop             context.CancelFunc
	ended            chan error
	mu               sync.Mutex
	events           []event.Record
}

// A kit is the machines of one cluster on loopback addresses.
type kit struct {
	t        testing.TB
	ca       string
	machines []*machine
	profile  cluster.Profile
}

func newKit(t testing.TB, profile string) *kit {
	t.Helper()
	p, err := cluster.ProfileNamed(profile)
	if err != nil {
		t.Fatal(err)
	}
	k := &kit{t: t, ca: t.TempDir(), profile: p}
	if err := trust.Init(k.ca, "shop", trust.Node{Name: "authority"}); err != nil {
		t.Fatal(err)
	}
	return k
}

// machine makes another machine, with certificates.
func (k *kit) machine(name, ip string) *machine {
	k.t.Helper()
	dir := k.t.TempDir()
	for _, f := range []string{"ca.crt", "ca.key"} {
		text, err := os.ReadFile(filepath.Join(k.ca, f))
		if err != nil {
			k.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), text, 0o600); err != nil {
			k.t.Fatal(err)
		}
	}
	if err := trust.Issue(dir, trust.Node{Name: name, Addresses: []string{ip}}, 0); err != nil {
		k.t.Fatal(err)
	}
	m := &machine{t: k.t, dir: dir}
	m.Options = cluster.Options{
		Cluster: "shop", Node: name, Dir: filepath.Join(dir, "store"), Peer: freePort(k.t, ip), Client: freePort(k.t, ip),
		TLS: trust.Files(dir), Profile: k.profile, Append: m.append,
	}
	if os.Getenv("BACKSTAY_TEST_LOG") != "" {
		m.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", name)
	}
	for _, other := range k.machines {
		m.Others = append(m.Others, other.Client)
		other.Others = append(other.Others, m.Client)
	}
	if len(k.machines) == 0 {
		k.t.Cleanup(func() {
			for _, m := range k.machines {
				if m.stop != nil {
					m.Crash() // nothing to hand over
				}
			}
			kill(k.machines...)
		})
	}
	k.machines = append(k.machines, m)
	return m
}

func (m *machine) append(r event.Record) event.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, r)
	return r
}

func (m *machine) told(kind string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.events {
		if r.Kind == kind && r.Message != "" {
			return true
		}
	}
	return false
}

// heard says whether something was told in these words.
func (m *machine) heard(words string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.events, func(r event.Record) bool { return strings.Contains(r.Message, words) })
}

func freePort(t testing.TB, ip string) string {
	t.Helper()
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// run starts the member.
func (m *machine) run() {
	m.Cluster = cluster.Open(m.Options)
	ctx, cancel := context.WithCancel(context.Background())
	m.stop, m.ended = cancel, make(chan error, 1)
	go func(c *cluster.Cluster, ended chan error) { ended <- c.Run(ctx) }(m.Cluster, m.ended)
}

// up starts the member and waits until the store answers.
func (m *machine) up() {
	m.t.Helper()
	m.run()
	m.ready()
}

func (m *machine) ready() {
	m.t.Helper()
	select {
	case <-m.Ready():
	case err := <-m.ended:
		m.ended <- err
		m.t.Fatalf("%s ended: %v", m.Node, err)
	case <-time.After(patience):
		m.t.Fatalf("%s is not ready", m.Node)
	}
}

// kill ends the member; nothing of it runs when it returns.
func (m *machine) kill() {
	if m.stop == nil {
		return
	}
	m.stop()
	select {
	case <-m.ended:
	case <-time.After(patience):
		m.t.Errorf("%s does not stop", m.Node)
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
	}
	m.stop = nil
}

// kill ends several at once.
func kill(machines ...*machine) {
	var all sync.WaitGroup
	for _, m := range machines {
		all.Go(m.kill)
	}
	all.Wait()
}

// over waits until the member has ended by itself, and returns why.
func (m *machine) over() error {
	m.t.Helper()
	select {
	case err := <-m.ended:
		m.stop()
		m.stop = nil
		return err
	case <-time.After(patience):
		m.t.Fatalf("%s goes on", m.Node)
		return nil
	}
}

// crash ends the member without its handing anything over.
func (m *machine) crash() {
	m.stop()
	m.Crash()
	<-m.ended
	m.stop = nil
}

// refused runs the member and returns the error with which it refuses.
func (m *machine) refused() error {
	m.t.Helper()
	m.run()
	defer m.stop()
	select {
	case err := <-m.ended:
		m.stop = nil
		return err
	case <-time.After(patience):
		m.t.Fatalf("%s started", m.Node)
		return nil
	}
}

// join makes m a member by way of another.
func (m *machine) join(by *machine) {
	m.t.Helper()
	m.Join = []string{by.Client}
	m.up()
}

// three returns a running cluster of three.
func (k *kit) three() (a, b, c *machine) {
	k.t.Helper()
	a, b, c = k.machine("a", "127.0.0.1"), k.machine("b", "127.0.0.2"), k.machine("c", "127.0.0.3")
	a.Bootstrap = true
	a.up()
	b.join(a)
	c.join(a)
	return a, b, c
}

func (m *machine) mustPut(key, value string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := m.Put(ctx, key, []byte(value), cluster.Whatever); err != nil {
		m.t.Fatalf("put on %s: %v", m.Node, err)
	}
}

func (m *machine) mustGet(key, want string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kv, err := m.Get(ctx, key)
	if err != nil || string(kv.Value) != want {
		m.t.Fatalf("get on %s: %q, %v; want %q", m.Node, kv.Value, err, want)
	}
}

func (m *machine) members() string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	all, err := m.Members(ctx)
	if err != nil {
		m.t.Fatal(err)
	}
	var text string
	for _, member := range all {
		text += fmt.Sprintf("%s ", member.Node)
		if member.Learner {
			text += "(learner) "
		}
	}
	return text
}

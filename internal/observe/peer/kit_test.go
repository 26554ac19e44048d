package peer

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if at := os.Getenv("PEER_TEST_NODE"); at != "" {
		runNode(at)
	}
	goleak.VerifyTestMain(m)
}

// A process is a node that can be killed: its listener and all its connections close at once.
type process struct {
	*Link
	name, address string
	cancel        context.CancelFunc
	done          chan struct{}
}

func (p *process) kill() {
	p.cancel()
	<-p.done
}

// patience is how long a test waits for what must come, and how much silence its nodes bear where it is not about that: no assertion about
// speed, the machine may stall.
const patience = time.Minute

// start runs a node at an address; :0 for any.
func start(t *testing.T, o Options) *process {
	t.Helper()
	if o.Heartbeat == 0 {
		o.Heartbeat = 50 * time.Millisecond
	}
	if o.Suspicion == 0 {
		o.Suspicion = patience
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{Link: New(o), name: o.Self, address: l.Addr().String(), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		if err := p.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(p.kill)
	return p
}

// mesh runs nodes that all know each other.
func mesh(t *testing.T, o func(name string) Options, names ...string) []*process {
	t.Helper()
	addresses := map[string]string{}
	var all []*process
	for i, name := range names {
		options := o(name)
		options.Self, options.Listen = name, fmt.Sprintf("127.0.0.%d:0", i+2)
		p := start(t, options)
		addresses[name] = p.address
		all = append(all, p)
	}
	for _, p := range all {
		p.Configure(addresses)
	}
	return all
}

func plain(string) Options { return Options{} }

// rare is nodes that say something of their own accord long after any test has given up.
func rare(string) Options { return Options{Heartbeat: 10 * patience, Suspicion: 60 * patience} }

// await looks whenever the link says that something changed, and now and then, until a contact is as wanted.
func (p *process) await(t *testing.T, node, what string, want func(Contact) bool) Contact {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		c := p.Contacts()[node]
		if want(c) {
			return c
		}
		select {
		case <-p.Changed():
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: node %s is never %s, but %q, broken %q", p.name, node, what, c.Message, c.Broken)
		}
	}
}

func says(text string) func(Contact) bool {
	return func(c Contact) bool { return string(c.Message) == text && c.Broken == "" }
}

func (p *process) hears(t *testing.T, node, text string) Contact {
	t.Helper()
	return p.await(t, node, "heard saying "+text, says(text))
}

func broken(c Contact) bool { return c.Broken != "" }

// mute is a stand-in for a node: it accepts and does what is given.
func mute(t *testing.T, do func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var parts sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	parts.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			parts.Go(func() { do(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		parts.Wait()
	})
	return l.Addr().String()
}

// call connects to a node by hand, as the node called name.
func (p *process) call(t *testing.T, name string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	if there, err := readGreeting(c); err != nil || there != p.name {
		t.Fatalf("greeted by %q, %v", there, err)
	}
	if err := writeGreeting(c, name); err != nil {
		t.Fatal(err)
	}
	return c
}

// join is call by one that is welcome.
func (p *process) join(t *testing.T, name string) net.Conn {
	t.Helper()
	c := p.call(t, name)
	if f, err := readFrame(c, shortFrame); err != nil || f.kind != kindWelcome {
		t.Fatalf("not welcome: %c %q, %v", f.kind, f.payload, err)
	}
	return c
}

// A proxy passes connections on until they are cut.
type proxy struct {
	address  string
	accepted atomic.Int64
	conns    chan net.Conn
}

func newProxy(t *testing.T, to string) *proxy {
	p := &proxy{conns: make(chan net.Conn, 64)}
	p.address = mute(t, func(c net.Conn) {
		p.accepted.Add(1)
		out, err := net.Dial("tcp", to)
		if err != nil {
			c.Close()
			return
		}
		p.conns <- c
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(c, out)
			c.Close()
		}()
		_, _ = io.Copy(out, c)
		out.Close()
		<-done
	})
	return p
}

// cut resets the connection that was made last.
func (p *proxy) cut() {
	c := <-p.conns
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

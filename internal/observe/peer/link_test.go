package peer

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestUrgentAtOnceOthersAtTheHeartbeat(t *testing.T) {
	nodes := mesh(t, rare, "a", "b")
	a, b := nodes[0], nodes[1]
	var took []time.Duration
	for i := range 100 {
		text := fmt.Sprint("urgent ", i)
		began := time.Now()
		a.Publish([]byte(text), true)
		b.hears(t, "a", text)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("urgent: median %v, p99 %v", took[50], took[98])
	nodes = mesh(t, func(string) Options { return Options{Heartbeat: time.Second} }, "a", "b")
	a, b = nodes[0], nodes[1]
	a.Publish([]byte("hello"), true)
	b.hears(t, "a", "hello")
	began := time.Now()
	a.Publish([]byte("no hurry"), false)
	a.Publish([]byte("later"), false)
	b.hears(t, "a", "later")
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("a message that can wait took %v", took)
	}
}

func TestUrgentSurvivesItsSuccessor(t *testing.T) {
	nodes := mesh(t, rare, "a", "b")
	a, b := nodes[0], nodes[1]
	a.Publish([]byte("first"), true)
	b.hears(t, "a", "first")
	a.Publish([]byte("urgent"), true)
	a.Publish([]byte("newer"), false)
	b.await(t, "a", "heard", func(c Contact) bool { return c.Serial > 1 })
}

func TestPacing(t *testing.T) {
	now := time.Now()
	p := pacing{heartbeat: 100 * time.Millisecond, sent: now}
	for _, c := range []struct {
		fresh, urgent bool
		want          time.Duration
	}{
		{false, false, 125 * time.Millisecond},
		{true, false, 75 * time.Millisecond},
		{true, true, 0},
	} {
		if got := p.wait(now, letter{fresh: c.fresh, urgent: c.urgent}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestSomethingIsSentEveryHeartbeat(t *testing.T) {
	nodes := mesh(t, func(string) Options { return Options{Heartbeat: 10 * time.Millisecond} }, "a", "b")
	nodes[0].Publish([]byte("same"), false)
	first := nodes[1].hears(t, "a", "same")
	last := nodes[1].await(t, "a", "heard again", func(c Contact) bool { return c.Serial >= first.Serial+50 })
	if took := last.Received.Sub(first.Received); took < 100*time.Millisecond { // some may have waited for a reader that was slow
		t.Errorf("50 messages in %v", took)
	}
}

func TestFiveNodes(t *testing.T) {
	nodes := mesh(t, plain, "a", "b", "c", "d", "e")
	for round := range 3 {
		for _, n := range nodes {
			n.Publish(fmt.Appendf(nil, "%s %d", n.name, round), round != 0)
		}
		for _, n := range nodes {
			for _, other := range nodes {
				if other != n {
					n.hears(t, other.name, fmt.Sprintf("%s %d", other.name, round))
				}
			}
			if len(n.Contacts()) != 4 {
				t.Errorf("%s knows %d others", n.name, len(n.Contacts()))
			}
		}
	}
}

func TestKilledNodeIsBrokenAtOnce(t *testing.T) {
	var all []time.Duration
	for range 10 {
		nodes := mesh(t, rare, "a", "b", "c")
		for _, n := range nodes {
			n.Publish([]byte(n.name), true)
		}
		a, b, c := nodes[0], nodes[1], nodes[2]
		for _, n := range []*process{a, c} {
			n.hears(t, "b", "b")
			b.hears(t, n.name, n.name)
		}
		began := time.Now()
		b.kill()
		for _, n := range []*process{a, c} {
			got := n.await(t, "b", "broken", broken)
			all = append(all, time.Since(began))
			if !strings.Contains(got.Broken, b.address) || !strings.Contains(got.Broken, "b") || string(got.Message) != "b" {
				t.Errorf("contact: %+v", got)
			}
		}
		if c := a.Contacts()["c"]; c.Broken != "" {
			t.Errorf("c is broken as well: %s", c.Broken)
		}
		a.kill()
		c.kill()
	}
	slices.Sort(all)
	t.Logf("broken after: median %v, slowest %v", all[len(all)/2], all[len(all)-1])
}

func TestNodeComesBack(t *testing.T) {
	nodes := mesh(t, plain, "a", "b")
	a, b := nodes[0], nodes[1]
	b.Publish([]byte("first life"), true)
	a.hears(t, "b", "first life")
	b.kill()
	if got := a.await(t, "b", "refused", func(c Contact) bool { return strings.Contains(c.Broken, "refused") }); got.Broken == "" {
		t.Error("not broken")
	}
	again := start(t, Options{Self: "b", Listen: b.address, Peers: map[string]string{"a": a.address}})
	again.Publish([]byte("second life"), true)
	a.hears(t, "b", "second life")
	a.Publish([]byte("welcome"), true)
	again.hears(t, "a", "welcome")
}

// TestDroppedConnectionIsNotDeath cuts the connections between two nodes that live on.
func TestDroppedConnectionIsNotDeath(t *testing.T) {
	b := start(t, Options{Self: "b"})
	proxy := newProxy(t, b.address)
	a := start(t, Options{Self: "a"})
	b.Configure(map[string]string{"a": a.address})
	a.Configure(map[string]string{"b": proxy.address})
	a.Publish([]byte("0"), true)
	b.Publish([]byte("from b"), true)
	b.hears(t, "a", "0")
	a.hears(t, "b", "from b")
	var broke atomic.Bool
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-a.Changed():
				if a.Contacts()["b"].Broken != "" {
					broke.Store(true)
				}
			case <-stop:
				return
			}
		}
	}()
	for i := range 5 {
		before := proxy.accepted.Load()
		proxy.cut()
		text := fmt.Sprint(i + 1)
		a.Publish([]byte(text), true)
		b.hears(t, "a", text)
		if proxy.accepted.Load() == before {
			t.Error("the connection was not made anew")
		}
	}
	close(stop)
	<-done
	if broke.Load() {
		t.Error("a dropped connection passed for a dead node")
	}
}

// TestSilentListenerIsNotBroken has one that accepts and never reads or writes: silence says nothing here.
func TestSilentListenerIsNotBroken(t *testing.T) {
	var calls atomic.Int64
	address := mute(t, func(net.Conn) { calls.Add(1) })
	a := start(t, Options{Self: "a", Peers: map[string]string{"b": address}, Heartbeat: 10 * time.Millisecond, Suspicion: 40 * time.Millisecond})
	for i := range 5 {
		a.Publish(fmt.Append(nil, i), true)
	}
	a.await(t, "b", "called again", func(Contact) bool { return calls.Load() >= 2 })
	if c := a.Contacts()["b"]; c.Broken != "" {
		t.Errorf("broken: %s", c.Broken)
	}
}

// TestHungNodeGetsFewOldMessages has one that introduces itself, and then neither reads nor writes any more.
func TestHungNodeGetsFewOldMessages(t *testing.T) {
	type seen struct{ messages, calls int }
	got := make(chan seen, 16)
	var calls atomic.Int64
	released := make(chan struct{})
	address := mute(t, func(c net.Conn) {
		n := int(calls.Add(1))
		_ = writeGreeting(c, "b")
		_, _ = readGreeting(c)
		_ = writeFrame(c, kindWelcome, nil)
		<-released
		for messages := 0; ; messages++ {
			if _, err := readFrame(c, Limit); err != nil {
				got <- seen{messages, n}
				return
			}
		}
	})
	a := start(t, Options{Self: "a", Peers: map[string]string{"b": address}, Heartbeat: 5 * time.Millisecond, Suspicion: 50 * time.Millisecond})
	for i := 0; calls.Load() < 2; i++ { // the first was given up
		a.Publish(fmt.Append(nil, i), true)
		a.await(t, "b", "tried", func(c Contact) bool { return c.Broken == "" })
	}
	close(released)
	if s := <-got; s.messages < 1 || s.messages > window {
		t.Errorf("call %d had %d messages on the way", s.calls, s.messages)
	}
}

func TestClosingListenerIsEvidence(t *testing.T) {
	address := mute(t, func(c net.Conn) { c.Close() })
	a := start(t, Options{Self: "a", Peers: map[string]string{"b": address}})
	if got := a.await(t, "b", "broken", broken); got.Broken != "b closed the connection ("+address+")" {
		t.Errorf("broken: %s", got.Broken)
	}
}

// TestSpeakingNodeIsNotBroken has a node that refuses connections, but sends.
func TestSpeakingNodeIsNotBroken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	a := start(t, Options{Self: "a", Peers: map[string]string{"b": nobody}})
	a.await(t, "b", "broken", broken)
	b := start(t, Options{Self: "b", Peers: map[string]string{"a": a.address}, Heartbeat: 5 * time.Millisecond})
	b.Publish([]byte("alive"), false)
	first := a.hears(t, "b", "alive")
	a.await(t, "b", "heard 30 times", func(c Contact) bool {
		if c.Broken != "" {
			t.Fatalf("broken while it speaks: %s", c.Broken)
		}
		return c.Serial > first.Serial+30
	})
	b.kill()
	a.await(t, "b", "broken", broken)
}

func TestConfigure(t *testing.T) {
	nodes := mesh(t, plain, "a", "b", "c")
	a, b, c := nodes[0], nodes[1], nodes[2]
	b.Publish([]byte("b"), true)
	a.hears(t, "b", "b")
	a.Configure(map[string]string{"c": c.address})
	if _, there := a.Contacts()["b"]; there {
		t.Error("b is still there")
	}
	a.Publish([]byte("to c"), true)
	c.hears(t, "a", "to c")
	if m := b.Contacts()["a"].Message; string(m) == "to c" {
		t.Error("b heard it too")
	}
	// It comes back at another address.
	b.kill()
	moved := start(t, Options{Self: "b", Peers: map[string]string{"a": a.address}})
	moved.Publish([]byte("moved"), true)
	a.Configure(map[string]string{"b": b.address, "c": c.address})
	a.Configure(map[string]string{"b": moved.address, "c": c.address})
	a.hears(t, "b", "moved")
	moved.hears(t, "a", "to c")
}

func TestTooLongIsNotSent(t *testing.T) {
	nodes := mesh(t, plain, "a", "b")
	a, b := nodes[0], nodes[1]
	long := bytes.Repeat([]byte("x"), Limit)
	a.Publish(long, true)
	b.await(t, "a", "heard", func(c Contact) bool { return bytes.Equal(c.Message, long) })
	a.Publish(append(long, 'x'), true)
	a.Publish([]byte("short"), true)
	b.hears(t, "a", "short")
}

func TestPublishNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{Self: "a", Peers: map[string]string{"b": "127.0.0.1:1", "c": "127.0.0.1:1"}})
		for i := range 1000 { // nobody runs it
			l.Publish(fmt.Append(nil, i), i%2 == 0)
		}
		if m, err := l.newest(l.nodes["b"], 0); err != nil || string(m.message) != "999" || m.serial != 1000 || !m.urgent {
			t.Errorf("newest: %+v, %v", m, err)
		}
	})
}

func TestRunNeedsItsAddress(t *testing.T) {
	a := start(t, Options{Self: "a"})
	if err := New(Options{Self: "b", Listen: a.address}).Run(t.Context()); err == nil {
		t.Error("two listen at one address")
	}
}

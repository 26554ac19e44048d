package node

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/control"
	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/decide/plan"
	"github.com/backstay/backstay/internal/observe/peer"
)

// A handCarrier holds what a test puts there.
type handCarrier struct {
	mu       sync.Mutex
	contacts map[string]peer.Contact
	sent     [][]byte
	changed  chan struct{}
}

func (h *handCarrier) Publish(message []byte, _ bool) { h.sent = append(h.sent, message) }
func (h *handCarrier) Changed() <-chan struct{}       { return h.changed }
func (h *handCarrier) Contacts() map[string]peer.Contact {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.contacts)
}

// bring has text arrive from a node, and returns when it did.
func (h *handCarrier) bring(node, text string) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.contacts[node]
	now := time.Now()
	h.contacts[node] = peer.Contact{Message: []byte(text), Serial: c.Serial + 1, Received: now}
	return now
}

func report(t *testing.T, node, boot string, seq uint64) string {
	t.Helper()
	text, err := json.Marshal(control.Message{Node: node, Boot: boot, Seq: seq})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPeersKeepTheNewest(t *testing.T) {
	h := &handCarrier{contacts: map[string]peer.Contact{"c": {}}}
	p := newPeers(h, nil)
	if all := p.Contacts(); len(all) != 0 {
		t.Errorf("contacts with nobody: %v", all)
	}
	var at time.Time
	for _, step := range []struct {
		boot string
		seq  uint64
		want string
		new  bool
	}{
		{"one", 5, "one5", true},
		{"one", 4, "one5", false},
		{"one", 5, "one5", false}, // the same again: the link lives, which says nothing of the control
		{"one", 6, "one6", true},
		{"two", 1, "two1", true},
		{"one", 7, "two1", false}, // was on the way for long
		{"two", 2, "two2", true},
		{"three", 1, "three1", true},
		{"one", 8, "three1", false},
		{"two", 3, "three1", false},
	} {
		now := h.bring("b", report(t, "b", step.boot, step.seq))
		if step.new {
			at = now
		}
		c := p.Contacts()["b"]
		if got := c.Message.Boot + string('0'+rune(c.Message.Seq)); got != step.want || !c.Received.Equal(at) {
			t.Errorf("after %s %d: %s, received %v; want %s, %v", step.boot, step.seq, got, c.Received, step.want, at)
		}
	}
	if n := len(p.known["b"].retired); n != 2 {
		t.Errorf("%d boots remembered", n)
	}
	for i := range 3 * retiredBoots {
		h.bring("b", report(t, "b", strings.Repeat("x", i+1), 1))
		p.Contacts()
	}
	if n := len(p.known["b"].retired); n != retiredBoots {
		t.Errorf("%d boots remembered", n)
	}
}

func TestPeersDoNotUseWhatIsNotAReport(t *testing.T) {
	var log bytes.Buffer
	h := &handCarrier{contacts: map[string]peer.Contact{}}
	p := newPeers(h, slog.New(slog.NewTextHandler(&log, nil)))
	h.bring("b", report(t, "b", "one", 1))
	p.Contacts()
	for _, text := range []string{"", "{", "[]", `{"node":"c","boot":"two","seq":9}`, `{"node":"b","seq":9}`, `{"node":"b","boot":"one"}`} {
		h.bring("b", text)
		p.Contacts()
		h.bring("b", text)
		if c := p.Contacts()["b"]; c.Message.Boot != "one" || c.Message.Seq != 1 {
			t.Errorf("%s: %+v", text, c)
		}
	}
	if n := strings.Count(log.String(), "\n"); n < 4 || n > 6 {
		t.Errorf("%d lines in the log:\n%s", n, log.String())
	}
	h.bring("b", report(t, "b", "one", 2))
	if c := p.Contacts()["b"]; c.Message.Seq != 2 {
		t.Errorf("afterwards: %+v", c)
	}
}

func TestPeersTellOfBrokenAndGoneNodes(t *testing.T) {
	h := &handCarrier{contacts: map[string]peer.Contact{"b": {Broken: "connection refused by b"}}}
	p := newPeers(h, nil)
	if c := p.Contacts()["b"]; c.Broken == "" || !c.Received.IsZero() {
		t.Errorf("never heard of, and refused: %+v", c)
	}
	h.bring("b", report(t, "b", "one", 1))
	if c := p.Contacts()["b"]; c.Broken != "" || c.Received.IsZero() {
		t.Errorf("heard: %+v", c)
	}
	h.contacts = map[string]peer.Contact{}
	if all := p.Contacts(); len(all) != 0 || len(p.known) != 0 {
		t.Errorf("removed: %v, %v", all, p.known)
	}
}

// TestPeersOverSockets carries a whole report between two nodes.
func TestPeersOverSockets(t *testing.T) {
	links, addresses := map[string]*peer.Link{}, map[string]string{}
	for _, name := range []string{"a", "b"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l := peer.New(peer.Options{Self: name, Heartbeat: 20 * time.Millisecond})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- l.Serve(ctx, listener) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		links[name], addresses[name] = l, listener.Addr().String()
	}
	for _, l := range links {
		l.Configure(addresses)
	}
	var a, b control.Peers = newPeers(links["a"], nil), newPeers(links["b"], nil)
	m := control.Message{
		Node: "a", Boot: "one", Seq: 7, Heard: map[string]control.Echo{"b": {Boot: "x", Seq: 3}},
		Services: map[string]failover.Report{"db": {
			Node: "a", Epoch: 4, Observed: true, Idle: time.Second, Serving: true, Store: true,
			Observation: plan.Observation{Node: "a", Running: true, Role: plan.Primary, Position: 1 << 40, Epoch: 4},
			Suspects:    map[string]string{"b": "silent"},
		}},
	}
	a.Publish(m, true)
	deadline := time.After(time.Minute)
	for b.Contacts()["a"].Received.IsZero() {
		select {
		case <-b.Changed():
		case <-deadline:
			t.Fatal("nothing arrives")
		}
	}
	if got := b.Contacts()["a"].Message; !reflect.DeepEqual(got, m) {
		t.Errorf("arrived:\n%+v\nsent:\n%+v", got, m)
	}
}

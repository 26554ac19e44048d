package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/cluster/trust"
)

// dirs makes a cluster's certificates for nodes.
func dirs(t *testing.T, names ...string) map[string]string {
	t.Helper()
	all, ca := map[string]string{}, ""
	for i, name := range names {
		dir := filepath.Join(t.TempDir(), name)
		if i == 0 {
			if err := trust.Init(dir, "shop", trust.Node{Name: name}); err != nil {
				t.Fatal(err)
			}
			ca = dir
		} else {
			if err := errors.Join(os.CopyFS(dir, os.DirFS(ca)), trust.Issue(dir, trust.Node{Name: name}, 0)); err != nil {
				t.Fatal(err)
			}
		}
		all[name] = dir
	}
	return all
}

func secure(dir string) Options {
	return Options{
		Server: func() (*tls.Config, error) { return trust.ServerTLS(dir) },
		Client: func(node string) (*tls.Config, error) { return trust.ClientTLS(dir, node) },
	}
}

func TestMutualTLS(t *testing.T) {
	all := dirs(t, "a", "b", "c")
	nodes := mesh(t, func(name string) Options { return secure(all[name]) }, "a", "b", "c")
	for _, n := range nodes {
		n.Publish([]byte("of "+n.name), true)
	}
	for _, n := range nodes {
		for _, other := range nodes {
			if n != other {
				n.hears(t, other.name, "of "+other.name)
			}
		}
	}
	began := time.Now()
	nodes[1].kill()
	nodes[0].await(t, "b", "broken", broken)
	t.Logf("with TLS: broken after %v", time.Since(began))
}

func TestWrongCertificates(t *testing.T) {
	ours, theirs := dirs(t, "a", "b", "c"), dirs(t, "b")
	for name, dir := range map[string]string{"of another node": ours["c"], "of another cluster": theirs["b"]} {
		t.Run(name, func(t *testing.T) {
			o := secure(ours["a"])
			o.Self = "a"
			a := start(t, o)
			o = secure(dir)
			o.Self, o.Peers = "b", map[string]string{"a": a.address}
			b := start(t, o)
			a.Configure(map[string]string{"b": b.address})
			a.Publish([]byte("secret"), true)
			b.Publish([]byte("false"), true)
			for _, l := range []*Link{a.Link, b.Link} {
				node := map[string]string{"a": "b", "b": "a"}[l.o.Self]
				for range 3 {
					_, err := l.connect(t.Context(), node, map[string]string{"a": a.address, "b": b.address}[node])
					if err == nil || evidence(err, node, "") != "" {
						t.Errorf("%s to %s: %v", l.o.Self, node, err)
					}
				}
			}
			for node, p := range map[string]*process{"b": a, "a": b} {
				if c := p.Contacts()[node]; c.Message != nil || c.Broken != "" {
					t.Errorf("%s has of %s: %q, broken %q", p.name, node, c.Message, c.Broken)
				}
			}
		})
	}
}

func TestNodeWithItsCertificateCannotSpeakForAnother(t *testing.T) {
	all := dirs(t, "a", "b", "c")
	o := secure(all["a"])
	o.Self, o.Peers = "a", map[string]string{"b": "127.0.0.1:1", "c": "127.0.0.1:1"}
	a := start(t, o)
	thief := New(Options{Self: "b", Client: secure(all["c"]).Client})
	_, err := thief.connect(t.Context(), "a", a.address)
	if err == nil || !strings.Contains(err.Error(), `says it is node b, but shows a certificate of \"c\"`) {
		t.Errorf("error: %v", err)
	}
	bare := New(Options{Self: "b", Client: func(string) (*tls.Config, error) {
		config, err := trust.ClientTLS(all["b"], "a")
		config.GetClientCertificate = nil
		return config, err
	}})
	if _, err := bare.connect(t.Context(), "a", a.address); err == nil || evidence(err, "a", "") != "" {
		t.Errorf("without a certificate: %v", err)
	}
}

func TestStrangersAreToldWhy(t *testing.T) {
	a := start(t, Options{Self: "a", Peers: map[string]string{"b": "127.0.0.1:1"}})
	for _, name := range []string{"c", "a", strings.Repeat("long", 100)} {
		c := a.call(t, name)
		f, err := readFrame(c, shortFrame)
		if err != nil || f.kind != kindRefusal || !strings.Contains(string(f.payload), "does not know") {
			t.Errorf("%s: %c %q, %v", name, f.kind, f.payload, err)
		}
	}
	wrong := New(Options{Self: "b"})
	if _, err := wrong.connect(t.Context(), "c", a.address); err == nil || !strings.Contains(err.Error(), `node "a" is there`) {
		t.Errorf("error: %v", err)
	}
}

func TestGarbage(t *testing.T) {
	a := start(t, Options{Self: "a", Peers: map[string]string{"b": "127.0.0.1:1"}})
	random := make([]byte, 4096)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	huge := []byte{kindGreeting, 0xff, 0xff, 0xff, 0xff}
	for name, text := range map[string][]byte{
		"http": []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "random": random, "huge": huge, "half": {kindGreeting, 0, 0, 0, 90, 'b'},
		"no magic": {kindGreeting, 0, 0, 0, 1, 'b'}, "no name": append([]byte{kindGreeting, 0, 0, 0, byte(len(magic))}, magic...),
	} {
		c, err := net.Dial("tcp", a.address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(text)
		_ = c.(*net.TCPConn).CloseWrite()
		_ = c.SetDeadline(time.Now().Add(patience))
		said, err := io.ReadAll(c)
		if err != nil && !strings.Contains(err.Error(), "reset") || bytes.Contains(said, []byte{kindWelcome, 0, 0, 0, 0}) {
			t.Errorf("%s: %q, %v", name, said, err)
		}
		c.Close()
	}
	for name, text := range map[string][]byte{
		"kind": {'?', 0, 0, 0, 0}, "huge": {kindMessage, 0xff, 0, 0, 0}, "another greeting": {kindGreeting, 0, 0, 0, 1, 'b'},
	} {
		c := a.join(t, "b")
		if _, err := c.Write(text); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s after the welcome: %v", name, err)
		}
	}
	if m := a.Contacts()["b"].Message; m != nil {
		t.Errorf("got %q", m)
	}
}

// TestAnnouncedLengthIsNotBelieved has one that announces long messages and does not send them.
func TestAnnouncedLengthIsNotBelieved(t *testing.T) {
	head := binary.BigEndian.AppendUint32([]byte{kindMessage}, Limit)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, err := readFrame(bytes.NewReader(append(head, "short"...)), Limit); err == nil {
			t.Fatal("a message that is cut short")
		}
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / 100; got > 64<<10 {
		t.Errorf("%d bytes for one", got)
	}
}

// TestManyStrangersDoNotKeepNodesOut has more of them than there is place, and they say nothing.
func TestManyStrangersDoNotKeepNodesOut(t *testing.T) {
	nodes := mesh(t, plain, "a", "b")
	a, b := nodes[0], nodes[1]
	a.Configure(map[string]string{"b": b.address, "c": "127.0.0.1:1"})
	for range 2 * lobbySize {
		c, err := net.Dial("tcp", a.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if err := writeFrame(a.join(t, "c"), kindUrgent, []byte("in")); err != nil {
		t.Fatal(err)
	}
	a.hears(t, "c", "in")
	b.Publish([]byte("still there"), true)
	a.hears(t, "b", "still there")
	a.lobby.mu.Lock()
	defer a.lobby.mu.Unlock()
	if len(a.lobby.conns) > lobbySize {
		t.Errorf("%d are waiting", len(a.lobby.conns))
	}
}

// TestOldConnectionDoesNotSpeakAfterTheNew has messages arrive on a connection that was replaced.
func TestOldConnectionDoesNotSpeakAfterTheNew(t *testing.T) {
	a := start(t, Options{Self: "a", Peers: map[string]string{"b": "127.0.0.1:1"}})
	older := a.join(t, "b")
	if err := writeFrame(older, kindUrgent, []byte("1")); err != nil {
		t.Fatal(err)
	}
	a.hears(t, "b", "1")
	newer := a.join(t, "b")
	if err := writeFrame(newer, kindUrgent, []byte("2")); err != nil {
		t.Fatal(err)
	}
	a.hears(t, "b", "2")
	_ = writeFrame(older, kindUrgent, []byte("1 again"))
	var buf [16]byte
	n, err := io.ReadFull(older, buf[:])
	if n > 1 || err == nil {
		t.Errorf("%d messages of the older connection were taken, %v", n, err)
	}
	if err := writeFrame(newer, kindUrgent, []byte("3")); err != nil {
		t.Fatal(err)
	}
	a.hears(t, "b", "3")
	if c := a.Contacts()["b"]; c.Serial != 3 {
		t.Errorf("%d messages", c.Serial)
	}
}

// TestFalseAcks has one that acknowledges what was never sent.
func TestFalseAcks(t *testing.T) {
	for _, text := range []string{strings.Repeat(string(rune(ack)), 8), "?"} {
		lost := make(chan struct{}, 64)
		address := mute(t, func(c net.Conn) {
			_ = writeGreeting(c, "b")
			_, _ = readGreeting(c)
			_ = writeFrame(c, kindWelcome, nil)
			_, _ = io.WriteString(c, text)
			_, _ = io.Copy(io.Discard, c)
			select {
			case lost <- struct{}{}:
			default:
			}
		})
		start(t, Options{Self: "a", Peers: map[string]string{"b": address}})
		<-lost
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{kindMessage, 0, 0, 0, 1, 'x'})
	f.Add(append([]byte{kindGreeting, 0, 0, 0, 17}, magic+"b"...))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := readFrame(bytes.NewReader(text), Limit)
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeFrame(&again, got.kind, got.payload); err != nil || !bytes.HasPrefix(text, again.Bytes()) {
			t.Errorf("%q reads as %c %q, %v", text, got.kind, got.payload, err)
		}
		_, _ = readGreeting(bytes.NewReader(text))
	})
}

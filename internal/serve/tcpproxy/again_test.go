package tcpproxy

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/backstay/backstay/internal/observe/resolve"
	"github.com/backstay/backstay/internal/serve/reach"
)

// primaries is a configuration of a service whose members are one primary after the other.
const primaries = `
nodes: [{name: a, address: 127.0.0.1}, {name: b, address: 127.0.0.2}]
services: [{name: s, engine: {postgres: {nodes: [a, b]}}, hold: 10s}]
listeners: [{name: in, listen: '127.0.0.1:1', service: s}]
`

func (k *kit) primary(name, address string) {
	c := k.snapshot.Load().Config.Services[0]
	c.Outlier.Off, c.Breaker.Off, c.OnMemberDown, c.DrainTimeout, c.Balance.SlowStart = true, true, "cut", 0, 0
	k.pools["s"].Set(c, []resolve.Endpoint{{Name: name, Address: address, Weight: 1}})
}

// Until a primary has answered, what its client has said is said to the next one.
func TestUnansweredSessionGoesToTheNextPrimary(t *testing.T) {
	heard := make(chan string, 10)
	breaks := member(t, func(c *net.TCPConn) {
		b := make([]byte, 5)
		_, _ = io.ReadFull(c, b)
		heard <- string(b)
		reach.Reset(c)
	})
	hangs := member(t, func(c *net.TCPConn) {
		b := make([]byte, 5)
		_, _ = io.ReadFull(c, b)
		heard <- string(b)
		_, _ = c.Read(b)
	})
	good := member(t, says("good "))
	for name, first := range map[string]string{"breaks off": breaks, "hangs": hangs} {
		t.Run(name, func(t *testing.T) {
			k := start(t, primaries)
			k.primary("a", first)
			c := k.dial()
			if _, err := io.WriteString(c, "hello"); err != nil {
				t.Fatal(err)
			}
			if got := <-heard; got != "hello" {
				t.Fatalf("the first heard %q", got)
			}
			k.primary("b", good)
			if got := read(t, c, 10); got != "good hello" {
				t.Errorf("%q", got)
			}
			if got := ask(t, c, "more"); got != "more" {
				t.Errorf("%q", got)
			}
		})
	}
	t.Run("answered", func(t *testing.T) {
		k := start(t, primaries)
		k.primary("a", member(t, func(c *net.TCPConn) {
			_, _ = io.WriteString(c, "x")
			_, _ = c.Read(make([]byte, 5))
			reach.Reset(c)
		}))
		c := k.dial()
		read(t, c, 1)
		k.primary("b", good)
		if b, err := io.ReadAll(c); err == nil {
			t.Errorf("an answered session goes on: %q", b)
		}
	})
	t.Run("a request behind the first packet", func(t *testing.T) {
		k := start(t, primaries)
		took := make(chan bool, 1)
		said := "\x00\x00\x00\x08login" + "request"
		k.primary("a", member(t, func(c *net.TCPConn) {
			_, _ = io.ReadFull(c, make([]byte, len(said)))
			took <- true
			_, _ = c.Read(make([]byte, 1))
		}))
		c := k.dial()
		if _, err := io.WriteString(c, said); err != nil {
			t.Fatal(err)
		}
		<-took
		k.primary("b", good)
		if b, err := io.ReadAll(c); err == nil {
			t.Errorf("the request is sent again: %q", b)
		}
	})
	t.Run("more than is kept", func(t *testing.T) {
		k := start(t, primaries)
		took := make(chan bool, 1)
		k.primary("a", member(t, func(c *net.TCPConn) {
			_, _ = io.ReadFull(c, make([]byte, maxKept+1))
			took <- true
			_, _ = c.Read(make([]byte, 1))
		}))
		c := k.dial()
		if _, err := io.WriteString(c, strings.Repeat("x", maxKept+1)); err != nil {
			t.Fatal(err)
		}
		<-took
		k.primary("b", good)
		if b, err := io.ReadAll(c); err == nil {
			t.Errorf("it goes on without its beginning: %q", b)
		}
	})
}

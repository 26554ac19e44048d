package httpproxy

import (
	"context"
	"fmt"
	"testing"
)

func (k *kit) parked(want int) {
	k.t.Helper()
	eventually(k.t, fmt.Sprintf("%d connections are parked", want), func() bool {
		k.server.lot.mu.Lock()
		defer k.server.lot.mu.Unlock()
		return k.server.lot.count == want
	})
}

// TestParking: connections that idle give up their goroutines, and go on as if nothing had been.
func TestParking(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
listeners:
  - listen: 127.0.0.1:0
    tls: {certificates: [{cert: %q, key: %q}]}
    routes: [{service: web}]
`
	const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	t.Parallel()
	b := newBackend(t, answering(okAnswer))
	cert, key := certificate(t)
	plain, secure := start(t, oneService, b.addr), start(t, yaml, b.addr, cert, key)
	a, silent, c := plain.dial(), plain.dial(), dialTLS(t, secure.addr)
	a.send(get).expect(okAnswer)
	c.send(get).expect(okAnswer)
	plain.parked(2)
	secure.parked(1)
	for range 3 {
		a.send(get).expect(okAnswer)
		c.send(get).expect(okAnswer)
	}
	silent.send("GET / HT") // awake again, with half a head
	plain.parked(0)
	silent.send("TP/1.1\r\nHost: a\r\n\r\n").expect(okAnswer)
	plain.parked(2)
	secure.parked(1)
	_ = silent.Close()
	plain.parked(1)
	plain.stop()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := plain.server.Drain(ctx); err != nil {
		t.Error(err)
	}
	if rest := a.rest(); rest != "" {
		t.Errorf("got %q", rest)
	}
}

// TestParkedConnectionsEnd: by the idle timeout, though nothing is said on them.
func TestParkedConnectionsEnd(t *testing.T) {
	t.Parallel()
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
listeners:
  - listen: 127.0.0.1:0
    timeout: {idle: 1500ms}
    routes: [{service: web}]
`
	b := newBackend(t, answering(okAnswer))
	k := start(t, yaml, b.addr)
	w := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect(okAnswer)
	k.parked(1)
	if rest := w.rest(); rest != "" {
		t.Errorf("got %q", rest)
	}
	k.parked(0)
}

package httpproxy

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

const hedged = `
services:
  - name: web
    members: [{name: a, address: %q}, {name: b, address: %q}]
    balance: round_robin
    outlier: off
    breaker: off
    hedge: {quantile: 90%%, after: 5ms}
    timeout: {first_byte: 10m}
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`

// TestHedge: when one member of two begins to hang, requests that reach it are answered by the other.
func TestHedge(t *testing.T) {
	var hangs atomic.Bool
	var left atomic.Int32
	a := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		if hangs.Load() {
			select {
			case <-r.Context().Done():
				left.Add(1)
			case <-time.After(patience):
			}
		}
		fmt.Fprint(w, "a ", r.URL.Path)
	})
	b := newWebServer(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "b ", r.URL.Path) })
	k := start(t, hedged, a.address(), b.address())
	for i := range 150 { // as many as it takes to know what is unusual
		if res, body := k.ask("GET", fmt.Sprint("/", i)); res.StatusCode != 200 || body[1:] != fmt.Sprint(" /", i) {
			t.Fatalf("%d %q", res.StatusCode, body)
		}
	}
	time.Sleep(350 * time.Millisecond)
	hangs.Store(true)
	before := a.asked.Load()
	for i := range 20 {
		if res, body := k.ask("GET", fmt.Sprint("/", i)); res.StatusCode != 200 || body != fmt.Sprint("b /", i) {
			t.Errorf("%d %q", res.StatusCode, body)
		}
	}
	nothingInFlight(t, k) // so that a has seen all that it will see
	lost := a.asked.Load() - before
	eventually(t, "the requests that lost are cancelled", func() bool { return left.Load() == lost })
	if lost < 10 {
		t.Errorf("%d requests lost", lost)
	}
	asked := a.asked.Load() + b.asked.Load()
	hangs.Store(false)
	for range 10 {
		k.ask("POST", "/")
	}
	if n := a.asked.Load() + b.asked.Load() - asked; n != 10 {
		t.Errorf("10 POST requests were made %d times", n)
	}
	nothingInFlight(t, k)
}

// TestHedgeBothSlow: with both slow at random, every request has exactly one answer, its own.
func TestHedgeBothSlow(t *testing.T) {
	var n atomic.Int32
	slow := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if i := n.Add(1); i > 150 {
				time.Sleep(time.Duration(i*7%13) * time.Millisecond)
			}
			fmt.Fprint(w, r.URL.Path)
		}
	}
	k := start(t, hedged, newWebServer(t, slow("a")).address(), newWebServer(t, slow("b")).address())
	for i := range 450 {
		if i == 150 {
			time.Sleep(350 * time.Millisecond)
		}
		if res, body := k.ask("GET", fmt.Sprint("/", i)); res.StatusCode != 200 || body != fmt.Sprint("/", i) {
			t.Errorf("%d: %d %q", i, res.StatusCode, body)
		}
	}
	nothingInFlight(t, k)
}

// nothingInFlight waits until all that was begun on members was ended: clients have their answers a little before.
func nothingInFlight(t *testing.T, k *kit) {
	t.Helper()
	eventually(t, "nothing is in flight", func() bool { return k.pool("web").Status().InFlight == 0 })
}

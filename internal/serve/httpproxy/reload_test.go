package httpproxy

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
)

const adjusted = `
services:
  - name: web
    members: [{address: %q}]
    hold: 0s
    retry: 1
    outlier: off
    breaker: off
%s
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
%s
`

// TestPoliciesAreAdjustedLive changes by a reload the policies that requests meet before they come to a pool, while they have something
// to lose; those of the pool have a test of the same name there.
func TestPoliciesAreAdjustedLive(t *testing.T) {
	const off = "modes: [{name: less, service: web, respond: {status: 203, body: %s}}]"
	type want struct {
		status int
		body   string
		asked  int32 // how often the member was
	}
	tests := []struct {
		name              string
		service, service2 string // before and after
		modes, modes2     string
		before            []want
		turn              string // a mode that is turned on before the reload
		fails             bool   // the member answers 500
		after             []want
	}{
		{
			name:    "rate: the bucket is not full again",
			service: "    rate: {requests: 1/h, burst: 2}", service2: "    rate: {requests: 2/h, burst: 50}",
			before: []want{{200, "web", 1}, {200, "web", 2}}, after: []want{{429, "", 2}},
		},
		{
			name:    "rate: what is left is there",
			service: "    rate: {requests: 1/h, burst: 3}", service2: "    rate: {requests: 2/h, burst: 50}",
			before: []want{{200, "web", 1}, {200, "web", 2}}, after: []want{{200, "web", 3}, {429, "", 3}},
		},
		{
			name:    "rate: nor is that of a client",
			service: "    rate: {requests: 1/h, burst: 1, per: client}", service2: "    rate: {requests: 2/h, burst: 5, per: client, keys: 50}",
			before: []want{{200, "web", 1}, {429, "", 1}}, after: []want{{429, "", 1}},
		},
		{
			name:    "rate: taken away, nobody is refused",
			service: "    rate: {requests: 1/h, burst: 1}",
			before:  []want{{200, "web", 1}, {429, "", 1}}, after: []want{{200, "web", 2}},
		},
		{
			name:  "modes: one that is on by hand stays on, with its new answer",
			modes: fmt.Sprintf(off, "less"), modes2: fmt.Sprintf(off, "nothing"),
			turn: "less", before: []want{{203, "less", 0}}, after: []want{{203, "nothing", 0}},
		},
		{
			name:    "modes: also where its condition is another",
			service: "    limit: {concurrency: 5}\n    shed: on", service2: "    limit: {concurrency: 5}\n    shed: on",
			modes: fmt.Sprintf(off, "less"), modes2: "modes: [{name: less, when: {shedding: web}, service: web, respond: {status: 203, body: less}}]",
			turn: "less", before: []want{{203, "less", 0}}, after: []want{{203, "less", 0}},
		},
		{
			name:  "modes: one that is gone spares nobody",
			modes: fmt.Sprintf(off, "less"),
			turn:  "less", before: []want{{203, "less", 0}}, after: []want{{200, "web", 1}},
		},
		{
			name:    "fallback: the next failure gets the new one",
			service: "    fallback: [{respond: {status: 203, body: one}}]", service2: "    fallback: [{respond: {status: 206, body: two}}]",
			fails: true, before: []want{{203, "one", 1}}, after: []want{{206, "two", 2}},
		},
		{
			name:    "cache: what is stored stays",
			service: "    cache: 8MiB", service2: "    cache: {memory: 16MiB, max_entry: 1MiB}",
			before: []want{{200, "web", 1}, {200, "web", 1}}, after: []want{{200, "web", 1}},
		},
		{
			name:    "cache: taken away, the member is asked",
			service: "    cache: 8MiB",
			before:  []want{{200, "web", 1}, {200, "web", 1}}, after: []want{{200, "web", 2}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var asked atomic.Int32
			o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				w.Header().Set("Cache-Control", "max-age=3600")
				if tt.fails {
					w.WriteHeader(http.StatusInternalServerError)
				}
				fmt.Fprint(w, "web")
			})
			k := start(t, adjusted, o.address(), tt.service, tt.modes)
			if tt.turn != "" {
				if err := k.picture.Load().Modes.Turn(tt.turn, "on"); err != nil {
					t.Fatal(err)
				}
			}
			check := func(when string, all []want) {
				for i, want := range all {
					res, body := k.ask("GET", "/")
					if res.StatusCode != want.status || want.body != "" && body != want.body || asked.Load() != want.asked {
						t.Errorf("%s, request %d: %d %q, and the member was asked %d times; want %+v", when, i+1, res.StatusCode, body, asked.Load(), want)
					}
				}
			}
			check("before", tt.before)
			k.load(adjusted, o.address(), tt.service2, tt.modes2)
			check("after the reload", tt.after)
		})
	}
}

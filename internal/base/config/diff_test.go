package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	old := parse(t, `
services:
  - {name: web, members: ["10.0.0.1:80", "10.0.0.2:80", {name: c, address: "10.0.0.3:80"}], retry: 3, limit: 10}
  - {name: gone, members: ["10.0.1.1:80"]}
listeners:
  - listen: ":80"
    routes:
      - {name: a, match: /a, service: web, request_headers: {set: {K: one, L: same}}}
      - {name: b, match: /b, service: web}
      - {service: gone}
`)
	new := parse(t, `
services:
  - {name: new, members: ["10.0.2.1:80"], check: {http: /up}, retry: 1}
  - {name: web, members: ["10.0.0.2:80", {name: c, address: "10.0.0.4:80"}, {address: "10.0.0.5:80", weight: 2}], retry: 5, tls: {name: x}}
listeners:
  - listen: ":80"
    routes:
      - {name: b, match: {path: /b, method: [GET]}, service: web}
      - {name: a, match: /a, service: web, request_headers: {set: {K: two, L: same, M: x}}}
      - {service: web}
metrics: true
`)
	var lines []string
	for _, change := range Diff(old, new) {
		lines = append(lines, change.String())
	}
	want := `- services.gone: {name: gone, members: [{address: 10.0.1.1:80}]}
+ services.new: {name: new, members: [{address: 10.0.2.1:80}], check: {http: {path: /up}}, retry: {attempts: 1}}
- services.web.members.10.0.0.1:80: {address: 10.0.0.1:80}
~ services.web.members.c.address: 10.0.0.3:80 → 10.0.0.4:80
+ services.web.members.10.0.0.5:80: {address: 10.0.0.5:80, weight: 2}
~ services.web.retry.attempts: 3 → 5
- services.web.limit: {concurrency: 10}
+ services.web.tls: {name: x}
~ listeners.:80.routes.b.match.method: [] → [GET]
~ listeners.:80.routes.a.request_headers.set.K: "***" → "***"
+ listeners.:80.routes.a.request_headers.set.M: "***"
~ listeners.:80.routes.3.service: gone → web
~ listeners.:80.routes: in the order a, b, 3 → b, a, 3
+ metrics: {}`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestDiffOfNothing(t *testing.T) {
	_, c := everything(t)
	if changes := Diff(c, c); len(changes) > 0 {
		t.Errorf("with itself: %v", changes)
	}
	if changes := Diff(nil, nil); len(changes) > 0 {
		t.Errorf("nothing with nothing: %v", changes)
	}
	from, to := Diff(nil, c), Diff(c, nil)
	if len(from) == 0 || len(from) != len(to) {
		t.Errorf("%d changes from nothing, %d to nothing", len(from), len(to))
	}
	if text := fmt.Sprint(from); !strings.Contains(text, "+ services.web: {name: web") || !strings.Contains(text, "{env: API_KEY}") {
		t.Error(text)
	}
}

package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files and docs/configuration.md")

// Each file of testdata/broken is a configuration with mistakes, and what a person reads about them.
func TestBroken(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Parse("shop.yaml", archive.Files[0].Data)
			if err == nil {
				t.Fatalf("it parses: %+v", c)
			}
			got := []byte(err.Error() + "\n")
			if *update {
				archive.Files = append(archive.Files[:1], txtar.File{Name: "problems", Data: got})
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(archive.Files) != 2 || !bytes.Equal(got, archive.Files[1].Data) {
				t.Errorf("got:\n%s\nrun with -update if that is right; want:\n%s", got, archive.Files[len(archive.Files)-1].Data)
			}
			for _, problem := range err.(Problems) {
				if problem.Line == 0 || problem.Column == 0 {
					t.Errorf("no place: %v", problem)
				}
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	c := parse(t, `
services: [{name: web, members: [{address: "10.0.0.1:80"}], check: {http: {}}, limit: {concurrency: 5}}]
listeners: [{listen: ":80", routes: [{service: web, mirror: {service: web}}]}]
`)
	web := c.Services[0]
	if web.Members[0].Weight != 1 || web.Balance.Policy != "p2c" || !web.Balance.PreferZone || web.Balance.Panic != 50 {
		t.Errorf("balance: %+v %+v", web.Members[0], web.Balance)
	}
	if web.Check.HTTP.Path != "/" || !reflect.DeepEqual(web.Check.HTTP.Status, []string{"2xx", "3xx"}) || web.Check.Every != Duration(2*time.Second) {
		t.Errorf("check: %+v %+v", web.Check, web.Check.HTTP)
	}
	if web.Check.Down() != web.Check.Every {
		t.Errorf("a member that is down is looked at every %v", web.Check.Down())
	}
	if web.Retry.Body != 64<<10 || web.Retry.Budget != 20 || web.Limit.Queue != 100 || web.TLS != nil || web.Hold.Bytes != 16<<20 {
		t.Errorf("retry %+v, limit %+v, TLS %+v, hold %+v", web.Retry, web.Limit, web.TLS, web.Hold)
	}
	if l := c.Listeners[0]; !l.HTTP2 || l.Limits.Head != 32<<10 || l.Timeout.Idle != Duration(75*time.Second) || l.Routes[0].Mirror.Share != 100 {
		t.Errorf("listener: %+v", l)
	}
	if c.Metrics != nil || c.Tracing != nil || c.AccessLog.Mode != "off" || c.Shutdown.Drain != Duration(30*time.Second) || c.Cluster != "backstay" {
		t.Errorf("the rest: %+v", c)
	}
	if !reflect.DeepEqual(Default[Retry](), web.Retry) {
		t.Errorf("Default: %+v", Default[Retry]())
	}
}

func TestShortForms(t *testing.T) {
	short := parse(t, `
services:
  - name: web
    members: [10.0.0.1:80]
    balance: round_robin
    check: {http: /healthz, every: 1s}
    outlier: off
    breaker: false
    retry: 2
    limit: 100
    hold: 5s
    fallback: [respond: 503]
  - {name: mail, members: ["10.0.0.2:25"], check: {any: [tcp: true, grpc: mail.Health, exec: [/bin/check, -q]]}}
listeners:
  - listen: ":80"
    routes:
      - {match: /a, service: web, mirror: web}
      - {match: {method: GET}, respond: 204}
  - {listen: ":25", service: mail, tls: [{cert: a.crt, key: a.key}]}
metrics: 127.0.0.1:1234
access_log: full
tracing: http://127.0.0.1:4318
`)
	long := parse(t, `
services:
  - name: web
    members: [{address: "10.0.0.1:80"}]
    balance: {policy: round_robin}
    check: {http: {path: /healthz}, every: 1s}
    outlier: {off: true}
    breaker: {off: true}
    retry: {attempts: 2}
    limit: {concurrency: 100}
    hold: {for: 5s}
    fallback: [{respond: {status: 503}}]
  - name: mail
    members: [{address: "10.0.0.2:25"}]
    check: {any: [{tcp: {}}, {grpc: {service: mail.Health}}, {exec: {command: [/bin/check, "-q"]}}]}
listeners:
  - listen: ":80"
    routes:
      - {match: {path: /a}, service: web, mirror: {service: web}}
      - {match: {method: [GET]}, respond: {status: 204}}
  - {listen: ":25", service: mail, tls: {certificates: [{cert: a.crt, key: a.key}]}}
metrics: {listen: "127.0.0.1:1234"}
access_log: {mode: full}
tracing: {otlp: "http://127.0.0.1:4318"}
`)
	if !reflect.DeepEqual(short, long) {
		t.Errorf("they differ:\n%v", Diff(long, short))
	}
}

func TestAnchors(t *testing.T) {
	c := parse(t, `
x-defaults: &defaults
  check: &check {http: /healthz, every: 1s}
  retry: 2
services:
  - {<<: *defaults, name: web, members: ["10.0.0.1:80"]}
  - <<: [{retry: 5}, *defaults]
    name: api
    members: ["10.0.0.2:80"]
    check: {<<: *check, every: 3s}
`)
	web, api := c.Services[0], c.Services[1]
	if web.Retry.Attempts != 2 || web.Check.HTTP.Path != "/healthz" || web.Check.Every != Duration(time.Second) {
		t.Errorf("web: %+v %+v", web.Retry, web.Check)
	}
	if api.Retry.Attempts != 5 || api.Check.HTTP.Path != "/healthz" || api.Check.Every != Duration(3*time.Second) {
		t.Errorf("api: %+v %+v", api.Retry, api.Check)
	}
}

func TestColonsInPlainTexts(t *testing.T) {
	c := parse(t, `
services: [{name: a, members: [10.0.0.1:80, {address: b:80}, {address: unix:/run/x}, srv:_http._tcp.c], tls: {ca: c:d:e}}]
`)
	for i, want := range []string{"10.0.0.1:80", "b:80", "unix:/run/x", "srv:_http._tcp.c"} {
		if got := c.Services[0].Members[i].Address; got != want {
			t.Errorf("%q; want %q", got, want)
		}
	}
	if got := c.Services[0].TLS.CA; got != "c:d:e" {
		t.Errorf("%q", got)
	}
	asJSON := parse(t, `{"services":[{"name":"a","members":["b:80"],"retry":2,"outlier":{"off":true}}]}`)
	if a := asJSON.Services[0]; a.Retry.Attempts != 2 || !a.Outlier.Off || a.Members[0].Address != "b:80" {
		t.Errorf("JSON: %+v", a)
	}
}

func TestSharedDefaultsMaySayMoreThanNeeded(t *testing.T) {
	parse(t, `
x-defaults: &d {timeout: {first_byte: 3s}, retry: {on: [connect]}, fallback: [{respond: 503}]}
services: [{<<: *d, name: db, members: ["10.0.0.1:5432"]}]
listeners: [{listen: ":5432", service: db}]
`)
}

func TestAliasesOfAliasesAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("x-a: &a0 {tcp: true}\n")
	for i := 1; i <= 12; i++ {
		name, before := string(rune('a'+i)), string(rune('a'+i-1))
		if i == 1 {
			before = "a0"
		}
		b.WriteString("x-" + name + ": &" + name + " {all: [" + strings.TrimSuffix(strings.Repeat("*"+before+", ", 10), ", ") + "]}\n")
	}
	b.WriteString("services: [{name: web, members: [1.1.1.1:1], check: *m}]\n")
	_, err := Parse("bomb.yaml", []byte(b.String()))
	if err == nil || !strings.Contains(err.Error(), "too many values") {
		t.Fatalf("%v", err)
	}
}

func TestUnreadableFiles(t *testing.T) {
	for name, text := range map[string]string{
		"is empty":        "# nothing\n",
		"not valid UTF-8": "cluster: \xff\n",
		"larger than":     strings.Repeat("# a comment\n", maxFile/10),
		"too deeply here": "cluster: " + strings.Repeat("[", 100_000),
		"too deeply":      strings.Repeat("- ", 100_000),
		"nested":          "cluster: " + strings.Repeat("!!map ", 5000),
		"this is not":     "cluster: [a\n",
		"second document": "cluster: a\n---\ncluster: b\n",
		"a mapping":       "- a\n- b\n",
	} {
		if c, err := Parse("x.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("want %q: %+v, %v", name, c, err)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestProblemsHideSecrets(t *testing.T) {
	const word = "hunter2"
	for name, text := range map[string]string{
		"same line":      "tracing: {otlp: http://x:1, headers: {A: " + word + "}, sampel: 3}",
		"quoted":         "tracing: {otlp: http://x:1, headers: {A: \"" + word + "\"}, sampel: 3}",
		"misspelt":       "tracing: {otlp: http://x:1, haeders: {A: " + word + "}}",
		"wrong place":    "tracing: {otlp: http://x:1, headers: [" + word + "]}",
		"wrong shape":    "tracing: {otlp: http://x:1, headers: {A: {enw: " + word + "}}}",
		"not YAML":       "tracing: {otlp: http://x:1, headers: {Authorization: Bearer " + word + "",
		"misspelt alone": "listners: [{routes: [{request_headers: {set: {A: " + word + "}}}]}]",
		"line break":     "tracing: {otlp: http://x:1, headers: {A: \"" + word + "\\n\"}}",
		"several lines":  "tracing:\n  otlp: http://x:1\n  headers:\n    A: \"x\n      " + word + " \\n\"\n",
	} {
		_, err := Parse("x.yaml", []byte(text+"\n"))
		if err == nil {
			t.Errorf("%s: it parses", name)
		} else if strings.Contains(err.Error(), word) {
			t.Errorf("%s:\n%v", name, err)
		}
	}
}

func TestProblemsAsErrors(t *testing.T) {
	_, err := Parse("x.yaml", []byte("services:\n  - {name: web, members: [a:1], retry: 30}\n"))
	var problem Problem
	if !errors.As(err, &problem) {
		t.Fatalf("%T", err)
	}
	want := "x.yaml:2:40: services.web.retry.attempts: 30 is more than 10; it takes 1 to 10"
	if problem.Error() != want {
		t.Errorf("%q; want %q", problem.Error(), want)
	}
	if c := (&Config{Listeners: []Listener{{Listen: ":80", Service: "none"}}}); c.Validate() == nil {
		t.Error("a configuration made in memory with a dangling reference is valid")
	}
}

func TestManyProblemsAreCounted(t *testing.T) {
	text := "services:\n" + strings.Repeat("  - {nam: web}\n", 100)
	_, err := Parse("x.yaml", []byte(text))
	if err == nil || !strings.Contains(err.Error(), "more") || strings.Count(err.Error(), "\n") > 5*maxShown {
		t.Errorf("%v", err)
	}
}

func TestLookups(t *testing.T) {
	c := parse(t, `
nodes: [{name: par-1}]
services: [{name: web, members: [{name: a, address: "10.0.0.1:80"}, "10.0.0.2:80"]}]
listeners:
  - {name: http, listen: ":80", routes: [{match: /a, service: web}, {name: rest, service: web}]}
  - {listen: ":81", service: web}
  - {listen: ":82", sni: [{names: "*", service: web}]}
`)
	web, ok := c.Service("web")
	if !ok || web.Members[0].ID() != "a" || web.Members[1].ID() != "10.0.0.2:80" {
		t.Errorf("%+v", web)
	}
	if _, ok := c.Service("wbe"); ok {
		t.Error("a service that is not there is found")
	}
	for id, kind := range map[string]Kind{"http": HTTP, ":81": TCP, ":82": SNI} {
		if l, ok := c.Listener(id); !ok || l.Kind() != kind {
			t.Errorf("%s: %v", id, l)
		}
	}
	if l, _ := c.Listener("http"); l.RouteID(0) != "1" || l.RouteID(1) != "rest" {
		t.Errorf("routes: %s, %s", l.RouteID(0), l.RouteID(1))
	}
	if _, ok := c.Node("par-1"); !ok {
		t.Error("the node is not found")
	}
}

func TestCheckPieces(t *testing.T) {
	if got, err := (TCPCheck{Send: `PING\r\n\x00\\a`}).Bytes(); err != nil || string(got) != "PING\r\n\x00\\a" {
		t.Errorf("%q, %v", got, err)
	}
	for _, send := range []string{`\`, `\q`, `\x0`, `\xzz`} {
		if got, err := (TCPCheck{Send: send}).Bytes(); err == nil {
			t.Errorf("%q is %q", send, got)
		}
	}
	for text, want := range map[string][2]int{"200": {200, 200}, "2xx": {200, 299}, "5XX": {500, 599}, "200-399": {200, 399}} {
		if first, last, err := StatusRange(text); err != nil || first != want[0] || last != want[1] {
			t.Errorf("%s is %d to %d, %v", text, first, last, err)
		}
	}
	for _, text := range []string{"", "99", "600", "6xx", "300-200", "ok", "2x", "-", "200-"} {
		if first, last, err := StatusRange(text); err == nil {
			t.Errorf("%q is %d to %d", text, first, last)
		}
	}
}

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatalf("\n%v", err)
	}
	return c
}

func TestFallbackAnswersAtOnce(t *testing.T) {
	for hold, want := range map[string]Duration{"": 0, "hold: {requests: 5}": Duration(2 * time.Second), "hold: 3s": Duration(3 * time.Second)} {
		c, err := Parse("x.yaml", []byte("services:\n  - name: a\n    members: ['127.0.0.1:1']\n    fallback: [{respond: 200}]\n    "+hold+"\nlisteners: [{listen: ':80', routes: [{service: a}]}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Services[0].Hold.For; got != want {
			t.Errorf("with %q requests are held for %s, want %s", hold, got, want)
		}
	}
}

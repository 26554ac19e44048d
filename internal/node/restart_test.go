package node

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/cluster/versions"
	"github.com/backstay/backstay/internal/control"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/snapshot"
)

const threeNodes = `
cluster: shop
nodes: [{name: a, address: 10.0.0.1}, {name: b, address: 10.0.0.2}, {name: c, address: 10.0.0.3}]
store: {profile: lan}
services:
  - {name: web, members: [10.0.0.9:80]}
  - {name: db, engine: {postgres: {nodes: [a, b], parameters: {work_mem: 8MB}}}}
`

func parsed(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What a running node takes in, what waits for its next start, and what never can be.
func TestWhatARunningNodeTakesIn(t *testing.T) {
	c := parsed(t, threeNodes)
	n := &Node{options: Options{Data: t.TempDir(), Log: slog.New(slog.DiscardHandler)}, self: c.Nodes[0]}
	n.snapshot.Store(&snapshot.Snapshot{Config: c})
	s := &stateful{node: n, self: c.Nodes[0], control: control.New(control.Options{Self: "a", Store: cluster.NewMemory()})}
	s.declared.Store(c)
	n.stateful = s
	for _, change := range []struct{ old, new, restart, refused string }{
		{old: "10.0.0.9:80", new: "10.0.0.9:81"},
		{old: "[a, b]", new: "[b, c]"},
		{old: "work_mem: 8MB", new: "work_mem: 9MB"},
		{old: "parameters: {work_mem: 8MB}", new: "protection: max-performance, hold_down: 1m, no_failover: [b], max_lag: 1MiB, hba: ['host all x 10.0.0.0/8 trust']"},
		{old: "nodes: [{", new: "nodes: [{name: d, address: 10.0.0.4}, {"},
		{old: "  - {name: db, engine: {postgres: {nodes: [a, b], parameters: {work_mem: 8MB}}}}\n", new: "  - {name: cache, engine: {redis: {nodes: [a, b]}}}\n"},
		{old: "profile: lan", new: "profile: wan", restart: "store.profile"},
		{old: "profile: lan", new: "port: 7500", restart: "store.port"},
		{old: "[a, b],", new: "[a, b], port: 5999,", restart: "services.db.engine.postgres.port"},
		{old: "[a, b],", new: "[a, b], data: /x,", restart: "services.db.engine.postgres.data"},
		{old: "{name: a, address: 10.0.0.1}", new: "{name: a, address: 10.0.0.1, watchdog: {device: /dev/watchdog}}", restart: "nodes.a.watchdog"},
		{old: "cluster: shop", new: "cluster: shed", refused: "cannot become"},
		{old: "address: 10.0.0.2", new: "address: 10.0.0.22", refused: "does not move"},
		{old: "work_mem: 8MB", new: "fsync: 'off'", refused: "Backstay's to set"},
		{old: "postgres: {nodes: [a, b], parameters: {work_mem: 8MB}}", new: "redis: {nodes: [a, b]}", refused: "postgres cannot become redis"},
	} {
		text := strings.Replace(threeNodes, change.old, change.new, 1)
		if text == threeNodes {
			t.Fatalf("%q changes nothing", change.old)
		}
		err := n.compatible(parsed(t, text))
		var restart *needsRestart
		switch {
		case change.refused != "":
			if err == nil || errors.As(err, &restart) || !strings.Contains(err.Error(), change.refused) {
				t.Errorf("%q: %v", change.new, err)
			}
		case change.restart != "":
			if !errors.As(err, &restart) || fmt.Sprint(restart.what) != "["+change.restart+"]" {
				t.Errorf("%q: %v", change.new, err)
			}
		case err != nil:
			t.Errorf("%q: %v", change.new, err)
		}
	}
	if _, err := n.identify(parsed(t, strings.Replace(strings.Replace(threeNodes, "{name: a, address: 10.0.0.1}, ", "", 1), "[a, b]", "[b]", 1))); err == nil || !strings.Contains(err.Error(), "cluster leave") {
		t.Errorf("a configuration without this node: %v", err)
	}

	alone := &Node{options: n.options}
	alone.snapshot.Store(&snapshot.Snapshot{Config: c})
	if err := alone.compatible(c); err == nil || !strings.Contains(err.Error(), "backstay init") {
		t.Errorf("an engine on a node of no cluster: %v", err)
	}
}

// A node starts with its copy of the cluster's configuration, else with its file; one of them is enough.
func TestWhatANodeBeginsWith(t *testing.T) {
	dir := t.TempDir()
	file := dir + "/shop.yaml"
	o := Options{Data: dir, Config: file}
	if _, err := begin(o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("with nothing: %v", err)
	}
	if _, err := begin(Options{Data: dir}); err == nil || !strings.Contains(err.Error(), "--config") {
		t.Errorf("with nothing, and without --config: %v", err)
	}
	if err := os.WriteFile(file, []byte(threeNodes), 0o600); err != nil {
		t.Fatal(err)
	}
	sources := func(o Options) (out []string) {
		t.Helper()
		all, err := begin(o)
		if err != nil {
			t.Errorf("%+v: %v", o, err)
		}
		for _, l := range all {
			out = append(out, l.source)
		}
		return out
	}
	if got := fmt.Sprint(sources(o)); got != fmt.Sprint([]string{file}) {
		t.Errorf("with a file: %s", got)
	}
	v := versions.Version{Number: 7, ID: "x", Text: strings.Replace(threeNodes, "10.0.0.9", "10.0.0.8", 1)}
	if err := writeCopy(dir, v); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(sources(o)); got != fmt.Sprint([]string{"version 7 of the cluster", file}) {
		t.Errorf("with a copy and a file: %s", got)
	}
	if got := fmt.Sprint(sources(Options{Data: dir})); got != "[version 7 of the cluster]" {
		t.Errorf("with a copy: %s", got)
	}
	if o.differing(v) != file || o.differing(versions.Version{Text: threeNodes}) != "" || (Options{}).differing(v) != "" {
		t.Error("whether the file differs")
	}
	v.Text = "nonsense"
	if err := writeCopy(dir, v); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(sources(o)); got != fmt.Sprint([]string{file}) {
		t.Errorf("with a copy that cannot be read: %s", got)
	}
	if _, err := begin(Options{Data: dir}); err == nil || !strings.Contains(err.Error(), "version 7") {
		t.Errorf("with nothing but a copy that cannot be read: %v", err)
	}
}

// Metrics are kept of what the configuration in force has, and of nothing that it had once.
func TestMetricsOfWhatIsConfigured(t *testing.T) {
	n := &Node{pools: map[string]*pool.Service{"web": pool.NewService("web", pool.Options{})}}
	n.snapshot.Store(&snapshot.Snapshot{Config: parsed(t, `
services: [{name: web, members: [10.0.0.9:80]}]
listeners: [{name: in, listen: ":80", routes: [{name: api, match: /api, service: web}, {service: web}]}]
`)})
	for labels, want := range map[telemetry.Labels]bool{
		{Listener: "in"}: true,
		{Listener: "in", Route: "api", Service: "web"}:    true,
		{Listener: "in", Route: "2", Service: "web"}:      true,
		{Listener: "in", Route: "1", Service: "web"}:      false, // it has a name now
		{Listener: "in", Route: "former"}:                 false,
		{Listener: "former"}:                              false,
		{Listener: "former", Route: "api"}:                false,
		{Service: "web", Member: "10.0.0.9:80"}:           true,
		{Service: "former"}:                               false,
		{Listener: "in", Route: "api", Service: "former"}: false,
	} {
		if got := n.configured(labels); got != want {
			t.Errorf("%+v: %v", labels, got)
		}
	}
}

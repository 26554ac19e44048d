package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/operate/api"
)

// long is for what takes seconds on a machine that has nothing else to do.
const long = time.Minute

// crew is the nodes of a cluster on loopback addresses of their own.
type crew struct {
	t     *testing.T
	dir   string
	net   string // the first three bytes of the addresses
	nodes map[string]*process
}

// newCrew founds a cluster of the named nodes, which go by a file of their own each.
func newCrew(t *testing.T, names ...string) *crew {
	t.Helper()
	c := &crew{t: t, dir: t.TempDir(), net: fmt.Sprintf("127.%d.%d", 64+rand.IntN(128), rand.IntN(256)), nodes: map[string]*process{}}
	for i, name := range names {
		c.write(c.file(name), c.config(names, "10.0.0.1:80"))
		if i == 0 {
			c.ok("init", "--config", c.file(name), "--node", name, "--data", c.data(name))
		} else {
			c.join(names[0], name)
		}
		c.start(name, "--config", c.file(name))
		c.ready(name)
	}
	for _, name := range names {
		c.await("every node is a member, as "+name+" sees it", func() bool { return c.members(name) == len(names) })
	}
	return c
}

func (c *crew) file(name string) string { return filepath.Join(c.dir, name+".yaml") }
func (c *crew) data(name string) string { return filepath.Join(c.dir, name) }

func (c *crew) write(path, text string) {
	c.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// config is a configuration with these nodes and members of its service.
func (c *crew) config(names []string, members ...string) string {
	var b strings.Builder
	b.WriteString("cluster: shop\nstore: {profile: lan}\nnodes:\n")
	for _, name := range names {
		fmt.Fprintf(&b, "  - {name: %s, address: %s.%d}\n", name, c.net, name[0])
	}
	fmt.Fprintf(&b, "services: [{name: web, members: [%s]}]\n", strings.Join(members, ", "))
	return b.String()
}

// run runs a command and returns its exit code and what it printed.
func (c *crew) run(args ...string) (int, string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*long)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &out, append(os.Environ(), "SUDO_USER=ann")
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatalf("%v: %v", args, err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

func (c *crew) ok(args ...string) string {
	c.t.Helper()
	return c.exits(0, args...)
}

func (c *crew) exits(code int, args ...string) string {
	c.t.Helper()
	got, said := c.run(args...)
	if got != code {
		c.t.Fatalf("backstay %s exits with %d, not %d:\n%s", strings.Join(args, " "), got, code, said)
	}
	return said
}

// on names the node that a command is for.
func (c *crew) on(name string) string {
	return "--socket=" + filepath.Join(c.data(name), "admin.sock")
}

func (c *crew) join(by, name string, flags ...string) {
	c.t.Helper()
	token := strings.TrimSpace(c.ok(c.on(by), "cluster", "invite", "--for", name))
	c.ok(append([]string{"cluster", "join", token, "--config", c.file(name), "--node", name, "--data", c.data(name)}, flags...)...)
}

func (c *crew) start(name string, flags ...string) {
	c.t.Helper()
	c.nodes[name] = start(c.t, name, append([]string{binary, "run", "--node", name, "--data", c.data(name)}, flags...)...)
}

func (c *crew) status(name string) (api.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return api.Dial(filepath.Join(c.data(name), "admin.sock")).Status(ctx)
}

func (c *crew) await(what string, holds func() bool) {
	c.t.Helper()
	await(c.t, long, what, holds)
}

func (c *crew) ready(name string) {
	c.t.Helper()
	c.await(name+" is ready", func() bool {
		s, err := c.status(name)
		return err == nil && s.State == api.NodeReady
	})
}

// members is of how many voting members the store consists, as a node sees it.
func (c *crew) members(name string) (n int) {
	code, said := c.run(c.on(name), "cluster", "status", "--json")
	var s api.ClusterStatus
	if code != 0 || json.Unmarshal([]byte(said), &s) != nil {
		return 0
	}
	for _, m := range s.Members {
		if m.Answers && !m.Learner {
			n++
		}
	}
	return n
}

// uses waits until a node uses a version, and returns what it says of its configuration.
func (c *crew) uses(name string, version int) (s api.ConfigStatus) {
	c.t.Helper()
	c.await(fmt.Sprintf("%s uses version %d", name, version), func() bool {
		status, err := c.status(name)
		s = status.Config
		return err == nil && s.Version == version
	})
	return s
}

func (c *crew) has(said string, words ...string) {
	c.t.Helper()
	for _, w := range words {
		if !strings.Contains(said, w) {
			c.t.Errorf("nothing is said of %q:\n%s", w, said)
		}
	}
}

// TestApply: a configuration is put in force on every node at once, and a node that starts with an old file, or none, follows.
func TestApply(t *testing.T) {
	names := []string{"a", "b", "c"}
	c := newCrew(t, names...)
	next := filepath.Join(c.dir, "next.yaml")
	c.has(c.ok(c.on("a"), "history"), "no configuration was applied yet")

	// The first version: tried, then applied, on all nodes.
	c.write(next, c.config(names, "10.0.0.1:80", "10.0.0.2:80"))
	c.has(c.ok(c.on("b"), "apply", "--dry-run", next), "+ services.web.members.10.0.0.2:80", "nothing was changed")
	c.has(c.ok(c.on("a"), "history"), "no configuration was applied yet")
	said := c.ok(c.on("a"), "apply", "--yes", next, "-m", "two servers")
	c.has(said, "version 1 is applied", "a uses version 1", "b uses version 1", "c uses version 1")
	for _, name := range names {
		if s := c.uses(name, 1); s.Differs != c.file(name) || !strings.Contains(s.Applied, "applied by ann on a") {
			t.Errorf("%s says %+v", name, s)
		}
	}
	c.has(c.exits(5, c.on("c"), "reload"), "version 1 of the cluster is in force", "differs from it and was not used", "backstay apply")

	// What was made from another version than the one in force is refused, and what a node cannot use.
	c.write(next, c.config(names, "10.0.0.3:80"))
	c.has(c.exits(5, c.on("b"), "apply", "--yes", "--base", "0", next), "version 1 is in force, applied by ann")
	taken, err := net.Listen("tcp", c.net+".200:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c.write(next, c.config(names, "10.0.0.3:80")+fmt.Sprintf("listeners: [{listen: %q, service: web}]\n", taken.Addr()))
	c.has(c.exits(5, c.on("b"), "apply", "--yes", next), "a cannot use it", "c cannot use it", "address already in use", "nothing was changed")
	c.has(c.exits(5, c.on("a"), "apply", "--yes", c.wan(names)), "store.profile cannot change while the node runs", "--restart")

	// A node that was away starts with the oldest file, or with none, and follows.
	c.nodes["c"].stop()
	c.write(next, c.config(names, "10.0.0.4:80"))
	c.has(c.ok(c.on("b"), "apply", "--yes", next), "version 2 is applied", "c is not there")
	c.start("c", "--config", c.file("c"))
	if s := c.uses("c", 2); s.Differs != c.file("c") {
		t.Errorf("c says %+v", s)
	}
	c.has(c.ok(c.on("c"), "events"), "configuration version 2 of the cluster, applied by ann on b", "differs and is not used")
	c.nodes["c"].stop()
	c.start("c") // without --config
	c.uses("c", 2)

	// Without the others, the copy is what it starts with.
	for _, name := range names {
		c.nodes[name].stop()
	}
	c.start("b", "--config", c.file("b"))
	c.uses("b", 2)
	c.has(c.exits(5, c.on("b"), "apply", "--yes", c.file("b")), "the nodes cannot agree on anything now")
	c.start("a", "--config", c.file("a"))
	c.start("c")

	// Back to the first.
	for _, name := range names {
		c.ready(name)
	}
	c.await("the nodes agree again", func() bool { return c.members("a") == 3 })
	c.await("every node is heard", func() bool {
		said := c.ok(c.on("a"), "rollback", "--dry-run", "1")
		return !strings.Contains(said, "is not there")
	})
	c.has(c.ok(c.on("a"), "rollback", "--yes", "1"), "version 3 is applied", "b uses version 3", "c uses version 3")
	if said, want := c.ok(c.on("c"), "history", "3"), c.config(names, "10.0.0.1:80", "10.0.0.2:80"); said != want {
		t.Errorf("version 3 is\n%s, not\n%s", said, want)
	}
	c.has(c.ok(c.on("c"), "history"), "two servers", "back to version 1")
}

// wan is a configuration that takes a restart.
func (c *crew) wan(names []string) string {
	path := filepath.Join(c.dir, "wan.yaml")
	c.write(path, strings.Replace(c.config(names, "10.0.0.3:80"), "profile: lan", "profile: wan", 1))
	return path
}

// TestMembership: nodes come, leave, die and are replaced, and the majority is lost.
func TestMembership(t *testing.T) {
	c := newCrew(t, "a", "b", "c")
	next := filepath.Join(c.dir, "next.yaml")

	// One leaves, another comes.
	c.write(next, c.config([]string{"a", "b"}, "10.0.0.1:80"))
	c.has(c.exits(5, c.on("a"), "apply", "--yes", next), "the node c is not in it", "cluster leave")
	c.ok(c.on("c"), "cluster", "leave", "--yes")
	c.await("c ends", func() bool { _, err := c.status("c"); return err != nil })
	c.ok(c.on("a"), "apply", "--yes", next)
	c.write(next, c.config([]string{"a", "b", "d"}, "10.0.0.1:80"))
	c.write(c.file("d"), c.config([]string{"a", "b", "d"}, "10.0.0.1:80"))
	token := strings.TrimSpace(c.ok(c.on("a"), "cluster", "invite"))
	c.has(c.exits(1, "cluster", "join", token, "--config", c.file("d"), "--node", "d", "--data", c.data("d")), `no node of the cluster's configuration is named "d"`)
	c.ok(c.on("a"), "apply", "--yes", next)
	c.join("a", "d")
	c.start("d", "--config", c.file("d"))
	c.uses("d", 2)
	c.await("d is a member", func() bool { return c.members("a") == 3 })

	// It dies, is removed, and joins anew.
	c.has(c.exits(5, c.on("a"), "cluster", "remove", "--yes", "d"), "d is alive")
	c.nodes["d"].stop()
	c.await("d is not heard", func() bool {
		code, _ := c.run(c.on("a"), "cluster", "remove", "--yes", "--why", "burnt", "d")
		return code == 0
	})
	c.has(c.ok(c.on("a"), "cluster", "status"), "out of the cluster", "burnt (ann)")
	c.start("d", "--config", c.file("d"))
	c.await("d refuses to run", func() bool { return strings.Contains(c.nodes["d"].said.String(), "was removed from the cluster") })
	c.nodes["d"].stop()
	c.join("b", "d")
	c.start("d", "--config", c.file("d"))
	c.await("d is a member again", func() bool { return c.members("a") == 3 })

	// The majority is lost; what is left becomes a cluster, and the others join it.
	snapshot := filepath.Join(c.dir, "store.db")
	c.ok(c.on("a"), "cluster", "snapshot", snapshot)
	c.ok(c.on("a"), "cluster", "defragment")
	c.nodes["b"].stop()
	c.nodes["d"].stop()
	at := []string{"--config", c.file("a"), "--node", "a", "--data", c.data("a")}
	recover := append([]string{"cluster", "recover", "--yes", "--force", "--why", "both burnt"}, at...)
	c.has(c.exits(1, recover...), "another node runs on")
	c.nodes["a"].stop()
	c.exits(2, append([]string{"cluster", "recover", "--yes"}, at...)...)
	c.has(c.ok(recover...), "a is a cluster of its own now (recovery 1)")
	c.start("a", "--config", c.file("a"))
	c.uses("a", 2)
	c.await("a is alone", func() bool { return c.members("a") == 1 })
	c.has(c.ok(c.on("a"), "cluster", "status"), "recovered by force", "both burnt", "left out: b, d")
	c.join("a", "b", "--anew")
	c.start("b", "--config", c.file("b"))
	c.await("b is a member", func() bool { return c.members("a") == 2 })

	// And from the snapshot.
	c.nodes["a"].stop()
	c.nodes["b"].stop()
	c.ok(append(recover, "--snapshot", snapshot)...)
	c.start("a", "--config", c.file("a"))
	c.uses("a", 2)
	c.has(c.ok(c.on("a"), "history"), "2", "ann")
}

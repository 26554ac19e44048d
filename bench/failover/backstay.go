package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A system is a cluster of PostgreSQL that is to survive faults.
type system interface {
	start(ctx context.Context) error
	restart(n *node) error           // of what was killed on a machine
	switchover(from, to *node) error // asked for, not waited for
	storeLeader() *node
	explain() string
}

// A node is a machine of the cluster with what a fault has to find on it.
type node struct {
	*machine
	dir   string
	data  string // PostgreSQL's
	agent int    // pid of what looks after PostgreSQL
	store int    // pid of the store where it is a process of its own
}

// postmaster is the pid of PostgreSQL's first process.
func (n *node) postmaster() (int, error) {
	text, err := os.ReadFile(filepath.Join(n.data, "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.SplitN(string(text), "\n", 2)[0])
}

// backstay is the system under test.
type backstay struct {
	binary     string
	profile    string
	protection string
	nodes      []*node
	holdDown   time.Duration
	sessions   bool // are kept
}

const clientUser = "app"

func (b *backstay) config(self *node) string {
	var s strings.Builder
	fmt.Fprintf(&s, "cluster: bench\nstore: %s\nnodes:\n", b.profile)
	var names []string
	for _, n := range b.nodes {
		fmt.Fprintf(&s, "  - {name: %s, address: %s}\n", n.name, n.address)
		if len(names) < members {
			names = append(names, n.name)
		}
	}
	network := "10.77.0.0/24"
	if self.net.loopback {
		network = "127.0.0.0/8"
	}
	fmt.Fprintf(&s, `services:
  - name: db
    engine:
      postgres:
        nodes: [%s]
        port: 5433
        protection: %s
        hold_down: %s
        hba: ["host all all %s trust"]
listeners:
  - {name: db, listen: "%s:5432", service: db, keep_sessions: %v}
`, strings.Join(names, ", "), b.protection, b.holdDown, network, self.address, b.sessions)
	return s.String()
}

func (b *backstay) cli(n *node, args ...string) (string, error) {
	var out, said bytes.Buffer
	c := n.command(append([]string{b.binary}, args...)...)
	c.Stdout, c.Stderr = &out, &said
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("backstay %s on %s: %w: %s", strings.Join(args, " "), n.name, err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

func (n *node) socket() string { return filepath.Join(n.dir, "admin.sock") }

func (b *backstay) restart(n *node) (err error) {
	n.agent, err = n.start(n.dir+".log", b.binary, "run", "--config", n.dir+".yaml", "--node", n.name, "--data", n.dir)
	return err
}

func (b *backstay) start(ctx context.Context) error {
	for i, n := range b.nodes {
		n.data = filepath.Join(n.dir, "db", "pgdata")
		if err := os.WriteFile(n.dir+".yaml", []byte(b.config(n)), 0o644); err != nil {
			return err
		}
		placed := []string{"--config", n.dir + ".yaml", "--node", n.name, "--data", n.dir}
		if i == 0 {
			if _, err := b.cli(n, append([]string{"init"}, placed...)...); err != nil {
				return err
			}
		} else {
			var token string
			if err := until(ctx, 30*time.Second, func() (err error) {
				token, err = b.cli(b.nodes[0], "cluster", "invite", "--socket", b.nodes[0].socket())
				return err
			}); err != nil {
				return err
			}
			if err := until(ctx, 30*time.Second, func() error {
				_, err := b.cli(n, append([]string{"cluster", "join", token}, placed...)...)
				return err
			}); err != nil {
				return err
			}
		}
		if err := b.restart(n); err != nil {
			return err
		}
	}
	if err := until(ctx, 60*time.Second, func() error { return b.makeUser() }); err != nil {
		return fmt.Errorf("%w\n%s", err, b.explain())
	}
	return nil
}

// makeUser lets the bench's clients in.
func (b *backstay) makeUser() error {
	for _, n := range b.nodes {
		c := exec.Command("psql", "-qAt", "-h", n.address, "-p", "5432", "-U", "postgres", "-d", "postgres", "-c",
			"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN CREATE ROLE app LOGIN SUPERUSER; END IF; END $$")
		if !n.net.loopback {
			c = n.command(c.Args...)
		}
		c.Env = append(os.Environ(), "PGCONNECT_TIMEOUT=3")
		out, err := c.CombinedOutput()
		if err == nil {
			return nil
		}
		if n == b.nodes[len(b.nodes)-1] {
			return fmt.Errorf("psql: %w: %s", err, out)
		}
	}
	return nil
}

func (b *backstay) switchover(from, to *node) error {
	_, err := b.cli(from, "switchover", "db", "--to", to.name, "--no-wait", "--socket", from.socket())
	return err
}

func (b *backstay) storeLeader() *node {
	for _, n := range b.nodes {
		out, err := b.cli(n, "cluster", "nodes", "--socket", n.socket())
		if err != nil {
			continue
		}
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) == 3 && f[2] == "leader" {
				for _, m := range b.nodes {
					if m.name == f[0] {
						return m
					}
				}
			}
		}
	}
	return nil
}

func (b *backstay) explain() string {
	var all strings.Builder
	for _, n := range b.nodes {
		out, err := b.cli(n, "explain", "db", "--socket", n.socket())
		if err != nil {
			out = err.Error()
		}
		fmt.Fprintf(&all, "--- %s\n%s\n", n.name, out)
	}
	return all.String()
}

// until repeats something until it works.
func until(ctx context.Context, d time.Duration, do func() error) error {
	deadline := time.Now().Add(d)
	for {
		err := do()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("after %v: %w", d, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// marshal is for the machine-readable report.
func marshal(v any) []byte {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err)
	}
	return append(text, '\n')
}

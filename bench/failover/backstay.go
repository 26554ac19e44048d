package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// backstay is the system that this project is.
type backstay struct {
	binary     string
	profile    string
	protection string
	listener   string // more of the listener's configuration
	nodes      []*node
	holdDown   time.Duration
}

func newBackstay(listener string) func(*options, []*node, layout) (system, error) {
	return func(o *options, nodes []*node, l layout) (system, error) {
		b := &backstay{binary: o.binary, profile: o.profile, protection: o.protection, holdDown: o.settle - o.settle/4, nodes: nodes, listener: listener}
		return b, b.prepare(l)
	}
}

func (b *backstay) prepare(l layout) error {
	if l.clocks {
		dir, err := os.MkdirTemp(filepath.Dir(b.nodes[0].dir), "clock-build-")
		if err != nil {
			return err
		}
		if b.binary, err = buildForClock(dir); err != nil {
			return err
		}
	}
	for _, n := range b.nodes {
		n.data = filepath.Join(n.dir, "db", "pgdata")
	}
	return nil
}

func (b *backstay) traits() traits {
	return traits{door: 5432, inLine: members - 1, reaction: 6 * time.Second, patience: 20 * time.Second, recovery: 5 * time.Minute}
}

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
  - {name: db, listen: "%s:5432", service: db%s}
`, strings.Join(names, ", "), b.protection, b.holdDown, self.net.cidr(), self.address, b.listener)
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
	if !alive(n.agent) {
		n.agent, err = n.start(n.dir+".log", n.clock.env(), b.binary, "run", "--config", n.dir+".yaml", "--node", n.name, "--data", n.dir)
	}
	return err
}

func (b *backstay) start(ctx context.Context) error {
	for i, n := range b.nodes {
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
	if err := until(ctx, 60*time.Second, func() error { return makeUser(b.nodes, b.traits().door) }); err != nil {
		return fmt.Errorf("%w\n%s", err, b.explain())
	}
	return nil
}

func (b *backstay) switchover(_ context.Context, from, to *node) error {
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

// settled needs no more than PostgreSQL shows.
func (b *backstay) settled(context.Context) error { return nil }

// stopStore has packets of the store's ports vanish: it is a part of the node's process, and nothing else of that may be hurt.
func (b *backstay) stopStore() error  { return b.storePorts("add") }
func (b *backstay) startStore() error { return b.storePorts("del") }

func (b *backstay) storePorts(verb string) error {
	var err error
	for _, n := range b.nodes {
		for _, end := range []string{"dport", "sport"} {
			for _, port := range []string{"7401", "7402"} {
				err = errors.Join(err, ip(fmt.Sprintf("-n %s rule %s pref 1 ipproto tcp %s %s blackhole", n.net.space(n.name), verb, end, port)))
			}
		}
	}
	return err
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

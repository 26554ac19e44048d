package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A system keeps PostgreSQL up on the nodes it was given. All that differs between the systems is behind it; the machines, the client,
// the faults and the accounting are the same for all.
type system interface {
	start(ctx context.Context) error
	restart(n *node) error                                // of whatever does not run on a machine
	switchover(ctx context.Context, from, to *node) error // asked for; to is a wish
	settled(ctx context.Context) error                    // itself, once PostgreSQL is
	storeLeader() *node                                   // where the store has a leader that is known
	stopStore() error                                     // on all nodes
	startStore() error
	explain() string
	traits() traits
}

// traits are what the bench has to know of a system to treat it right.
type traits struct {
	door     int           // the port on every node where clients are let in
	inLine   int           // synchronous standbys while all is well
	reaction time.Duration // in which it has done what it does about a fault that lasts
	patience time.Duration // after which a fault is undone although there are no writes
	recovery time.Duration // after which a cluster that is not whole is given up
}

// members is how many nodes have PostgreSQL.
const members = 3

// A node is a machine of the cluster with what a fault has to find on it.
type node struct {
	*machine
	dir   string
	data  string // PostgreSQL's
	disk  string // where the file system of PostgreSQL's data is mounted
	clock *clock // of the machine's own, where it has one
	agent int    // pid of what looks after PostgreSQL
	store int    // pids of the store's and the proxy's processes, where they have their own
	proxy int
	index int // among the cluster's nodes; those with PostgreSQL come first
}

// postmaster is the pid of PostgreSQL's first process.
func (n *node) postmaster() (int, error) {
	text, err := os.ReadFile(filepath.Join(n.data, "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.SplitN(string(text), "\n", 2)[0])
}

// alive says whether a process that this program started runs.
func alive(pid int) bool { return pid > 0 && unix.Kill(pid, 0) == nil }

// A layout is what the machines of a cluster must have so that a fault can be tried. Clusters are made anew for each.
type layout struct {
	witnesses int  // nodes without PostgreSQL, for a store of five
	disks     bool // a small file system for each node, and one in it for PostgreSQL's data
	clocks    bool // that can be set
}

func (l layout) String() string {
	var words []string
	if l.witnesses > 0 {
		words = append(words, strconv.Itoa(l.witnesses)+" nodes more without PostgreSQL")
	}
	if l.disks {
		words = append(words, "small disks")
	}
	if l.clocks {
		words = append(words, "clocks that can be set")
	}
	if len(words) == 0 {
		return "three nodes"
	}
	return "three nodes, " + strings.Join(words, ", ")
}

const clientUser = "app"

// An entrant is a system as it takes part: with settings of its own, under a name.
type entrant struct {
	name, title string
	make        func(o *options, nodes []*node, l layout) (system, error)
}

var entrants = []entrant{
	{"backstay", "Backstay", newBackstay("")},
	{"backstay-keep", "Backstay, keep_sessions", newBackstay(", keep_sessions: true")},
	{"patroni", "Patroni, ttl 5 s", newPatroni(patroniTight)},
	{"patroni-defaults", "Patroni, its defaults", newPatroni(patroniDefaults)},
}

// makeUser lets the bench's clients in.
func makeUser(nodes []*node, door int) error {
	var all error
	for _, n := range nodes {
		c := exec.Command("psql", "-qAt", "-h", n.address, "-p", strconv.Itoa(door), "-U", "postgres", "-d", "postgres", "-c",
			"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '"+clientUser+"') THEN CREATE ROLE "+clientUser+" LOGIN SUPERUSER; END IF; END $$")
		if !n.net.loopback {
			c = n.command(c.Args...)
		}
		c.Env = append(os.Environ(), "PGCONNECT_TIMEOUT=3")
		out, err := c.CombinedOutput()
		if err == nil {
			return nil
		}
		all = errors.Join(all, fmt.Errorf("psql: %w: %s", err, out))
	}
	return all
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

// kill ends a process at once.
func kill(pid int) error { return signalPID(pid, unix.SIGKILL) }

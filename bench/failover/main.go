// Command failover measures what clients of a PostgreSQL cluster see of faults: three machines in network namespaces, a
// client in another that commits row after row through every machine's listener, remembers what was acknowledged, and
// reads everything back. It prints, for each fault, the longest time without a write, errors, lost rows and the time in
// which two primaries took writes.
//
//	go run ./bench/failover -rounds 5
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	rounds     int
	faults     []string
	binary     string
	profile    string
	protection string
	loopback   bool
	dir        string
	json       string
	keep       bool
	writers    int
	verbose    bool
	register   bool
	sessions   bool
	tmpfs      bool
	settle     time.Duration
	witnesses  int
}

func main() {
	var o options
	names := flag.String("faults", "all", "which, with commas; "+faultNames())
	flag.IntVar(&o.rounds, "rounds", 3, "how often each")
	flag.StringVar(&o.binary, "backstay", "bin/backstay", "the binary under test")
	flag.StringVar(&o.profile, "profile", "lan-fast", "timings: lan-fast, lan or wan")
	flag.StringVar(&o.protection, "protection", "max-availability", "max-protection, max-availability or max-performance")
	flag.BoolVar(&o.loopback, "loopback", false, "addresses of 127.0.0.0/8 in place of network namespaces; links cannot be cut then")
	flag.StringVar(&o.dir, "dir", os.TempDir(), "where data are kept while it runs")
	flag.StringVar(&o.json, "json", "", "`file` for results as JSON")
	flag.BoolVar(&o.keep, "keep", false, "keep logs and data")
	flag.IntVar(&o.writers, "writers", 3, "sessions that write")
	flag.BoolVar(&o.sessions, "keep-sessions", false, "listeners that know PostgreSQL's protocol and keep sessions")
	flag.BoolVar(&o.register, "register", false, "also check a register for linearizability")
	flag.BoolVar(&o.tmpfs, "tmpfs", false, "a file system in memory for each node, which can be filled; its writes cost nothing")
	flag.DurationVar(&o.settle, "settle", 4*time.Second, "rest before each fault")
	flag.IntVar(&o.witnesses, "witnesses", 0, "nodes without PostgreSQL beside the three with it")
	flag.BoolVar(&o.verbose, "v", false, "print every error that clients saw")
	flag.Parse()
	o.faults = strings.Split(*names, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func faultNames() string {
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	return strings.Join(names, ",")
}

// rig is a cluster with a client.
type rig struct {
	net    *network
	nodes  []*node // with PostgreSQL first
	client *client
	system system
	second *node // that a fault has taken beside its victim
	out    io.Writer
	o      options
}

// members is how many nodes have PostgreSQL.
const members = 3

// other is a node that is not the given one.
func (r *rig) other(than *node) *node {
	for i, n := range r.nodes[:members] {
		if n == than {
			return r.nodes[(i+1)%members]
		}
	}
	return r.nodes[0]
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	if _, err := os.Stat(o.binary); err != nil {
		return fmt.Errorf("%w: build it with make build", err)
	}
	r := &rig{o: o, out: out}
	if r.net, err = newNetwork(o.loopback); err != nil {
		fmt.Fprintf(out, "no network namespaces here (%v): loopback addresses instead, links are not cut\n\n", err)
		o.loopback = true
		r.net, _ = newNetwork(true)
	}
	dir, err := os.MkdirTemp(o.dir, "backstay-failover-")
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL's user passes through
		return err
	}
	var machines []*machine
	defer func() {
		if r.client != nil {
			r.client.close()
		}
		r.net.close(machines...)
		if o.tmpfs {
			for _, n := range r.nodes {
				_ = syscall.Unmount(n.dir, syscall.MNT_DETACH)
			}
		}
		if !o.keep {
			_ = os.RemoveAll(dir)
		} else {
			fmt.Fprintln(out, "logs and data are in", dir)
		}
	}()
	total := members + o.witnesses
	for i := range total + 1 {
		name := fmt.Sprintf("n%d", i+1)
		if i == total {
			name = "client"
		}
		m, err := r.net.machine(name, i+1)
		if err != nil {
			return err
		}
		machines = append(machines, m)
		if i < total {
			r.nodes = append(r.nodes, &node{machine: m, dir: filepath.Join(dir, name)})
		}
	}
	for _, n := range r.nodes {
		if err := os.Mkdir(n.dir, 0o755); err != nil {
			return err
		}
		if o.tmpfs {
			if err := syscall.Mount("backstay-bench", n.dir, "tmpfs", 0, "size=1g,mode=0755"); err != nil {
				return fmt.Errorf("mount %s: %w", n.dir, err)
			}
		}
	}
	r.system = &backstay{binary: o.binary, profile: o.profile, protection: o.protection, holdDown: o.settle - o.settle/4, sessions: o.sessions, nodes: r.nodes}
	r.client = &client{from: machines[total], user: clientUser}
	for _, n := range r.nodes {
		r.client.doors = append(r.client.doors, door{n.name, n.address + ":5432"})
	}
	began := time.Now()
	if err := r.system.start(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "cluster up after %.1f s\n", time.Since(began).Seconds())
	if err := until(ctx, 20*time.Second, func() error { return r.client.ask(ctx, nil, createSQL) }); err != nil {
		return err
	}
	if _, err := r.whole(ctx, 5*time.Minute); err != nil {
		return err
	}
	fmt.Fprintf(out, "redundant after %.1f s\n", time.Since(began).Seconds())
	r.client.start(o.writers)
	var reg *registers
	if o.register {
		if err := r.client.ask(ctx, nil, createRegisters); err != nil {
			return err
		}
		reg = startRegisters(r.client)
	}
	results, err := r.all(ctx)
	report(out, results, o)
	sum := summary{Results: results}
	if reg != nil {
		sum.Register, sum.Operations = reg.check()
		fmt.Fprintf(out, "%d operations on %d registers: %s\n", sum.Operations, registerKeys, sum.Register)
	}
	if o.json != "" {
		err = errors.Join(err, os.WriteFile(o.json, marshal(sum), 0o644))
	}
	return err
}

// whole waits until both standbys are streaming and count, and says how long that took.
func (r *rig) whole(ctx context.Context, d time.Duration) (time.Duration, error) {
	began := time.Now()
	err := until(ctx, d, func() error {
		var n int
		if err := r.client.ask(ctx, &n, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state <> 'async'"); err != nil {
			return err
		}
		if n < members-1 {
			return fmt.Errorf("%d of %d standbys are in line", n, members-1)
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("redundancy is not whole %w\n%s", err, r.system.explain())
	}
	return time.Since(began), err
}

// summary is the machine-readable report.
type summary struct {
	Results    []result `json:"results"`
	Register   string   `json:"register,omitempty"`
	Operations int      `json:"operations,omitempty"`
}

// result is what one round of one fault showed. Times are in seconds.
type result struct {
	Fault      string  `json:"fault"`
	Round      int     `json:"round"`
	Gap        float64 `json:"gap"`    // longest time without a write
	New        int     `json:"new"`    // errors of new sessions, through nodes that live
	NewWait    float64 `json:"wait"`   // longest wait for a new session, through nodes that live
	Flight     int     `json:"flight"` // errors of statements in flight
	Idle       int     `json:"idle"`   // idle sessions that were lost, through nodes that live
	Two        float64 `json:"two_primaries"`
	Lost       int     `json:"lost"`
	Extra      int     `json:"unacknowledged"`
	Whole      float64 `json:"redundant_after"`
	Acked      int     `json:"acknowledged"`
	Load       float64 `json:"load"`
	Skipped    string  `json:"skipped,omitempty"`
	Moved      bool    `json:"moved"`
	Difficulty string  `json:"difficulty,omitempty"`
}

func (r *rig) all(ctx context.Context) (results []result, err error) {
	for _, f := range faults {
		if !slices.Contains(r.o.faults, "all") && !slices.Contains(r.o.faults, f.name) {
			continue
		}
		for round := range r.o.rounds {
			if ctx.Err() != nil {
				return results, ctx.Err()
			}
			res, err := r.round(ctx, f)
			res.Fault, res.Round = f.name, round
			results = append(results, res)
			if err != nil {
				return results, fmt.Errorf("%s, round %d: %w", f.name, round+1, err)
			}
			if res.Skipped != "" {
				fmt.Fprintf(r.out, "%-16s skipped: %s\n", f.name, res.Skipped)
				break
			}
			fmt.Fprintf(r.out, "%-16s gap %.3f s, new %d (longest %.2f s), idle %d, in flight %d, lost %d, unacknowledged %d, two primaries %.3f s, redundant after %.1f s, moved %v, %d rows, load %.0f\n",
				f.name, res.Gap, res.New, res.NewWait, res.Idle, res.Flight, res.Lost, res.Extra, res.Two, res.Whole, res.Moved, res.Acked, res.Load)
		}
	}
	return results, nil
}

// round lets a fault happen once to a cluster that is whole, and leaves it whole.
func (r *rig) round(ctx context.Context, f fault) (res result, err error) {
	if f.five && r.o.witnesses < 2 {
		res.Skipped = "two of three nodes are no minority: use -witnesses 2"
		return res, nil
	}
	if f.links && r.net.loopback {
		res.Skipped = "needs links that can be cut"
		return res, nil
	}
	time.Sleep(r.o.settle) // past the hold-down
	primary, err := r.findPrimary(ctx)
	if err != nil {
		return res, err
	}
	r.client.rest(2)
	_, before, err := r.client.verify(ctx)
	if err != nil {
		return res, err
	}
	r.client.mu.Lock()
	clear(r.client.slowest)
	r.client.mu.Unlock()
	began := time.Now()
	victim, err := f.strike(r, primary)
	var skip errSkip
	if errors.As(err, &skip) {
		res.Skipped = string(skip)
		return res, nil
	}
	if err != nil {
		return res, err
	}
	time.Sleep(cmp.Or(f.after, 3*time.Second))
	if err := f.repair(r, victim); err != nil {
		return res, err
	}
	if f.both { // the other one, a second later
		time.Sleep(time.Second)
		for _, n := range r.nodes[:members] {
			if n != primary && n != victim {
				if err := r.system.restart(n); err != nil {
					return res, err
				}
			}
		}
	}
	if _, err = r.whole(ctx, 5*time.Minute); err != nil {
		res.Difficulty = err.Error()
	}
	res.Whole = time.Since(began).Seconds()
	r.client.wakeIdle()
	acks, failures := r.client.since(began.Add(-time.Second))
	longest, _ := gap(acks, began.Add(-time.Second), time.Now())
	res.Gap, res.Acked, res.Two, res.Load = longest.Seconds(), len(acks), max(0, two(acks).Seconds()), load()
	r.count(&res, failures, victim)
	r.second = nil
	after, e := r.findPrimary(ctx)
	res.Moved = e == nil && after != primary
	lost, extra, e := r.client.verify(ctx)
	res.Lost, res.Extra = lost, extra-before
	return res, errors.Join(err, e)
}

func (r *rig) count(res *result, failures []failure, victim *node) {
	for _, x := range failures {
		if r.o.verbose {
			fmt.Fprintf(r.out, "    %s %s through %s: %s\n", x.at.Format("05.000"), x.what, x.via, briefly(x.err))
		}
		if victim != nil && (x.via == victim.name || r.second != nil && x.via == r.second.name) {
			continue
		}
		switch x.what {
		case "new", "connect":
			res.New++
		case "idle":
			res.Idle++
		default:
			res.Flight++
		}
	}
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	for node, d := range r.client.slowest {
		if victim == nil || node != victim.name {
			res.NewWait = max(res.NewWait, d.Seconds())
		}
	}
}

func load() (l float64) {
	text, _ := os.ReadFile("/proc/loadavg")
	_, _ = fmt.Sscan(string(text), &l)
	return l
}

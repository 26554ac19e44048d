// Command failover measures what clients of a PostgreSQL cluster see of faults, with Backstay and with Patroni side by side: for each,
// machines in network namespaces of their own, a client in another that commits row after row through every machine, remembers
// what was acknowledged, and reads everything back. It prints, for each fault, the longest time without a write, errors, lost
// rows and the time in which two primaries took writes.
//
//	go run ./bench/failover -rounds 5
package main

import (
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
	systems    []string
	binary     string
	profile    string
	protection string
	loopback   bool
	dir        string
	results    string
	out        string
	keep       bool
	crew       crew
	verbose    bool
	register   bool
	settle     time.Duration
}

func main() {
	var o options
	names := flag.String("faults", "all", "which, with commas; "+strings.Join(faultNames(), ","))
	systems := flag.String("systems", "backstay,patroni", "which, with commas; "+strings.Join(entrantNames(), ","))
	flag.IntVar(&o.rounds, "rounds", 3, "how often each")
	flag.StringVar(&o.binary, "backstay", "bin/backstay", "the binary under test")
	flag.StringVar(&o.profile, "profile", "lan-fast", "Backstay's timings: lan-fast, lan or wan")
	flag.StringVar(&o.protection, "protection", "max-availability", "Backstay's: max-protection, max-availability or max-performance")
	flag.BoolVar(&o.loopback, "loopback", false, "addresses of 127.0.0.0/8 in place of network namespaces; links cannot be cut then")
	flag.StringVar(&o.dir, "dir", os.TempDir(), "where data are kept while it runs")
	flag.StringVar(&o.results, "results", "bench/results", "`folder` for results")
	flag.StringVar(&o.out, "out", "", "`file` for results, to which they are added; one with the time in its name where not given")
	sum := flag.Bool("sum", false, "run nothing: print the tables of the files of results given as arguments")
	flag.BoolVar(&o.keep, "keep", false, "keep logs and data")
	flag.IntVar(&o.crew.statements, "writers", 1, "sessions through each node that commit a row with each statement")
	flag.IntVar(&o.crew.transactions, "transactions", 1, "sessions through each node that do so in transactions")
	flag.IntVar(&o.crew.idle, "idle", 4, "sessions through each node that are idle but for a query now and then")
	flag.BoolVar(&o.register, "register", false, "also check registers for linearizability")
	flag.DurationVar(&o.settle, "settle", 4*time.Second, "rest of a cluster before each fault")
	flag.BoolVar(&o.verbose, "v", false, "print every error that clients saw")
	flag.Parse()
	o.faults, o.systems = strings.Split(*names, ","), strings.Split(*systems, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := func() error {
		if *sum {
			results, err := readResults(flag.Args())
			report(os.Stdout, results)
			return err
		}
		return run(ctx, &o, os.Stdout)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func faultNames() (names []string) {
	for _, f := range faults {
		names = append(names, f.name)
	}
	return names
}

func entrantNames() (names []string) {
	for _, e := range entrants {
		names = append(names, e.name)
	}
	return names
}

// check says what is wrong with the choice before anything is started.
func (o *options) check() (err error) {
	for _, name := range o.faults {
		if name != "all" && !slices.Contains(faultNames(), name) {
			err = errors.Join(err, fmt.Errorf("no fault is named %q: %s", name, strings.Join(faultNames(), ", ")))
		}
	}
	for _, name := range o.systems {
		if !slices.Contains(entrantNames(), name) {
			err = errors.Join(err, fmt.Errorf("no system is named %q: %s", name, strings.Join(entrantNames(), ", ")))
		}
	}
	if err != nil {
		return err
	}
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	if _, err := os.Stat(o.binary); err != nil {
		return fmt.Errorf("%w: build it with make build", err)
	}
	if n, err := newNetwork(o.loopback); err != nil {
		fmt.Printf("no network namespaces here (%v): loopback addresses instead, links are not cut\n\n", err)
		o.loopback = true
	} else {
		n.close()
	}
	return nil
}

func run(ctx context.Context, o *options, out io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	j, err := newJournal(o.results, o.out)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "results are added to", j.path)
	var results []result
	add := func(r result) error {
		results = append(results, r)
		return j.add(r)
	}
	began := time.Now()
	for _, l := range []layout{{}, {disks: true}, {witnesses: 2}, {clocks: true}} {
		var chosen []fault
		for _, f := range faults {
			if f.needs == l && (slices.Contains(o.faults, "all") || slices.Contains(o.faults, f.name)) {
				chosen = append(chosen, f)
			}
		}
		if len(chosen) == 0 {
			continue
		}
		if err = inLayout(ctx, o, l, chosen, out, add); err != nil {
			break
		}
	}
	fmt.Fprintf(out, "\n%d rounds in %.0f minutes\n", len(results), time.Since(began).Minutes())
	report(out, results)
	return err
}

// inLayout tries faults in clusters of all systems, which take turns. A cluster that does not come back is replaced.
func inLayout(ctx context.Context, o *options, l layout, chosen []fault, out io.Writer, add func(result) error) (err error) {
	rigs := map[string]*rig{}
	defer func() {
		for _, r := range rigs {
			err = errors.Join(err, r.verdict(add))
			r.close()
		}
	}()
	for _, f := range chosen {
		if f.links && o.loopback {
			fmt.Fprintf(out, "%-16s skipped: it needs links that can be cut\n", f.name)
			continue
		}
		for round := range o.rounds {
			for i := range o.systems {
				e := named(o.systems[(i+round)%len(o.systems)])
				if rigs[e.name] == nil {
					r, err := newRig(ctx, o, e, l, out)
					if err != nil {
						return fmt.Errorf("%s: %w", e.title, err)
					}
					rigs[e.name] = r
				}
				began := time.Now()
				res, err := rigs[e.name].first(ctx, f, round)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					res.Difficulty = err.Error()
				}
				fmt.Fprintln(out, res.line(time.Since(began)))
				if err := add(res); err != nil {
					return err
				}
				if res.Difficulty != "" {
					err := rigs[e.name].verdict(add)
					rigs[e.name].close()
					delete(rigs, e.name)
					if err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// first empties the table before the first round of a fault, so that reading everything back stays short.
func (r *rig) first(ctx context.Context, f fault, round int) (result, error) {
	if round == 0 {
		if err := r.client.forget(ctx); err != nil {
			return result{System: r.entrant.name, Fault: f.name}, err
		}
	}
	res, err := r.round(ctx, f)
	res.Round = round
	return res, err
}

// verdict adds what the registers showed over the cluster's life.
func (r *rig) verdict(add func(result) error) error {
	if r.regs == nil {
		return nil
	}
	res := result{System: r.entrant.name, At: time.Now()}
	res.Register, res.Operations = r.regs.check()
	r.regs = nil
	return add(res)
}

func named(name string) entrant {
	return entrants[slices.IndexFunc(entrants, func(e entrant) bool { return e.name == name })]
}

func (r result) line(took time.Duration) string {
	text := fmt.Sprintf("%-15s %-16s gap %6.3f s, new %d of %d (longest %.2f s), idle %d of %d, at work %d, lost %d, unacknowledged %d, two primaries %.3f s, whole after %.1f s, moved %v, %d rows, load %.0f; %.0f s",
		r.Fault, r.System, r.Gap, r.New, r.NewOf, r.NewWait, r.Idle, r.IdleOf, r.Work, r.Lost, r.Extra, r.Two, r.Whole, r.Moved, r.Acked, r.Load, took.Seconds())
	if r.Lost > 0 {
		text += fmt.Sprintf("; lost rows were acknowledged by %v", r.LostFrom)
	}
	if r.Stuck {
		text += "; no writes until it was undone"
	}
	if r.Difficulty != "" {
		text += "\n    " + strings.ReplaceAll(r.Difficulty, "\n", "\n    ")
	}
	return text
}

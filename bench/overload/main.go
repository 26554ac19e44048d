// Command overload measures what Backstay, HAProxy, nginx and Skipper make of more load than an application can bear: an application
// that saturates at a known rate behind each in turn, three times that rate before them with a fifth of it critical, and then calm again.
// It prints how many critical requests were answered in time, what of the capacity was put to use, and how long it took until all was
// normal.
//
//	go run ./bench/overload -rounds 3
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/bench/internal/process"
)

type options struct {
	rounds        int
	workers       int
	work          time.Duration
	times         float64
	calm          time.Duration
	spike         time.Duration
	after         time.Duration
	peers         []string
	backstay      string
	skipper       string
	timeline      bool
	dir           string
	app           string // its address
	capacity      float64
	criticalShare float64
}

func main() {
	if addr := os.Getenv(appEnv); addr != "" {
		fmt.Fprintln(os.Stderr, "bench: application:", serveApp(addr))
		os.Exit(1)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	o := options{criticalShare: 0.2}
	names := flag.String("peers", "backstay,backstay-adaptive,haproxy,nginx,skipper", "who takes part")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds, in which they take turns; medians are printed")
	flag.IntVar(&o.workers, "workers", 10, "requests that the application works on at once")
	flag.DurationVar(&o.work, "work", 25*time.Millisecond, "how long it takes for one")
	flag.Float64Var(&o.times, "times", 3, "load in the spike, as a multiple of what the application can do")
	flag.DurationVar(&o.calm, "calm", 4*time.Second, "time at half of the capacity, before")
	flag.DurationVar(&o.spike, "spike", 10*time.Second, "length of the spike")
	flag.DurationVar(&o.after, "after", 6*time.Second, "time at half of the capacity, after")
	flag.StringVar(&o.backstay, "backstay", "bin/backstay", "the binary under test")
	flag.StringVar(&o.skipper, "skipper", "bin/skipper", "Skipper's binary; left out where it is not there")
	flag.BoolVar(&o.timeline, "timeline", false, "print every half second of the last round")
	flag.Parse()
	o.peers = strings.Split(*names, ",")
	o.capacity = float64(o.workers) / o.work.Seconds()
	var err error
	if o.dir, err = os.MkdirTemp("", "backstay-overload"); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	results, err := measure(&o)
	if err != nil {
		return err
	}
	fmt.Printf("application: %d workers × %s = %.0f/s; %s at half of it, %s at %.1f times it (%.0f%% critical), %s at half; %d rounds, medians\n\n",
		o.workers, o.work, o.capacity, o.calm, o.spike, o.times, 100*o.criticalShare, o.after, o.rounds)
	report(&o, results)
	return nil
}

func measure(o *options) (map[string][]result, error) {
	results := map[string][]result{}
	for round := range o.rounds {
		for _, p := range peers {
			if !slices.Contains(o.peers, p.name) {
				continue
			}
			r, err := once(o, p)
			if errors.Is(err, errAbsent) {
				if round == 0 {
					fmt.Printf("%s is left out: its program is not there\n", p.name)
				}
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
			results[p.name] = append(results[p.name], r)
		}
	}
	return results, nil
}

// once measures one peer in front of a new application.
func once(o *options, p peer) (result, error) {
	port, err := process.FreePorts(3)
	if err != nil {
		return result{}, err
	}
	o.app = fmt.Sprintf("127.0.0.1:%d", port[0])
	self, err := os.Executable()
	if err != nil {
		return result{}, err
	}
	app, err := process.Start("application", "", []string{appEnv + "=" + o.app, fmt.Sprintf("%s=%d/%s", workEnv, o.workers, o.work)}, self)
	if err != nil {
		return result{}, err
	}
	defer app.Stop()
	if err := app.AwaitPort(o.app); err != nil {
		return result{}, err
	}
	proxy, err := p.start(o, port[1], port[2])
	if err != nil {
		return result{}, err
	}
	defer proxy.Stop()
	at := fmt.Sprintf("127.0.0.1:%d", port[1])
	if err := proxy.AwaitPort(at); err != nil {
		return result{}, err
	}
	time.Sleep(500 * time.Millisecond) // first checks
	return judge(o, drive(o, at)), nil
}

func report(o *options, results map[string][]result) {
	fmt.Printf("| | critical in time | critical answered | others answered | goodput of capacity | critical p50 / p99 (unloaded p99) | normal after |\n|---|---|---|---|---|---|---|\n")
	for _, p := range peers {
		all := results[p.name]
		if len(all) == 0 {
			continue
		}
		after := fmt.Sprintf("%.1f s", median(all, func(r result) float64 { return r.normal.Seconds() }))
		if median(all, func(r result) float64 { return r.normal.Seconds() }) >= o.after.Seconds() {
			after = fmt.Sprintf("not within %s", o.after)
		}
		ms := func(of func(result) time.Duration) string {
			return fmt.Sprintf("%.0f ms", median(all, func(r result) float64 { return of(r).Seconds() * 1000 }))
		}
		fmt.Printf("| %s | %.1f %% | %.1f %% | %.1f %% | %.0f %% | %s / %s (%s) | %s |\n", p.title,
			100*median(all, func(r result) float64 { return r.inTime }), 100*median(all, func(r result) float64 { return r.critical }),
			100*median(all, func(r result) float64 { return r.others }), 100*median(all, func(r result) float64 { return r.goodput }),
			ms(func(r result) time.Duration { return r.p50 }), ms(func(r result) time.Duration { return r.p99 }),
			ms(func(r result) time.Duration { return r.unloaded }), after)
		if o.timeline {
			fmt.Print(all[len(all)-1].timeline)
		}
	}
}

func median(all []result, of func(result) float64) float64 {
	values := make([]float64, 0, len(all))
	for _, r := range all {
		values = append(values, of(r))
	}
	slices.SortFunc(values, cmp.Compare)
	return values[len(values)/2]
}

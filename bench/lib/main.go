// Command lib measures package resilience side by side with other libraries of its kind, where they have the same thing: in
// one process, in rounds in which they take turns. It prints the time of the fastest round, as what else the machine does can only
// add to it, and the median of the rounds' ratios. It prints Markdown, or writes it between the markers of a file.
//
//	cd bench/lib && go run . -rounds 15 -duration 30ms -write ../../docs/benchmarks.md
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

type options struct {
	rounds   int
	duration time.Duration
	cores    []int
	only     *regexp.Regexp
	write    string
}

// result is what one library takes for one row.
type result struct {
	nanoseconds []float64 // of the fastest round, for each number of cores
	ratios      []float64 // how many times Backstay's: the median of the rounds
	allocations int64
	bytes       int64
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	testing.Init()
	var o options
	flag.IntVar(&o.rounds, "rounds", 15, "rounds")
	flag.DurationVar(&o.duration, "duration", 30*time.Millisecond, "length of one measurement")
	only := flag.String("only", "", "measure only rows whose name matches this regular expression")
	flag.StringVar(&o.write, "write", "", "write the table between the markers of this file, not to standard output")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if err := flag.Set("test.benchtime", o.duration.String()); err != nil {
		return err
	}
	o.cores = []int{1}
	if n := runtime.NumCPU(); n > 1 {
		o.cores = append(o.cores, n)
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%s, %d cores, %s; %d rounds of %v\n\n", processor(), runtime.NumCPU(), runtime.Version(), o.rounds, o.duration)
	heading(&table, o.cores)
	for _, r := range rows() {
		if o.only.MatchString(r.name) {
			fmt.Fprintf(os.Stderr, "%s …\n", r.name)
			r.print(&table, measure(r, o))
		}
	}
	if o.write == "" {
		_, err := os.Stdout.WriteString(table.String())
		return err
	}
	return replace(o.write, table.String())
}

// measure lets the libraries of a row take turns.
func measure(r row, o options) []result {
	results := make([]result, len(r.libraries))
	samples := make([][][]float64, len(r.libraries))
	for i := range samples {
		samples[i] = make([][]float64, len(o.cores))
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for range o.rounds {
		for c, cores := range o.cores {
			runtime.GOMAXPROCS(cores)
			for i, l := range r.libraries {
				b := testing.Benchmark(l.benchmark)
				samples[i][c] = append(samples[i][c], float64(b.T.Nanoseconds())/float64(b.N))
				results[i].allocations, results[i].bytes = b.AllocsPerOp(), b.AllocedBytesPerOp()
			}
		}
	}
	for i := range results {
		for c, s := range samples[i] {
			ratios := make([]float64, len(s))
			for round := range s {
				ratios[round] = s[round] / samples[0][c][round]
			}
			slices.Sort(ratios)
			results[i].nanoseconds = append(results[i].nanoseconds, slices.Min(s))
			results[i].ratios = append(results[i].ratios, ratios[len(ratios)/2])
		}
	}
	return results
}

func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(info)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

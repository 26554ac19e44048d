package main

import (
	"fmt"
	"io"
	"slices"
)

// report prints a table with a row for each fault.
func report(out io.Writer, results []result, o options) {
	fmt.Fprintf(out, "\nBackstay, profile %s, %s, three nodes, gaps in seconds\n\n", o.profile, o.protection)
	fmt.Fprintln(out, "| fault | rounds | gap, median | gap, worst | new sessions: errors | longest wait | idle sessions lost | errors in flight | rows lost | not acknowledged, yet there | two primaries | redundant again after | load |")
	fmt.Fprintln(out, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, f := range faults {
		var of []result
		for _, r := range results {
			if r.Fault == f.name {
				of = append(of, r)
			}
		}
		if len(of) == 0 {
			continue
		}
		if of[0].Skipped != "" {
			fmt.Fprintf(out, "| %s | – | skipped: %s | | | | | | | | | | |\n", f.title, of[0].Skipped)
			continue
		}
		sum := func(get func(result) int) (n int) {
			for _, r := range of {
				n += get(r)
			}
			return n
		}
		gaps := sorted(of, func(r result) float64 { return r.Gap })
		waits := sorted(of, func(r result) float64 { return r.NewWait })
		wholes := sorted(of, func(r result) float64 { return r.Whole })
		twos := sorted(of, func(r result) float64 { return r.Two })
		loads := sorted(of, func(r result) float64 { return r.Load })
		fmt.Fprintf(out, "| %s | %d | %.2f | %.2f | %d | %.2f | %d | %d | %d | %d | %.2f | %.1f | %.0f–%.0f |\n", f.title, len(of),
			median(gaps), gaps[len(gaps)-1], sum(func(r result) int { return r.New }), waits[len(waits)-1],
			sum(func(r result) int { return r.Idle }), sum(func(r result) int { return r.Flight }), of[len(of)-1].Lost,
			sum(func(r result) int { return r.Extra }), max(twos[len(twos)-1], 0), median(wholes), loads[0], loads[len(loads)-1])
	}
	fmt.Fprintln(out)
}

func sorted(of []result, get func(result) float64) []float64 {
	var all []float64
	for _, r := range of {
		all = append(all, get(r))
	}
	slices.Sort(all)
	return all
}

func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

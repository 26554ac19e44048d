package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// report prints the gaps of all systems side by side, and then all that was counted.
func report(out io.Writer, results []result) {
	var present []entrant
	for _, e := range entrants {
		if slices.ContainsFunc(results, func(r result) bool { return r.System == e.name && r.Register == "" }) {
			present = append(present, e)
		}
	}
	of := func(system, fault string) (some []result) {
		for _, r := range results {
			if r.System == system && r.Fault == fault && r.Register == "" {
				some = append(some, r)
			}
		}
		return some
	}
	if len(present) == 0 {
		fmt.Fprintln(out, "no results")
		return
	}
	gaps(out, present, of)
	counts(out, present, of)
	for _, r := range results {
		if r.Register != "" {
			fmt.Fprintf(out, "%s: %d operations on %d registers: %s\n", r.System, r.Operations, registerKeys, r.Register)
		}
	}
}

func gaps(out io.Writer, present []entrant, of func(system, fault string) []result) {
	fmt.Fprintf(out, "\nSeconds without a write: median / worst. ≥: there were no writes until the fault was undone.\n\n| fault |")
	rule := "|---|"
	for _, e := range present {
		fmt.Fprintf(out, " %s |", e.title)
		rule += "--:|"
	}
	for _, e := range present[1:] {
		fmt.Fprintf(out, " %s ÷ %s |", e.title, present[0].title)
		rule += "--:|"
	}
	fmt.Fprintln(out, "\n"+rule)
	for _, f := range faults {
		var cells []string
		var medians []float64
		some := false
		for _, e := range present {
			all := slices.DeleteFunc(of(e.name, f.name), func(r result) bool { return r.Acked == 0 }) // the fault did not take place
			if len(all) == 0 {
				cells, medians = append(cells, "–"), append(medians, 0)
				continue
			}
			some = true
			sorted := values(all, func(r result) float64 { return r.Gap })
			stuck := ""
			if slices.ContainsFunc(all, func(r result) bool { return r.Stuck }) {
				stuck = "≥ "
			}
			cells = append(cells, fmt.Sprintf("%s%.2f / %.2f", stuck, median(sorted), sorted[len(sorted)-1]))
			medians = append(medians, median(sorted))
		}
		if !some {
			continue
		}
		for _, m := range medians[1:] {
			if m == 0 || medians[0] == 0 {
				cells = append(cells, "–")
			} else {
				cells = append(cells, fmt.Sprintf("%.1f", m/medians[0]))
			}
		}
		fmt.Fprintf(out, "| %s | %s |\n", f.title, strings.Join(cells, " | "))
	}
}

func counts(out io.Writer, present []entrant, of func(system, fault string) []result) {
	fmt.Fprintln(out, "\nWhat clients saw, over all rounds: errors, of new sessions and idle ones out of how many; rows; seconds.")
	fmt.Fprintln(out, "\n| fault | system | rounds | new sessions: errors | longest wait | idle sessions: errors | errors at work | rows lost | not acknowledged, yet there | two primaries | redundant again after: median / worst | load | difficulties |")
	fmt.Fprintln(out, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, f := range faults {
		for _, e := range present {
			all := of(e.name, f.name)
			if len(all) == 0 {
				continue
			}
			sum := func(get func(result) int) (n int) {
				for _, r := range all {
					n += get(r)
				}
				return n
			}
			wholes, loads := values(all, func(r result) float64 { return r.Whole }), values(all, func(r result) float64 { return r.Load })
			fmt.Fprintf(out, "| %s | %s | %d | %d of %d | %.2f | %d of %d | %d | %d | %d | %.2f | %.1f / %.1f | %.0f–%.0f | %d |\n", f.title, e.title, len(all),
				sum(func(r result) int { return r.New }), sum(func(r result) int { return r.NewOf }), worst(all, func(r result) float64 { return r.NewWait }),
				sum(func(r result) int { return r.Idle }), sum(func(r result) int { return r.IdleOf }), sum(func(r result) int { return r.Work }),
				sum(func(r result) int { return r.Lost }), sum(func(r result) int { return r.Extra }), worst(all, func(r result) float64 { return r.Two }),
				median(wholes), wholes[len(wholes)-1], loads[0], loads[len(loads)-1], sum(func(r result) int { return min(1, len(r.Difficulty)) }))
		}
	}
	fmt.Fprintln(out)
}

func values(of []result, get func(result) float64) []float64 {
	var all []float64
	for _, r := range of {
		all = append(all, get(r))
	}
	slices.SortFunc(all, cmp.Compare)
	return all
}

func worst(of []result, get func(result) float64) float64 {
	all := values(of, get)
	return all[len(all)-1]
}

func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

func heading(w io.Writer, cores []int) {
	fmt.Fprint(w, "| what | library |")
	for _, n := range cores {
		fmt.Fprintf(w, " ns/op, %d %s |", n, plural(n, "core"))
	}
	fmt.Fprintf(w, " allocs/op | B/op | times Backstay's |\n|---|---|%s---:|---:|---:|\n", strings.Repeat("---:|", len(cores)))
}

// print writes a row's lines. The first library is Backstay's; the ratio says how much longer another takes.
func (r row) print(w io.Writer, results []result) {
	name := r.name
	for i, l := range r.libraries {
		fmt.Fprintf(w, "| %s | %s |", name, l.name)
		ratios := make([]string, 0, len(results[i].nanoseconds))
		for c, ns := range results[i].nanoseconds {
			fmt.Fprintf(w, " %s |", figure(ns))
			ratios = append(ratios, figure(results[i].ratios[c]))
		}
		ratio := strings.Join(ratios, ", ")
		if i == 0 {
			ratio = ""
		}
		fmt.Fprintf(w, " %d | %d | %s |\n", results[i].allocations, results[i].bytes, ratio)
		name = ""
	}
}

// figure has two significant digits at least.
func figure(x float64) string {
	if x < 10 {
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.0f", x)
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// The markers between which the table stands in a file.
const (
	begin = "<!-- bench-lib: begin -->\n"
	end   = "<!-- bench-lib: end -->"
)

// replace puts the table between the markers of a file.
func replace(path, table string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return fmt.Errorf("%s has no place for the table: add a line %q and a line %q", path, strings.TrimSpace(begin), end)
	}
	return os.WriteFile(path, []byte(before+begin+table+end+after), 0o644)
}

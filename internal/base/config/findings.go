package config

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// findings collects what is wrong with one file.
type findings struct {
	file     string
	lines    []string
	places   *places
	problems Problems
	covers   map[int][]cover // by line, counted from 1
}

// cover hides characters of a line, from is counted from 0; to is negative for the rest of the line.
type cover struct{ from, to int }

func newFindings(file, text string) *findings {
	f := &findings{file: file, places: newPlaces(), covers: map[int][]cover{}}
	if text != "" {
		f.lines = strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	}
	return f
}

// add reports a problem at a place.
func (f *findings) add(p path, line, column int, message, hint string) {
	f.problems = append(f.problems, Problem{File: f.file, Line: line, Column: column, Path: p.label, Message: message, Hint: hint})
}

// hide keeps a value that is or may be a secret out of the source lines that are shown.
func (f *findings) hide(n *node) {
	for _, item := range n.items {
		f.hide(item)
	}
	for _, e := range n.entries {
		f.hide(e.value)
	}
	if !n.scalar() {
		return
	}
	written := strings.Split(strings.TrimRight(strings.TrimLeft(n.origin, " \t\r\n"), " \t\r\n"), "\n")
	if len(written) == 1 {
		f.covers[n.line] = append(f.covers[n.line], cover{n.column - 1, n.column - 1 + len([]rune(written[0]))})
		return
	}
	f.covers[n.line] = append(f.covers[n.line], cover{n.column - 1, -1})
	for i := range written[1:] {
		f.covers[n.line+1+i] = append(f.covers[n.line+1+i], cover{0, -1})
	}
}

// sensitive finds a value that looks like a secret by its key: in a file that cannot be read as YAML there is no
// better way to tell.
var sensitive = regexp.MustCompile(`(?i)(authorization|password|passwd|secret|token|api[-_]?key)["']?\s*:\s*`)

// all is every problem in the order of the file, with its source line, or nil.
func (f *findings) all() Problems {
	slices.SortStableFunc(f.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	f.problems = slices.CompactFunc(f.problems, func(a, b Problem) bool {
		return a.Line == b.Line && a.Column == b.Column && a.Line > 0 && a.Message == b.Message
	})
	for i := range f.problems {
		p := &f.problems[i]
		if p.Line > 0 && p.Line <= len(f.lines) {
			p.Source, p.Caret = f.source(p.Line, p.Column-1)
		}
	}
	return f.problems
}

// source is a line with secrets covered, and where its character at caret is then.
func (f *findings) source(number, caret int) (string, int) {
	line := []rune(f.lines[number-1])
	covers := f.covers[number]
	if found := sensitive.FindStringIndex(string(line)); found != nil {
		from := len([]rune(string(line)[:found[1]]))
		known := slices.ContainsFunc(covers, func(c cover) bool { return c.from == from })
		if !known && from < len(line) && !strings.ContainsRune("{|>", line[from]) {
			covers = append(slices.Clone(covers), cover{from, -1})
		}
	}
	slices.SortFunc(covers, func(a, b cover) int { return cmp.Compare(a.from, b.from) })
	var shown []rune
	next, moved := 0, min(caret, len(line))
	for _, c := range covers {
		if c.to < 0 || c.to > len(line) {
			c.to = len(line)
		}
		if c.from = max(c.from, next); c.from >= c.to {
			continue
		}
		shown = append(shown, line[next:c.from]...)
		switch {
		case caret >= c.to:
			moved += len(hidden) - (c.to - c.from)
		case caret > c.from:
			moved -= caret - c.from
		}
		shown = append(shown, []rune(hidden)...)
		next = c.to
	}
	return string(append(shown, line[next:]...)), max(0, moved)
}

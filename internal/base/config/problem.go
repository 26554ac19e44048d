package config

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// File is the name given to Parse.
	File string `json:"file"`
	// Line and Column count from 1; columns are characters, not bytes. Both are 0 where there is no place.
	Line   int `json:"line"`
	Column int `json:"column"`
	// Path names what is wrong, list items by name: services.web.retry.attempts.
	Path string `json:"path,omitempty"`
	// Message says what is wrong; Hint what to do about it.
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Source is the offending line, secrets hidden, and Caret the character of it (from 0) that Column stands for.
	Source string `json:"source,omitempty"`
	Caret  int    `json:"caret,omitempty"`
}

// Problems is everything that is wrong with a configuration, in the order of the file.
type Problems []Problem

// Error writes the problem in one line, without the source: file:line:column: path: message; hint.
func (p Problem) Error() string {
	if p.Hint == "" {
		return p.headline()
	}
	return p.headline() + "; " + strings.Join(strings.Fields(p.Hint), " ")
}

func (p Problem) headline() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ":")
	}
	if p.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", p.Line, p.Column)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// sourceWidth is how many characters of an offending line are shown.
const sourceWidth = 120

// Text writes the problem with its source line, a caret under the place, and the hint.
func (p Problem) Text() string {
	var b strings.Builder
	b.WriteString(p.headline() + "\n")
	if p.Source != "" {
		line, caret := excerpt(p.Source, p.Caret)
		number := fmt.Sprintf("%5d", p.Line)
		fmt.Fprintf(&b, "%s | %s\n%5s | %s^\n", number, line, "", blank(line, caret))
	}
	for line := range strings.Lines(p.Hint) {
		b.WriteString("        " + strings.TrimRight(line, "\n") + "\n")
	}
	return b.String()
}

// blank is as wide as the first n characters of line; tabs stay tabs.
func blank(line string, n int) string {
	runes := []rune(line)
	width := make([]rune, 0, n)
	for i := range min(n, len(runes)) {
		if runes[i] == '\t' {
			width = append(width, '\t')
		} else {
			width = append(width, ' ')
		}
	}
	return string(width)
}

// excerpt cuts a long line to the part around the caret.
func excerpt(line string, caret int) (string, int) {
	if utf8.RuneCountInString(line) <= sourceWidth {
		return line, caret
	}
	runes := []rune(line)
	from := max(0, min(caret-sourceWidth/2, len(runes)-sourceWidth))
	to := min(len(runes), from+sourceWidth)
	cut := string(runes[from:to])
	if from > 0 {
		cut, from = "…"+cut, from-1
	}
	if to < len(runes) {
		cut += "…"
	}
	return cut, caret - from
}

// maxShown is how many problems Error writes; the rest are counted.
const maxShown = 50

// Error writes every problem with its source line, a caret under the place, and the hint.
func (ps Problems) Error() string {
	var b strings.Builder
	for _, p := range ps[:min(len(ps), maxShown)] {
		b.WriteString(p.Text())
	}
	if more := len(ps) - maxShown; more > 0 {
		fmt.Fprintf(&b, "and %d more\n", more)
	}
	return strings.TrimRight(b.String(), "\n")
}

// Unwrap gives each problem to errors.Is and errors.As.
func (ps Problems) Unwrap() []error {
	all := make([]error, len(ps))
	for i, p := range ps {
		all[i] = p
	}
	return all
}

package config

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// File is the name given to Parse.
	File string `json:"file"`
	// Line and Column count from 1; columns are characters, not bytes. Both are 0 where there is no place.
	Line   int `json:"line"`
	Column int `json:"column"`
	// Path names the key, such as services.web.retry.attempts.
	Path string `json:"path,omitempty"`
	// Message says what is wrong; Hint what to do about it.
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Source is the offending line.
	Source string `json:"source,omitempty"`
}

// Problems is everything that is wrong with a configuration, in the order of the file.
type Problems []Problem

// Error writes the problem in one line, without the source: file:line:column: message; hint.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.place())
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

func (p Problem) place() string {
	if p.Line == 0 {
		return p.File + ": "
	}
	return fmt.Sprintf("%s:%d:%d: ", p.File, p.Line, p.Column)
}

// Error writes every problem with its source line, a caret under the place, and the hint.
func (ps Problems) Error() string { return "" }

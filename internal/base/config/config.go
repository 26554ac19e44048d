// Package config is the desired state of a cluster as people write it: the schema, its defaults, strict parsing that
// tells every mistake with its place, and what differs between two configurations.
//
// It is pure data. Only Load and Secret.Reveal touch files or the environment, and nothing here knows who uses the
// configuration.
package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
)

// maxFile bounds how large a configuration may be.
const maxFile = 4 << 20

// Parse reads and validates a configuration; name is the file's name in messages. The error is a Problems with
// everything that is wrong, each at its place. Defaults are filled in.
func Parse(name string, text []byte) (*Config, error) {
	found := newFindings(name, string(text))
	c := found.parse(text)
	if problems := found.all(); len(problems) > 0 {
		return nil, problems
	}
	return c, nil
}

// Load reads the file at path and parses it.
func Load(path string) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, text)
}

// Default returns a T, one of the schema's structs, with the defaults of its fields filled in.
func Default[T any]() T {
	var t T
	fill(reflect.ValueOf(&t).Elem())
	return t
}

// Validate holds a configuration that was made in memory against the rules between its parts. Parse does so itself.
// The error is a Problems without places.
func (c *Config) Validate() error {
	found := newFindings("", "")
	(&validator{findings: found, config: c}).run()
	if problems := found.all(); len(problems) > 0 {
		return problems
	}
	return nil
}

func (f *findings) parse(text []byte) *Config {
	root := f.read(text)
	if root == nil {
		return nil
	}
	c := &Config{}
	d := decoder{findings: f}
	d.structure(root, path{}, reflect.ValueOf(c).Elem(), false)
	if d.values > maxValues {
		return nil
	}
	for i := range c.Services {
		f.settleHold(&c.Services[i], path{}.key("services").item(i, ""))
	}
	(&validator{findings: f, config: c, parsed: true}).run()
	return c
}

// settleHold says for how long a service holds, where the file does not: not at all with a fallback, as clients that can have
// an answer at once need not wait for a better one; as long as a failover may take with an engine.
func (f *findings) settleHold(s *Service, at path) {
	if _, given := f.places.byPath[at.key("hold").at]; given {
		return
	}
	switch {
	case s.Engine != nil:
		s.Hold.For = Duration(30 * time.Second)
	case len(s.Fallback) > 0:
		s.Hold.For = 0
	}
}

// read turns the file into nodes; nil where it cannot be read as YAML at all.
func (f *findings) read(text []byte) *node {
	switch {
	case len(text) > maxFile:
		f.add(path{}, 0, 0, fmt.Sprintf("the file is larger than %v", Size(maxFile)), "split it, or generate less")
		return nil
	case !utf8.Valid(text):
		line, column := invalid(text)
		f.add(path{}, line, column, "the file is not valid UTF-8 here", "save it as UTF-8")
		f.lines = nil
		return nil
	}
	file, err := parseYAML([]byte(strings.TrimPrefix(string(text), "\ufeff")))
	if err != nil {
		f.syntax(err)
		return nil
	}
	g := grower{anchors: map[string]*node{}, report: func(line, column int, message, hint string) {
		f.add(path{}, line, column, message, hint)
	}}
	var root *node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case root == nil:
			root = g.grow(doc.Body)
		default:
			line, column := position(doc.Body)
			f.add(path{}, line, column, "a second document begins here", "a configuration is one document: take out the --- before it")
		}
	}
	if root == nil || root.shape == empty {
		f.add(path{}, 1, 1, "the file is empty", "give it listeners and services")
		return nil
	}
	return root
}

// parseYAML is the library's parser, of which a panic counts as an error: it must not take a running node down.
func parseYAML(text []byte) (file *ast.File, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("this is not YAML (%v)", cause)
		}
	}()
	tokens := joinPlain(lexer.Tokenize(string(text)))
	if tk := tooDeep(tokens); tk != nil {
		return nil, &yaml.SyntaxError{Message: "it is nested too deeply here", Token: tk}
	}
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

// syntax reports what the library's parser could not read.
func (f *findings) syntax(err error) {
	var syntax yaml.Error
	if !errors.As(err, &syntax) || syntax.GetToken() == nil || syntax.GetToken().Position == nil {
		f.add(path{}, 1, 1, "this is not YAML: "+err.Error(), "")
		return
	}
	at, message, hint := syntax.GetToken().Position, strings.ReplaceAll(syntax.GetMessage(), "\t", `\t`), ""
	switch {
	case strings.Contains(message, "tab character"), strings.Contains(message, `\t`):
		hint = "indent with spaces"
	case strings.Contains(message, "must be specified"), strings.Contains(message, "not found"), strings.Contains(message, "end character"):
		hint = "a bracket, brace or quote that opened at or above this line is not closed"
	case strings.Contains(message, "mapping value is not allowed"), strings.Contains(message, "value is not allowed in this context"):
		hint = "check the indentation; a text with a colon, bracket or brace in it wants quotes"
	case strings.Contains(message, "reserved character"):
		hint = "put the text in quotes"
	}
	f.add(path{}, max(at.Line, 1), max(at.Column, 1), "this is not YAML: "+message, hint)
}

// invalid is where the text stops being UTF-8.
func invalid(text []byte) (line, column int) {
	line, column = 1, 1
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			return line, column
		case r == '\n':
			line, column = line+1, 1
		default:
			column++
		}
		text = text[n:]
	}
	return line, column
}

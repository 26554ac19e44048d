package config

import (
	_ "embed"
	"fmt"
	"reflect"
	"strings"
	"unicode"
)

// referenceIntro is what the reference begins with.
//
//go:embed reference.md
var referenceIntro string

// Reference is the configuration reference in Markdown: every key with its type, default and meaning, section by
// section, with a table of contents and small examples.
func Reference() []byte {
	w := referenceWriter{comments: comments(), uses: map[reflect.Type][]string{}}
	w.collect(reflect.TypeFor[Config](), "")
	w.text.WriteString(referenceIntro)
	w.text.WriteString("\n## Contents\n\n")
	for _, s := range w.sections {
		fmt.Fprintf(&w.text, "%s- [%s](#%s)\n", strings.Repeat("  ", min(s.depth, 2)), title(s.typ), anchor(s.typ))
	}
	for _, s := range w.sections {
		w.section(s.typ)
	}
	return []byte(w.text.String())
}

type referenceSection struct {
	typ   reflect.Type
	depth int
}

type referenceWriter struct {
	comments map[string]string
	sections []referenceSection
	uses     map[reflect.Type][]string // where each section may stand
	text     strings.Builder
}

// collect lists the sections in the order in which a reader meets them.
func (w *referenceWriter) collect(t reflect.Type, at string) {
	if at != "" {
		w.uses[t] = append(w.uses[t], at)
	}
	for _, s := range w.sections {
		if s.typ == t {
			return
		}
	}
	depth := 0
	if at != "" {
		depth = strings.Count(at, ".") + 1
	}
	w.sections = append(w.sections, referenceSection{t, depth})
	for _, f := range fieldsOf(t) {
		if inner := section(f.typ); inner != nil {
			w.collect(inner, join(at, f.name))
		}
	}
}

func (w *referenceWriter) section(t reflect.Type) {
	fields := fieldsOf(t)
	fmt.Fprintf(&w.text, "\n## %s\n\n%s\n", title(t), markdown(w.comments[t.Name()]))
	if uses := w.uses[t]; len(uses) > 0 {
		fmt.Fprintf(&w.text, "\nStands at: `%s`.\n", strings.Join(uses, "`, `"))
	}
	if note := forms(fields); note != "" {
		w.text.WriteString("\n" + note + "\n")
	}
	w.text.WriteString("\n| key | value | default | meaning |\n|---|---|---|---|\n")
	for _, f := range fields {
		fmt.Fprintf(&w.text, "| `%s` | %s | %s | %s |\n", f.name, valueText(f), defaultText(f), markdown(w.comments[t.Name()+"."+f.goName]))
	}
	if example := referenceExamples[t.Name()]; example != "" {
		fmt.Fprintf(&w.text, "\n```yaml\n%s```\n", example)
	}
}

// forms says which of the keys exclude each other, and what may stand in place of the whole section.
func forms(fields []field) string {
	var notes, ones []string
	for _, f := range fields {
		if f.one {
			ones = append(ones, "`"+f.name+"`")
		}
		if f.shorthand {
			notes = append(notes, fmt.Sprintf("In place of the whole section, %s alone is its `%s`.", plainType(f.typ), f.name))
		}
		if f.turnsOff {
			notes = append(notes, "In place of the whole section, the word `off` turns it off.")
		}
		if f.word {
			notes = append(notes, fmt.Sprintf("In place of the whole section, the word `%s` sets just that.", f.name))
		}
	}
	if len(ones) > 1 {
		notes = append([]string{"Exactly one of " + enumerate(ones) + " is given."}, notes...)
	}
	return strings.Join(notes, " ")
}

// plainType says what a value of type t is, in few words.
func plainType(t reflect.Type) string {
	switch t {
	case durationType, sizeType, secretType:
		return "a " + strings.ToLower(t.Name())
	case percentType:
		return "a percentage"
	}
	switch t.Kind() {
	case reflect.Slice:
		return "a list"
	case reflect.Int, reflect.Float64:
		return "a number"
	}
	return "a text"
}

// valueText says what a key takes.
func valueText(f field) string {
	if len(f.enum) > 0 {
		var options []string
		for _, option := range f.enum {
			if option != "" {
				options = append(options, "`"+option+"`")
			}
		}
		return alternatives(options)
	}
	kind := ""
	switch inner := section(f.typ); {
	case inner != nil && f.typ.Kind() == reflect.Slice:
		return fmt.Sprintf("list of [%s](#%s)", title(inner), anchor(inner))
	case inner != nil:
		return fmt.Sprintf("[%s](#%s)", title(inner), anchor(inner))
	case f.typ.Kind() == reflect.Slice:
		return "list of texts"
	case f.typ.Kind() == reflect.Map && f.typ.Elem() == secretType:
		return "mapping of names to secrets"
	case f.typ.Kind() == reflect.Map:
		return "mapping of names to texts"
	case f.typ.Kind() == reflect.Bool:
		return "`true` or `false`"
	case f.typ.Kind() == reflect.Int:
		kind = "whole number"
	default:
		kind = strings.TrimPrefix(plainType(f.typ), "a ")
	}
	if bounds := f.bounds(); bounds != "" {
		kind += ", " + bounds
	}
	return kind
}

func defaultText(f field) string {
	switch {
	case f.required:
		return "**required**"
	case f.defaulted && f.typ.Kind() == reflect.Slice:
		return "`[" + strings.ReplaceAll(f.standard, ",", ", ") + "]`"
	case f.defaulted:
		return "`" + f.standard + "`"
	case f.typ.Kind() == reflect.Bool:
		return "`false`"
	case f.typ.Kind() == reflect.Int, f.typ == sizeType:
		return "`0`"
	}
	return ""
}

// title is the name of a type in words: HTTPCheck is "HTTP check".
func title(t reflect.Type) string {
	name := []rune(t.Name())
	if t == reflect.TypeFor[Config]() {
		return "The file"
	}
	var b strings.Builder
	for i, r := range name {
		next := i+1 < len(name) && unicode.IsLower(name[i+1])
		if i > 0 && unicode.IsUpper(r) && (next || unicode.IsLower(name[i-1])) {
			b.WriteByte(' ')
			if next {
				r = unicode.ToLower(r)
			}
		}
		b.WriteRune(r)
	}
	return b.String()
}

func anchor(t reflect.Type) string {
	return strings.ReplaceAll(strings.ToLower(title(t)), " ", "-")
}

// markdown keeps what has a meaning in Markdown's tables as it is.
var markdown = strings.NewReplacer("|", `\|`, "*", `\*`, "<", "&lt;", `\`, `\\`).Replace

package config

import (
	"reflect"
	"strings"
)

// article says what a value of type t is, for people: "a duration such as 10s".
func article(t reflect.Type) string {
	switch t {
	case durationType:
		return "a duration such as 250ms, 10s or 1m30s"
	case sizeType:
		return "a size such as 64KiB"
	case percentType:
		return "a percentage such as 20%"
	case secretType:
		return "a secret: a text, {env: NAME} or {file: PATH}"
	}
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	}
	return "a mapping"
}

// described says what n is, for people.
func described(n *node) string {
	switch n.shape {
	case text:
		return "a text"
	case whole:
		return "a number"
	case fraction:
		return "a fraction"
	case truth:
		return n.text
	case list:
		return "a list"
	case mapping:
		return "a mapping"
	}
	return "nothing"
}

// enumerate joins words: a, b and c.
func enumerate(words []string) string { return joined(words, "and") }

// alternatives joins words: a, b or c.
func alternatives(words []string) string { return joined(words, "or") }

func joined(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " " + last + " " + words[len(words)-1]
}

func lastDot(s string) int { return strings.LastIndexByte(s, '.') }

func firstKey(n *node) string {
	if len(n.entries) == 0 {
		return "…"
	}
	return n.entries[0].key
}

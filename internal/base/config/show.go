package config

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// Show writes the configuration as YAML with every default filled in, in the schema's order. Secrets are hidden, and
// optional sections that are not configured are left out. Parsing it again gives the same configuration, hidden secrets aside.
func Show(c *Config) ([]byte, error) {
	if c == nil {
		return nil, fmt.Errorf("show the configuration: there is none")
	}
	var b bytes.Buffer
	showStruct(&b, reflect.ValueOf(c).Elem(), "")
	return b.Bytes(), nil
}

// showStruct writes the fields of a struct, each on lines of its own behind indent.
func showStruct(b *bytes.Buffer, v reflect.Value, indent string) {
	for _, f := range fieldsOf(v.Type()) {
		if value := v.Field(f.index); !f.silent(value) {
			showField(b, f.name, value, indent)
		}
	}
}

func showField(b *bytes.Buffer, name string, v reflect.Value, indent string) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	b.WriteString(indent + name + ":")
	inner := section(v.Type())
	switch {
	case inner == nil:
		b.WriteString(" " + inline(v, false) + "\n")
	case v.Kind() == reflect.Struct:
		var body bytes.Buffer
		showStruct(&body, v, indent+"  ")
		if body.Len() == 0 {
			b.WriteString(" {}\n")
			return
		}
		b.WriteByte('\n')
		b.Write(body.Bytes())
	default:
		b.WriteByte('\n')
		for i := range v.Len() {
			showItem(b, v.Index(i), indent+"  ")
		}
	}
}

// showItem writes a struct in a list: a dash, and its fields aligned behind it.
func showItem(b *bytes.Buffer, v reflect.Value, indent string) {
	var body bytes.Buffer
	showStruct(&body, v, indent+"  ")
	if body.Len() == 0 {
		b.WriteString(indent + "- {}\n")
		return
	}
	b.WriteString(indent + "- ")
	b.Write(body.Bytes()[len(indent)+2:])
}

// silent tells whether a value says nothing: it is zero, and so is its default.
func (f field) silent(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer:
		return v.IsNil()
	case reflect.Slice, reflect.Map:
		return v.Len() == 0 && !f.defaulted
	case reflect.Struct:
		if f.typ == secretType {
			return v.IsZero()
		}
		for _, inner := range fieldsOf(f.typ) {
			if !inner.silent(v.Field(inner.index)) {
				return false
			}
		}
		return true
	}
	return v.IsZero() && !f.defaulted
}

// inline writes a value on one line, as YAML. With brief, a struct's fields that have their default are left out.
func inline(v reflect.Value, brief bool) string {
	switch value := v.Interface().(type) {
	case Secret:
		return value.source()
	case Duration, Size, Percent:
		return fmt.Sprint(value)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return ""
		}
		return inline(v.Elem(), brief)
	case reflect.String:
		return quoted(v.String())
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'f', -1, 64)
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = inline(v.Index(i), brief)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.Map:
		var items []string
		for _, key := range sortedKeys(v) {
			items = append(items, quoted(key.String())+": "+inline(v.MapIndex(key), brief))
		}
		return "{" + strings.Join(items, ", ") + "}"
	case reflect.Struct:
		return "{" + strings.Join(inlineFields(v, brief), ", ") + "}"
	}
	return fmt.Sprint(v.Interface())
}

func inlineFields(v reflect.Value, brief bool) []string {
	standard := reflect.New(v.Type()).Elem()
	fill(standard)
	var items []string
	for _, f := range fieldsOf(v.Type()) {
		value := v.Field(f.index)
		same := brief && reflect.DeepEqual(value.Interface(), standard.Field(f.index).Interface())
		if !f.silent(value) && !same {
			items = append(items, f.name+": "+inline(value, brief))
		}
	}
	return items
}

// source tells where a secret is kept, or hides it.
func (s Secret) source() string {
	switch {
	case s.Env != "":
		return "{env: " + quoted(s.Env) + "}"
	case s.File != "":
		return "{file: " + quoted(s.File) + "}"
	}
	return quoted(hidden)
}

// bare is what a text may look like to stand without quotes, in block and in flow style.
var bare = regexp.MustCompile(`^[A-Za-z0-9/_.][A-Za-z0-9/_.@+-]*(:[0-9/][A-Za-z0-9/_.:-]*)*$`)

// quoted writes a text so that YAML reads it back as it is.
func quoted(s string) string {
	switch strings.ToLower(s) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return `"` + s + `"`
	}
	if bare.MatchString(s) && !strings.HasSuffix(s, ":") && !strings.HasPrefix(s, "...") {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r > 0xffff && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

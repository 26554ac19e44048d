package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// validator holds a configuration against the rules between its parts. Where it was parsed from a file, findings know
// the places, and what is already known to be wrong is not reported again.
type validator struct {
	*findings
	config *Config
	parsed bool
}

func (v *validator) run() {
	v.choices(reflect.ValueOf(v.config).Elem(), path{})
	v.nodes()
	v.services()
	v.instances(v.listeners())
	v.modes()
	v.tokens()
	v.observability()
}

// problem reports a finding about p at the place of its value.
func (v *validator) problem(p path, message, hint string) {
	if v.places.doubtful(p) {
		return
	}
	at := v.places.nearest(p)
	v.add(p, at.line, at.column, message, hint)
}

// useless reports a key that the file gives although nothing will come of it. What a merge key brought in is let be:
// shared defaults may say more than each of their users needs.
func (v *validator) useless(p path, key, message, hint string) {
	given := v.given(p, key)
	if p = p.key(key); given && !v.places.doubtful(p) {
		at := v.places.nearest(p)
		v.add(p, at.keyLine, at.keyColumn, message, hint)
	}
}

// given tells whether the file itself gives the key.
func (v *validator) given(p path, key string) bool { return v.parsed && v.places.given(p.key(key)) }

// choices holds every struct against its exactly-one-of rule.
func (v *validator) choices(value reflect.Value, p path) {
	switch value.Kind() {
	case reflect.Pointer:
		if !value.IsNil() {
			v.choices(value.Elem(), p)
		}
	case reflect.Slice:
		for i := range value.Len() {
			item := value.Index(i)
			v.choices(item, p.item(i, elementLabel(item.Interface())))
		}
	case reflect.Struct:
		if value.Type() == secretType {
			return
		}
		v.choice(value, p)
		for _, f := range fieldsOf(value.Type()) {
			v.choices(value.Field(f.index), p.key(f.name))
		}
	}
}

func (v *validator) choice(value reflect.Value, p path) {
	var options, chosen []string
	for _, f := range fieldsOf(value.Type()) {
		if !f.one {
			continue
		}
		if v.places.doubtful(p.key(f.name)) {
			return
		}
		options = append(options, f.name)
		if !value.Field(f.index).IsZero() {
			chosen = append(chosen, f.name)
		}
	}
	switch {
	case len(options) == 0 || len(chosen) == 1:
	case len(chosen) == 0 && len(options) == 1:
		v.problem(p, options[0]+" is missing", "give "+options[0])
	case len(chosen) == 0:
		v.problem(p, "this has none of "+alternatives(options), "give exactly one of them")
	default:
		at := v.places.nearest(p.key(chosen[1]))
		if !v.places.doubtful(p) {
			v.add(p, at.keyLine, at.keyColumn, enumerate(chosen)+" are given together", "keep exactly one of them")
		}
	}
}

// unique reports the second of two items with the same name.
func (v *validator) unique(seen map[string]path, name, what string, p path) {
	if name == "" {
		return
	}
	if first, twice := seen[name]; twice {
		hint := "give one of them another name"
		if at := v.places.nearest(first); at.line > 0 {
			hint = fmt.Sprintf("the first is at line %d: give one of them another name", at.line)
		}
		v.problem(p, fmt.Sprintf("there are two %s named %q", what, name), hint)
		return
	}
	seen[name] = p
}

// namePattern is what names may look like: they stand in paths, metrics and commands.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}$`)

func (v *validator) name(name string, p path) {
	if name != "" && !namePattern.MatchString(name) {
		v.problem(p, fmt.Sprintf("%q cannot be a name", name), "use up to 128 letters, digits, dots, dashes, underscores and colons")
	}
}

func (v *validator) nodes() {
	v.store(v.config.Store, path{}.key("store"))
	seen := map[string]path{}
	for i, n := range v.config.Nodes {
		p := path{}.key("nodes").item(i, n.Name)
		v.name(n.Name, p.key("name"))
		v.unique(seen, n.Name, "nodes", p.key("name"))
		if strings.Contains(n.Address, "/") || strings.ContainsAny(n.Address, " ") {
			v.problem(p.key("address"), fmt.Sprintf("%q is not an address", n.Address), "write an IP address or a host name, without http:// or a path")
		}
		v.watchdog(n, p)
	}
}

// reference reports a service that does not exist.
func (v *validator) reference(name string, p path) {
	if _, found := v.config.Service(name); found || name == "" || v.namesInDoubt() {
		return
	}
	var known []string
	for _, s := range v.config.Services {
		if !slices.Contains(known, s.Name) {
			known = append(known, s.Name)
		}
	}
	hint := "add it to services; there is none yet"
	if len(known) > 0 {
		hint = "the services are " + enumerate(known[:min(len(known), 10)])
	}
	if near := closest(name, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	v.problem(p, fmt.Sprintf("there is no service %q", name), hint)
}

// namesInDoubt tells whether a mistake in the list of services already explains why one is not found.
func (v *validator) namesInDoubt() bool {
	for bad, is := range v.places.wrong {
		if rest, in := strings.CutPrefix(bad, "services"); is && in && (!strings.Contains(rest, ".") || strings.HasSuffix(rest, "].name")) {
			return true
		}
	}
	return false
}

// pattern reports a regular expression that cannot be compiled.
func (v *validator) pattern(expression string, p path) {
	if _, err := regexp.Compile(expression); err != nil {
		cause := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
		v.problem(p, "this is not a regular expression: "+cause, "the syntax is RE2: https://github.com/google/re2/wiki/Syntax")
	}
}

// atMost reports a duration that is longer than the one that bounds it.
func (v *validator) atMost(p path, key string, d Duration, bound string, limit Duration) {
	if d > limit && !v.places.doubtful(p.key(bound)) {
		at := p.key(key)
		if !v.given(p, key) && v.given(p, bound) {
			at = p.key(bound)
		}
		v.problem(at, fmt.Sprintf("%s (%v) is longer than %s (%v)", key, d, bound, limit), fmt.Sprintf("make %s shorter or %s longer", key, bound))
	}
}

// tokenPattern is what methods, header names and cookie names are made of (RFC 9110, section 5.6.2).
var tokenPattern = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

func (v *validator) token(name, what string, p path) {
	if name != "" && !tokenPattern.MatchString(name) {
		v.problem(p, fmt.Sprintf("%q cannot be the name of a %s", name, what), "use letters, digits and dashes")
	}
}

// headers checks names and values that are sent.
func (v *validator) headers(headers map[string]string, p path) {
	for _, name := range keys(headers) {
		v.token(name, "header", p.key(name))
		if name == "" {
			v.problem(p.key(name), "a header has no name", "give it one, or take it out")
		}
		if !fieldValue(headers[name]) {
			v.problem(p.key(name), "a header's value must be one line without control characters", "take out line breaks; use \"…\" rather than | or >")
		}
	}
}

// fieldValue tells whether s can be the value of a header (RFC 9110, section 5.5).
func fieldValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

func (v *validator) observability() {
	c := v.config
	if c.Metrics != nil {
		v.bindable(c.Metrics.Listen, path{}.key("metrics").key("listen"))
	}
	access := path{}.key("access_log")
	if c.AccessLog.Mode != "sampled" {
		v.useless(access, "sample", "sample has no effect with mode "+c.AccessLog.Mode, "write mode: sampled, or take sample out")
	}
	if c.AccessLog.Mode == "off" {
		v.useless(access, "path", "path has no effect with mode off", "write mode: sampled or mode: full, or take path out")
	}
	if c.Tracing != nil {
		p := path{}.key("tracing")
		v.web(c.Tracing.OTLP, p.key("otlp"))
		for _, name := range keys(c.Tracing.Headers) {
			v.secretHeader(name, c.Tracing.Headers[name], p.key("headers").key(name))
		}
	}
}

// secretHeader checks a header whose value may not be told.
func (v *validator) secretHeader(name string, value Secret, p path) {
	if !tokenPattern.MatchString(name) {
		v.problem(p, fmt.Sprintf("%q cannot be the name of a header", name), "use letters, digits and dashes")
	}
	if !fieldValue(value.Text) {
		v.problem(p, "a header's value must be one line without control characters", "take out line breaks; use \"…\" rather than | or >")
	}
}

// repeated is the first item that occurs twice.
func repeated(items []string) (string, bool) {
	for i, item := range items {
		if slices.Contains(items[:i], item) {
			return item, true
		}
	}
	return "", false
}

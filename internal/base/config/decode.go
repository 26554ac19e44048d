package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// maxValues bounds how many values one file may have once its aliases are followed, so that a few lines of aliases of
// aliases cannot fill the memory.
const maxValues = 200_000

// decoder maps nodes to the structs of the schema.
type decoder struct {
	*findings
	values int
}

// structure reads a struct of the schema. optional is set where the struct need not be there, so that true means "with
// its defaults".
func (d *decoder) structure(n *node, p path, v reflect.Value, optional bool) {
	fill(v)
	fields := fieldsOf(v.Type())
	if n.shape != mapping {
		d.shorthand(n, p, v, fields, optional)
		return
	}
	given := map[string]bool{}
	for _, e := range n.entries {
		f, known := pick(fields, func(f field) bool { return f.name == e.key })
		if !known {
			d.unknown(n, e, p, fields)
			continue
		}
		given[f.name] = true
		at := p.key(f.name)
		d.remember(at, p, e)
		target := v.Field(f.index)
		before := reflect.New(f.typ).Elem()
		before.Set(target)
		d.value(e.value, at, f, target)
		if here := d.places.byPath[at.at]; reflect.DeepEqual(before.Interface(), target.Interface()) {
			here.standard = true
			d.places.byPath[at.at] = here
		}
	}
	for _, f := range fields {
		at := p.key(f.name)
		if f.required && !given[f.name] && !d.places.wrong[at.at] {
			d.add(p, n.line, n.column, f.name+" is missing", "add "+f.name+": … ("+article(f.typ)+")")
			d.places.wrong[at.at] = true
		}
	}
}

// shorthand reads a scalar or list that stands in place of a struct.
func (d *decoder) shorthand(n *node, p path, v reflect.Value, fields []field, optional bool) {
	if off, ok := pick(fields, func(f field) bool { return f.turnsOff }); ok && (n.text == "off" || n.text == "false") {
		v.Field(off.index).SetBool(true)
		return
	}
	if word, ok := pick(fields, func(f field) bool { return f.word && f.name == n.text }); ok {
		v.Field(word.index).SetBool(true)
		return
	}
	short, ok := pick(fields, func(f field) bool { return f.shorthand })
	_, needs := pick(fields, func(f field) bool { return f.required })
	switch {
	case (n.shape == truth && n.text == "true" || n.shape == text && n.text == "on" && !ok) && optional && !needs:
	case n.shape == empty:
		d.wrong(n, p, "this has no value", "write {} for its defaults, or take the key out")
	case ok && n.shape != truth && (n.scalar() || short.typ.Kind() == reflect.Slice):
		at := p.key(short.name)
		d.places.byPath[at.at] = d.places.byPath[p.at]
		d.value(n, at, short, v.Field(short.index))
	default:
		hint := "its keys are " + enumerate(names(fields))
		if ok && short.typ.Kind() != reflect.Slice {
			hint = fmt.Sprintf("write %s alone, or a mapping with %s", article(short.typ), enumerate(names(fields)))
		}
		d.wrong(n, p, "this must be a mapping (key: value), not "+described(n), hint)
	}
}

// unknown reports a key of n that the struct at p does not have.
func (d *decoder) unknown(n *node, e entry, p path, fields []field) {
	if p.at == "" && len(e.key) > 2 && e.key[:2] == "x-" {
		return // a place for anchors
	}
	hint, private := "the keys here are "+enumerate(names(fields)), secretive(fields, nil)
	if near := closest(e.key, names(fields)); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
		d.places.wrong[p.key(near).at] = n.find(near) == nil
		f, _ := pick(fields, func(f field) bool { return f.name == near })
		private = secretive([]field{f}, nil)
	} else if key, value, colon := strings.Cut(e.key, ":"); colon && slices.Contains(names(fields), key) {
		hint = fmt.Sprintf("put a space after the colon: %s: %s", key, value)
		d.places.wrong[p.key(key).at] = n.find(key) == nil
	} else if parent, ok := pick(fields, func(f field) bool { return has(f.typ, e.key) }); ok {
		hint = fmt.Sprintf("%s belongs in %s: {%s: …}", e.key, parent.name, e.key)
	}
	d.add(p, e.line, e.column, fmt.Sprintf("unknown key %q", e.key), hint)
	if private {
		d.hide(e.value)
	}
}

// secretive tells whether secrets stand somewhere in the fields; within are the types that are already being looked at.
func secretive(fields []field, within []reflect.Type) bool {
	_, found := pick(fields, func(f field) bool {
		if inner := section(f.typ); inner != nil {
			return !slices.Contains(within, inner) && secretive(fieldsOf(inner), append(within, inner))
		}
		return f.typ == secretType || f.typ.Kind() == reflect.Map && f.typ.Elem() == secretType
	})
	return found
}

// has tells whether a section of type t has the key.
func has(t reflect.Type, key string) bool {
	inner := section(t)
	return inner != nil && t.Kind() != reflect.Slice && slices.Contains(names(fieldsOf(inner)), key)
}

// value reads what a field takes into v.
func (d *decoder) value(n *node, p path, f field, v reflect.Value) {
	if d.values++; d.values > maxValues {
		if d.values == maxValues+1 {
			d.wrong(n, p, "the file has too many values once its aliases are followed", "")
		}
		return
	}
	if n.shape == lost {
		d.places.wrong[p.at] = true
		return
	}
	if inner := v.Type(); inner.Kind() == reflect.Pointer {
		if n.shape == empty {
			d.wrong(n, p, "this has no value", "write {} for its defaults, or take the key out")
			return
		}
		target := reflect.New(inner.Elem())
		d.structure(n, p, target.Elem(), true)
		v.Set(target)
		return
	}
	switch {
	case v.Type() == secretType:
		d.secret(n, p, v)
	case v.Kind() == reflect.Struct:
		d.structure(n, p, v, false)
	case v.Kind() == reflect.Slice:
		d.list(n, p, f, v)
	case v.Kind() == reflect.Map:
		d.table(n, p, v)
	default:
		d.plain(n, p, f, v)
	}
}

func (d *decoder) list(n *node, p path, f field, v reflect.Value) {
	v.SetZero()
	items := n.items
	plain := v.Type().Elem().Kind() == reflect.String
	switch {
	case plain && n.scalar():
		items = []*node{n}
	case n.shape != list:
		d.wrong(n, p, "this must be a list, not "+described(n), listHint(n, p))
		return
	}
	if len(items) > 0 {
		v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	}
	for i, item := range items {
		at := p.item(i, labelOf(item, v.Type().Elem()))
		d.places.byPath[at.at] = place{keyLine: item.line, keyColumn: item.column, line: item.line, column: item.column, merged: d.places.byPath[p.at].merged}
		d.value(item, at, field{name: f.name, typ: v.Type().Elem(), enum: f.enum}, v.Index(i))
	}
	if f.required && len(items) == 0 {
		d.wrong(n, p, "this list is empty", "give at least one")
	}
}

func listHint(n *node, p path) string {
	name := p.at[max(0, 1+lastDot(p.at)):]
	if n.shape == mapping {
		return "put a dash before each item:\n" + name + ":\n  - " + firstKey(n) + ": …"
	}
	return fmt.Sprintf("write %s: [ … ]", name)
}

// table reads a map of names to text or secrets.
func (d *decoder) table(n *node, p path, v reflect.Value) {
	v.SetZero()
	if n.shape != mapping {
		if v.Type().Elem() == secretType {
			d.hide(n)
		}
		d.wrong(n, p, "this must be a mapping (name: value), not "+described(n), "")
		return
	}
	if len(n.entries) == 0 {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range n.entries {
		at := p.key(e.key)
		d.remember(at, p, e)
		value := reflect.New(v.Type().Elem()).Elem()
		d.value(e.value, at, field{name: e.key, typ: value.Type()}, value)
		v.SetMapIndex(reflect.ValueOf(e.key), value)
	}
}

// secret reads the text itself, {env: NAME} or {file: PATH}. What is given is never shown.
func (d *decoder) secret(n *node, p path, v reflect.Value) {
	const hint = "write the text, {env: NAME} or {file: PATH}"
	if n.scalar() {
		d.hide(n)
		v.Set(reflect.ValueOf(Secret{Text: n.text}))
		return
	}
	if n.shape != mapping || len(n.entries) != 1 {
		d.hide(n)
		d.wrong(n, p, "a secret is a text, or where it is kept", hint)
		return
	}
	e := n.entries[0]
	switch {
	case (e.key != "env" && e.key != "file") || !e.value.scalar() || e.value.text == "":
		d.hide(n)
		d.wrong(n, p, "a secret is a text, or where it is kept", hint)
	case e.key == "env":
		v.Set(reflect.ValueOf(Secret{Env: e.value.text}))
	default:
		v.Set(reflect.ValueOf(Secret{File: e.value.text}))
	}
}

// remember keeps the place of an entry for later findings about it.
func (d *decoder) remember(p, parent path, e entry) {
	at := place{keyLine: e.line, keyColumn: e.column, line: e.value.line, column: e.value.column}
	at.merged = e.merged || d.places.byPath[parent.at].merged
	if e.value.shape == mapping || e.value.shape == list || e.value.shape == empty {
		at.line, at.column = e.line, e.column
	}
	d.places.byPath[p.at] = at
}

// wrong reports what is wrong with the value n at p.
func (d *decoder) wrong(n *node, p path, message, hint string) {
	line, column := n.line, n.column
	if at, known := d.places.byPath[p.at]; known && !n.scalar() {
		line, column = at.line, at.column
	}
	d.add(p, line, column, message, hint)
	d.places.wrong[p.at] = true
}

package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Op is what happened to a part of the configuration.
type Op string

// What can happen to a part of the configuration.
const (
	Added   Op = "added"
	Removed Op = "removed"
	Changed Op = "changed"
)

// Change is one difference between two configurations.
type Change struct {
	Op Op `json:"op"`
	// Path names what differs, lists by name: services.web.members.10.0.0.11:8080.weight.
	Path string `json:"path"`
	// Old and New are the values as text, secrets hidden. Old is empty for what was added, New for what was removed.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
}

// String writes the change for people: "services.web.retry.attempts: 3 → 5", with + and - for what came and went.
func (c Change) String() string {
	switch c.Op {
	case Added:
		return "+ " + c.Path + ": " + c.New
	case Removed:
		return "- " + c.Path + ": " + c.Old
	}
	return fmt.Sprintf("~ %s: %s → %s", c.Path, c.Old, c.New)
}

// Diff lists what differs between two configurations, in the schema's order. A nil one counts as empty.
func Diff(old, new *Config) []Change {
	var d differ
	d.compare("", reflect.ValueOf(orEmpty(old)).Elem(), reflect.ValueOf(orEmpty(new)).Elem())
	return d.changes
}

func orEmpty(c *Config) *Config {
	if c == nil {
		empty := Default[Config]()
		return &empty
	}
	return c
}

type differ struct{ changes []Change }

func (d *differ) add(op Op, path, old, new string) {
	d.changes = append(d.changes, Change{Op: op, Path: path, Old: old, New: new})
}

func (d *differ) compare(path string, old, new reflect.Value) {
	if reflect.DeepEqual(old.Interface(), new.Interface()) {
		return
	}
	inner := section(old.Type())
	switch {
	case old.Kind() == reflect.Pointer && old.IsNil():
		d.add(Added, path, "", inline(new, true))
	case old.Kind() == reflect.Pointer && new.IsNil():
		d.add(Removed, path, inline(old, true), "")
	case old.Kind() == reflect.Pointer:
		d.compare(path, old.Elem(), new.Elem())
	case old.Kind() == reflect.Struct && inner != nil:
		for _, f := range fieldsOf(old.Type()) {
			d.compare(join(path, f.name), old.Field(f.index), new.Field(f.index))
		}
	case old.Kind() == reflect.Slice && inner != nil:
		d.list(path, old, new)
	case old.Kind() == reflect.Map:
		d.table(path, old, new)
	default:
		d.value(path, old, new)
	}
}

// value compares plain values; an empty one counts as none.
func (d *differ) value(path string, old, new reflect.Value) {
	from, to := inline(old, true), inline(new, true)
	switch {
	case from == to: // secrets
		d.add(Changed, path, from, to)
	case old.IsZero() && old.Kind() == reflect.String:
		d.add(Added, path, "", to)
	case new.IsZero() && new.Kind() == reflect.String:
		d.add(Removed, path, from, "")
	default:
		d.add(Changed, path, from, to)
	}
}

// list compares lists of structs by the names of their items.
func (d *differ) list(path string, old, new reflect.Value) {
	before, oldKeys := keyed(old)
	after, newKeys := keyed(new)
	for _, key := range oldKeys {
		if _, stays := after[key]; !stays {
			d.add(Removed, join(path, key), inline(before[key], true), "")
		}
	}
	for _, key := range newKeys {
		if was, known := before[key]; known {
			d.compare(join(path, key), was, after[key])
		} else {
			d.add(Added, join(path, key), "", inline(after[key], true))
		}
	}
	if old.Type().Elem() != reflect.TypeFor[Route]() {
		return // only routes are asked in their order
	}
	gone := func(of map[string]reflect.Value) func(string) bool {
		return func(key string) bool { _, stays := of[key]; return !stays }
	}
	from, to := slices.DeleteFunc(oldKeys, gone(after)), slices.DeleteFunc(newKeys, gone(before))
	if !slices.Equal(from, to) {
		d.add(Changed, path, "in the order "+strings.Join(from, ", "), strings.Join(to, ", "))
	}
}

// keyed is the items of a list by name, or position where they have none, with the names in order.
func keyed(list reflect.Value) (map[string]reflect.Value, []string) {
	items, order := make(map[string]reflect.Value, list.Len()), make([]string, 0, list.Len())
	for i := range list.Len() {
		item := list.Index(i)
		key := elementLabel(item.Interface())
		if _, taken := items[key]; key == "" || taken {
			key = strconv.Itoa(i + 1)
		}
		items[key] = item
		order = append(order, key)
	}
	return items, order
}

func (d *differ) table(path string, old, new reflect.Value) {
	for _, key := range sortedKeys(old) {
		if !new.MapIndex(key).IsValid() {
			d.add(Removed, join(path, key.String()), inline(old.MapIndex(key), true), "")
		}
	}
	for _, key := range sortedKeys(new) {
		at, was := join(path, key.String()), old.MapIndex(key)
		if !was.IsValid() {
			d.add(Added, at, "", inline(new.MapIndex(key), true))
			continue
		}
		d.compare(at, was, new.MapIndex(key))
	}
}

func sortedKeys(m reflect.Value) []reflect.Value {
	all := m.MapKeys()
	slices.SortFunc(all, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return all
}

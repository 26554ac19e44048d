package config

import (
	"fmt"
	"reflect"
	"strings"
)

// field is one key of a struct of the schema, as its tags describe it:
//
//	yaml:"name"          the key
//	default:"10s"        its value where the file does not give one; lists separate their items by commas
//	required:"true"      the file must give it
//	enum:"a,b"           the only values it takes; an empty first one may be left out
//	min:"1" max:"10"     its bounds, in its own unit
//	config:"shorthand"   a scalar or list in place of the whole struct is this key's value
//	config:"one"         exactly one of the struct's keys marked so is given
//	config:"off"         the word off in place of the whole struct makes it true
//	config:"word"        the key's name in place of the whole struct makes it true
type field struct {
	name      string // the key in YAML
	goName    string
	index     int
	typ       reflect.Type
	standard  string // the default
	defaulted bool
	required  bool
	enum      []string
	min, max  string
	shorthand bool
	one       bool
	turnsOff  bool
	word      bool
}

// schema is the keys of every struct of the schema. It never changes.
var schema = describe(reflect.TypeFor[Config](), map[reflect.Type][]field{})

func describe(t reflect.Type, known map[reflect.Type][]field) map[reflect.Type][]field {
	if _, done := known[t]; done {
		return known
	}
	known[t] = readTags(t)
	for _, f := range known[t] {
		if inner := section(f.typ); inner != nil {
			describe(inner, known)
		}
	}
	return known
}

// fieldsOf lists the keys of a struct type in their order.
func fieldsOf(t reflect.Type) []field { return schema[t] }

func readTags(t reflect.Type) []field {
	fields := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		sf := t.Field(i)
		f := field{name: sf.Tag.Get("yaml"), goName: sf.Name, index: i, typ: sf.Type, min: sf.Tag.Get("min"), max: sf.Tag.Get("max")}
		f.standard, f.defaulted = sf.Tag.Lookup("default")
		f.required = sf.Tag.Get("required") == "true"
		if enum, ok := sf.Tag.Lookup("enum"); ok {
			f.enum = strings.Split(enum, ",")
		}
		for option := range strings.SplitSeq(sf.Tag.Get("config"), ",") {
			f.shorthand = f.shorthand || option == "shorthand"
			f.one = f.one || option == "one"
			f.turnsOff = f.turnsOff || option == "off"
			f.word = f.word || option == "word"
		}
		fields = append(fields, f)
	}
	return fields
}

func names(fields []field) []string {
	all := make([]string, len(fields))
	for i, f := range fields {
		all[i] = f.name
	}
	return all
}

// pick finds the first field for which is holds.
func pick(fields []field, is func(field) bool) (field, bool) {
	for _, f := range fields {
		if is(f) {
			return f, true
		}
	}
	return field{}, false
}

var (
	durationType = reflect.TypeFor[Duration]()
	sizeType     = reflect.TypeFor[Size]()
	percentType  = reflect.TypeFor[Percent]()
	secretType   = reflect.TypeFor[Secret]()
)

// section is the struct type behind t, which may be optional (a pointer) or repeated (a slice); nil where t is a plain value.
func section(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() == reflect.Struct && t != secretType {
		return t
	}
	return nil
}

// fill sets v, a struct of the schema, to its defaults.
func fill(v reflect.Value) {
	v.SetZero()
	for _, f := range fieldsOf(v.Type()) {
		target := v.Field(f.index)
		switch {
		case f.defaulted:
			if err := assign(target, f.standard); err != nil {
				panic(fmt.Sprintf("config: the default of %s.%s: %v", v.Type().Name(), f.goName, err))
			}
		case target.Kind() == reflect.Struct && f.typ != secretType:
			fill(target)
		}
	}
}

// elementLabel names an item of a list for people and for Diff, or is "" where it has no name of its own.
func elementLabel(item any) string {
	switch item := item.(type) {
	case Node:
		return item.Name
	case Service:
		return item.Name
	case Member:
		return item.ID()
	case Listener:
		return item.ID()
	case Route:
		return item.Name
	case Split:
		return item.Service
	case SNIRoute:
		return strings.Join(item.Names, "+")
	case Certificate:
		return item.Cert
	case TokenKey:
		return item.ID
	case Mode:
		return item.Name
	}
	return ""
}

// labelKeys are the keys by which elementLabel names an item, for a file that is still being read.
var labelKeys = map[reflect.Type][]string{
	reflect.TypeFor[Node]():        {"name"},
	reflect.TypeFor[Service]():     {"name"},
	reflect.TypeFor[Member]():      {"name", "address"},
	reflect.TypeFor[Listener]():    {"name", "listen"},
	reflect.TypeFor[Route]():       {"name"},
	reflect.TypeFor[Split]():       {"service"},
	reflect.TypeFor[Certificate](): {"cert"},
	reflect.TypeFor[Mode]():        {"name"},
	reflect.TypeFor[TokenKey]():    {"id"},
}

// labelOf names the item of a list of t that n describes.
func labelOf(n *node, t reflect.Type) string {
	if t == reflect.TypeFor[Member]() && n.scalar() {
		return n.text
	}
	for _, key := range labelKeys[t] {
		if value := n.find(key); value != nil && value.scalar() && value.text != "" {
			return value.text
		}
	}
	return ""
}

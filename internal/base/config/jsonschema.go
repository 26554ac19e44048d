package config

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

type object = map[string]any

const (
	number         = `([0-9]+(\.[0-9]*)?|\.[0-9]+)`
	durationSchema = `^(0|` + number + `d(` + number + `(ns|us|µs|μs|ms|s|m|h))*|(` + number + `(ns|us|µs|μs|ms|s|m|h))+)$`
	sizeSchema     = `^(0|` + number + ` ?([KMGT]i?B|kB|B))$`
	percentSchema  = `^` + number + ` ?%?$`
)

// Schema is the JSON Schema (2020-12) of the configuration file, for editors. It knows keys, types, bounds, short forms
// and exactly-one-of rules; what only the whole can tell, such as references between parts, is left to Parse.
func Schema() []byte {
	w := schemaWriter{comments: comments(), defs: object{
		"Duration": object{"description": "A length of time with its unit: 250ms, 1m30s, 7d.",
			"anyOf": []any{object{"type": "string", "pattern": durationSchema}, object{"const": 0}}},
		"Size": object{"description": "A number of bytes with its unit: 512B, 64KiB, 1MiB, 10MB.",
			"anyOf": []any{object{"type": "string", "pattern": sizeSchema}, object{"const": 0}}},
		"Percent": object{"description": "A share of a hundred: 20% or 20.",
			"anyOf": []any{object{"type": "string", "pattern": percentSchema}, object{"type": "number", "minimum": 0, "maximum": 100}}},
		"Secret": object{"description": "A text that is never printed: itself, {env: NAME} or {file: PATH}.",
			"anyOf": []any{object{"type": scalarTypes}, kept("env"), kept("file")}},
	}}
	root := w.body(reflect.TypeFor[Config]())
	root["patternProperties"] = object{"^x-.": object{"description": "A place for anchors; otherwise ignored."}}
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Backstay configuration"
	root["$defs"] = w.defs
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("config: write the JSON Schema: " + err.Error())
	}
	return append(out, '\n')
}

// scalarTypes are what may stand where text is expected: YAML reads 1.2 and true as something else.
var scalarTypes = []string{"string", "number", "boolean"}

// kept is a secret that is kept elsewhere.
func kept(where string) object {
	return object{"type": "object", "properties": object{where: object{"type": scalarTypes}},
		"required": []string{where}, "additionalProperties": false}
}

type schemaWriter struct {
	comments map[string]string
	defs     object
}

// body is the schema of a struct written as a mapping.
func (w *schemaWriter) body(t reflect.Type) object {
	properties, required, choice := object{}, []string{}, []any{}
	for _, f := range fieldsOf(t) {
		property := w.property(f)
		property["description"] = w.comments[t.Name()+"."+f.goName]
		if f.defaulted {
			property["default"] = jsonDefault(f)
		}
		properties[f.name] = property
		if f.required {
			required = append(required, f.name)
		}
		if f.one {
			choice = append(choice, object{"required": []string{f.name}})
		}
	}
	body := object{"type": "object", "properties": properties, "additionalProperties": false}
	if text := w.comments[t.Name()]; text != "" {
		body["description"] = text
	}
	if len(required) > 0 {
		body["required"] = required
	}
	if len(choice) > 0 {
		body["oneOf"] = choice
	}
	return body
}

// property is the schema of one key.
func (w *schemaWriter) property(f field) object {
	switch f.typ {
	case durationType, sizeType, percentType, secretType:
		return object{"$ref": "#/$defs/" + f.typ.Name()}
	}
	switch f.typ.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int:
		return bounded(f, object{"type": "integer"})
	case reflect.Float64:
		return bounded(f, object{"type": "number"})
	case reflect.String:
		return textSchema(f)
	case reflect.Map:
		return object{"type": "object", "additionalProperties": w.property(field{typ: f.typ.Elem()})}
	case reflect.Slice:
		return w.listSchema(f)
	case reflect.Pointer:
		inner := f.typ.Elem()
		if _, needs := pick(fieldsOf(inner), func(f field) bool { return f.required || f.one }); needs {
			return w.reference(inner)
		}
		return object{"anyOf": []any{w.reference(inner), object{"enum": []any{true, "on"}}}}
	}
	return w.reference(f.typ)
}

func (w *schemaWriter) listSchema(f field) object {
	items := w.property(field{typ: f.typ.Elem(), enum: f.enum})
	array := object{"type": "array", "items": items}
	if f.required {
		array["minItems"] = 1
	}
	if f.typ.Elem().Kind() == reflect.String {
		return object{"anyOf": []any{array, items}}
	}
	return array
}

// reference is the schema of a struct by its name, which is defined at its first use.
func (w *schemaWriter) reference(t reflect.Type) object {
	ref := object{"$ref": "#/$defs/" + t.Name()}
	if _, done := w.defs[t.Name()]; done {
		return ref
	}
	w.defs[t.Name()] = object{} // so that checks within checks end
	fields := fieldsOf(t)
	forms := []any{w.body(t)}
	if short, ok := pick(fields, func(f field) bool { return f.shorthand }); ok {
		forms = append(forms, w.property(short))
	}
	if _, ok := pick(fields, func(f field) bool { return f.turnsOff }); ok {
		forms = append(forms, object{"enum": []any{"off", false}})
	}
	if word, ok := pick(fields, func(f field) bool { return f.word }); ok {
		forms = append(forms, object{"const": word.name})
	}
	if len(forms) == 1 {
		w.defs[t.Name()] = forms[0]
	} else {
		w.defs[t.Name()] = object{"anyOf": forms}
	}
	return ref
}

func textSchema(f field) object {
	if len(f.enum) == 0 {
		schema := object{"type": scalarTypes}
		if f.required {
			schema["minLength"] = 1
		}
		return schema
	}
	var values []any
	for _, value := range f.enum {
		if value == "" {
			continue
		}
		values = append(values, value)
		if n, err := strconv.ParseFloat(value, 64); err == nil { // 1.2 without quotes
			values = append(values, n)
		}
	}
	return object{"enum": values}
}

func bounded(f field, schema object) object {
	if f.min != "" {
		schema["minimum"] = bound(f.typ, f.min)
	}
	if f.max != "" {
		schema["maximum"] = bound(f.typ, f.max)
	}
	if len(f.enum) > 0 {
		var values []any
		for _, value := range f.enum {
			n, _ := strconv.Atoi(value)
			values = append(values, n)
		}
		return object{"enum": values}
	}
	return schema
}

// jsonDefault is a default as JSON would have it.
func jsonDefault(f field) any {
	switch f.typ.Kind() {
	case reflect.Bool:
		return f.standard == "true"
	case reflect.Slice:
		return strings.Split(f.standard, ",")
	case reflect.Int, reflect.Float64:
		if f.typ.PkgPath() == "" {
			n, _ := strconv.ParseFloat(f.standard, 64)
			return n
		}
	}
	return f.standard
}

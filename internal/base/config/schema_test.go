package config

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("backstay.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("backstay.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// instance is YAML as a JSON Schema sees it.
func instance(t *testing.T, text []byte) any {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestSchemaTakesWhatParses(t *testing.T) {
	schema := compiled(t)
	for _, file := range append(examples(t), "testdata/everything.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(instance(t, text)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		c, err := Parse(file, text)
		if err != nil {
			t.Fatal(err)
		}
		shown, err := Show(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(instance(t, shown)); err != nil {
			t.Errorf("%s, as it is shown: %v", file, err)
		}
	}
	for name, text := range referenceExamples {
		if err := schema.Validate(instance(t, []byte(text))); err != nil {
			t.Errorf("the reference's example of %s: %v", name, err)
		}
	}
}

// Each file of testdata/broken whose comment says "schema" has mistakes that a JSON Schema can tell as well.
func TestSchemaRefusesWhatIsBroken(t *testing.T) {
	schema := compiled(t)
	files, err := filepath.Glob("testdata/broken/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(archive.Comment, []byte("schema")) {
			continue
		}
		tried++
		if err := schema.Validate(instance(t, archive.Files[0].Data)); err == nil {
			t.Errorf("%s is valid by the schema", file)
		}
	}
	if tried < 5 {
		t.Errorf("only %d files were tried", tried)
	}
	for _, text := range []string{
		"services: [{name: web, retry: {attempts: 11}}]",
		"services: [{name: web, hold: 10}]",
		"services: [{name: web, check: {every: 1s}}]",
		"services: [{name: web, check: {tcp: true, http: /}}]",
		"services: [{name: web, balance: fastest}]",
		"services: [{name: web, retry: {body: 64}}]",
		"listeners: [{routes: []}]",
		"listeners: [{listen: ':80', service: web, tls: {certificates: []}}]",
		"access_log: {sample: 101}",
		"tracing: {otlp: x, headers: {A: {enw: x}}}",
		"unknown: 1",
	} {
		if err := schema.Validate(instance(t, []byte(text))); err == nil {
			t.Errorf("%s is valid by the schema", text)
		}
		if _, err := Parse("x.yaml", []byte(text)); err == nil {
			t.Errorf("%s parses", text)
		}
	}
}

func TestEveryKeyIsDescribed(t *testing.T) {
	described := comments()
	w := referenceWriter{uses: map[reflect.Type][]string{}}
	w.collect(reflect.TypeFor[Config](), "")
	for _, s := range w.sections {
		if described[s.typ.Name()] == "" {
			t.Errorf("%s has no description", s.typ.Name())
		}
		for _, f := range fieldsOf(s.typ) {
			if f.name == "" || described[s.typ.Name()+"."+f.goName] == "" {
				t.Errorf("%s.%s has no key or no description", s.typ.Name(), f.goName)
			}
		}
	}
}

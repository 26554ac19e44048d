package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// everything is a configuration in which most keys differ from their defaults.
func everything(t *testing.T) (string, *Config) {
	t.Helper()
	text, err := os.ReadFile("testdata/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text), parse(t, string(text))
}

// again is what Show's output is read as.
func again(t *testing.T, c *Config) *Config {
	t.Helper()
	text, err := Show(c)
	if err != nil {
		t.Fatal(err)
	}
	read, err := Parse("shown.yaml", text)
	if err != nil {
		t.Fatalf("what is shown does not parse:\n%v\n%s", err, text)
	}
	return read
}

func TestShowParsesToTheSame(t *testing.T) {
	_, c := everything(t)
	if read := again(t, c); !reflect.DeepEqual(read, c) {
		t.Errorf("read back it differs:\n%v", Diff(c, read))
	}
	for _, file := range examples(t) {
		c, err := Load(file)
		if err != nil {
			t.Fatal(err)
		}
		if read := again(t, c); !reflect.DeepEqual(hideAll(c), read) {
			t.Errorf("%s: read back it differs:\n%v", file, Diff(c, read))
		}
	}
}

func TestShowGolden(t *testing.T) {
	c := parse(t, `
services: [{name: web, members: [10.0.0.1:80], check: {tcp: true}}]
listeners:
  - listen: ":80"
    routes:
      - service: web
        request_headers: {set: {A: {env: "API KEY"}, B: plain, C: {file: /run/secrets/c}}, remove: [Cookie]}
`)
	got, err := Show(c)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/show.golden.yaml", got)
}

func TestShowCoversEveryKey(t *testing.T) {
	text, _ := everything(t)
	var missing []string
	var walk func(reflect.Type, map[reflect.Type]bool)
	walk = func(t reflect.Type, seen map[reflect.Type]bool) {
		if seen[t] {
			return
		}
		seen[t] = true
		for _, f := range fieldsOf(t) {
			if !strings.Contains(text, f.name+":") && !strings.Contains(text, f.name+"}") {
				missing = append(missing, t.Name()+"."+f.name)
			}
			if inner := section(f.typ); inner != nil {
				walk(inner, seen)
			}
		}
	}
	walk(reflect.TypeFor[Config](), map[reflect.Type]bool{})
	if len(missing) > 0 {
		t.Errorf("testdata/everything.yaml lacks %v", missing)
	}
}

func TestShowNothing(t *testing.T) {
	if _, err := Show(nil); err == nil {
		t.Error("nothing is shown")
	}
}

func TestTextsSurviveShow(t *testing.T) {
	for _, s := range []string{
		"", " ", "a b", "a: b", "- a", "#", "a #b", "'", `"`, `\`, "\n", "a\nb\n", "\t", "{", "[", "*a", "&a", "!a", "@", "`", "%", "|", ">",
		"null", "~", "true", "yes", "1", "0x10", "1_000", "1e3", "0o7", ".inf", ".nan", "1.50", "é", "日本", "😀", "\u0085", "\u2028", "\ufeff",
		"\x00", "\x7f", "a:1", "a:", ":a", "::1", "10.0.0.1:80", "http://x:1/y?z", "---", "...", "? a", "a, b", "<<", "=", "2001-01-01", "-", "-1",
	} {
		c := Default[Config]()
		c.Cluster = s
		if read := again(t, &c); read.Cluster != s {
			t.Errorf("%q is read back as %q from %s", s, read.Cluster, quoted(s))
		}
	}
}

// hideAll is c as Show has it: secrets that stand in the file themselves are hidden.
func hideAll(c *Config) *Config {
	var walk func(v reflect.Value) reflect.Value
	walk = func(v reflect.Value) reflect.Value {
		out := reflect.New(v.Type()).Elem()
		out.Set(v)
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				out.Set(reflect.New(v.Type().Elem()))
				out.Elem().Set(walk(v.Elem()))
			}
		case reflect.Slice:
			if !v.IsNil() {
				out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
			}
			for i := range v.Len() {
				out.Index(i).Set(walk(v.Index(i)))
			}
		case reflect.Map:
			if !v.IsNil() {
				out.Set(reflect.MakeMap(v.Type()))
			}
			for _, key := range v.MapKeys() {
				out.SetMapIndex(key, walk(v.MapIndex(key)))
			}
		case reflect.Struct:
			if secret, ok := v.Interface().(Secret); ok {
				if secret.Env == "" && secret.File == "" {
					secret.Text = hidden
				}
				return reflect.ValueOf(secret)
			}
			for i := range v.NumField() {
				out.Field(i).Set(walk(v.Field(i)))
			}
		}
		return out
	}
	return walk(reflect.ValueOf(c)).Interface().(*Config)
}

func examples(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("../../../examples/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("the examples are %v, %v", files, err)
	}
	return files
}

// golden holds got against a file, or rewrites it with -update.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got) {
		t.Errorf("%s is not what there is now; run `go test ./internal/base/config -update` if that is right. Got:\n%s", file, got)
	}
}

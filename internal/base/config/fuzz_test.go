package config

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzText shows that any text survives Show.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a: b", "- a", "#", `"`, "'", "\n\t", "é\u2028", "10.0.0.1:80", "{a, b}", "null"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return
		}
		c := Default[Config]()
		c.Cluster = s
		c.Nodes = []Node{{Name: "n", Region: s}}
		c.Services = []Service{Default[Service]()}
		c.Services[0].Name = "web"
		c.Services[0].Fallback = []Fallback{{Respond: &Respond{Status: 200, Body: s}}}
		if read := again(t, &c); !reflect.DeepEqual(read, &c) {
			t.Errorf("%q: read back it differs: %v", s, Diff(&c, read))
		}
	})
}

// FuzzParse shows that no file makes Parse panic, that every refusal says something, and that whatever parses is shown
// as what parses to the same.
func FuzzParse(f *testing.F) {
	for _, file := range append(examples(f), "testdata/everything.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	broken, err := filepath.Glob("testdata/broken/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range broken {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive.Files[0].Data)
	}
	for _, text := range referenceExamples {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("fuzz.yaml", text)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error that says nothing")
			}
			return
		}
		read := again(t, c)
		if want := hideAll(c); !reflect.DeepEqual(want, read) {
			t.Errorf("read back it differs:\n%v", Diff(want, read))
		}
		Diff(nil, c)
	})
}

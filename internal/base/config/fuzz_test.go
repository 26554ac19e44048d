package config

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

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

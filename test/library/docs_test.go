package library

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestGuideIsThisCode: every block of Go in the guide stands, line by line, in this package, which compiles.
func TestGuideIsThisCode(t *testing.T) {
	guide, err := os.ReadFile("../../docs/library.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("guide_test.go")
	if err != nil {
		t.Fatal(err)
	}
	compiled := flat(string(code))
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(guide), -1)
	if len(blocks) < 8 {
		t.Fatalf("the guide has only %d blocks of Go: are they marked as such?", len(blocks))
	}
	for _, block := range blocks {
		if !strings.Contains(compiled, flat(block[1])) {
			t.Errorf("docs/library.md has code that is not in test/library/guide_test.go, so nobody knows whether it compiles:\n%s", block[1])
		}
	}
}

// TestGuideNamesEveryPackage of the library.
func TestGuideNamesEveryPackage(t *testing.T) {
	guide, err := os.ReadFile("../../docs/library.md")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("../../resilience")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && e.Name() != "testdata" && !strings.Contains(string(guide), "`"+e.Name()+"`") {
			t.Errorf("docs/library.md does not say what `%s` is for", e.Name())
		}
	}
}

// flat is code without indentation and empty lines.
func flat(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

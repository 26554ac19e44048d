package config

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestDocuments: every block of YAML in the documents is a configuration that `backstay check` takes. One without services is a change to the
// first whole one of its page (docs/postgresql.md's, where the page has none): its keys go over that one's, items of the same name over each
// other, and `engine` is that of the first service.
func TestDocuments(t *testing.T) {
	const home = "../../../docs/postgresql.md"
	pages, err := filepath.Glob("../../../docs/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatalf("the documents are %v, %v", pages, err)
	}
	first := firstWhole(t, home)
	blocks := 0
	for _, page := range append(pages, "../../../README.md") {
		if filepath.Base(page) == "configuration.md" { // its examples have a test of their own
			continue
		}
		for n, text := range yamlBlocks(t, page) {
			blocks++
			if !strings.Contains(text, "services:") {
				base := first
				if own := firstWhole(t, page); own != nil {
					base = own
				}
				text = changed(t, page, base, text)
			}
			if _, err := Parse("a block", []byte(text)); err != nil {
				t.Errorf("%s, block %d: %v\n%s", page, n+1, err, text)
			}
		}
	}
	if blocks < 8 {
		t.Errorf("only %d blocks of YAML were found: are they marked as such?", blocks)
	}
}

func yamlBlocks(t *testing.T, page string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, b[1])
	}
	return blocks
}

// firstWhole is the first block of a page that has services; nil without one.
func firstWhole(t *testing.T, page string) map[string]any {
	t.Helper()
	for _, text := range yamlBlocks(t, page) {
		if strings.Contains(text, "services:") {
			return decoded(t, page, text)
		}
	}
	return nil
}

func decoded(t *testing.T, page, text string) (m map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%s: %v\n%s", page, err, text)
	}
	return m
}

func changed(t *testing.T, page string, base map[string]any, text string) string {
	t.Helper()
	change := decoded(t, page, strings.ReplaceAll(text, "…\n", ""))
	if engine, ok := change["engine"]; ok {
		service := base["services"].([]any)[0].(map[string]any)
		change["services"] = []any{map[string]any{"name": service["name"], "engine": engine}}
		delete(change, "engine")
	}
	out, err := yaml.Marshal(over(base, change))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// over lays a change over a value.
func over(base, change any) any {
	switch c := change.(type) {
	case map[string]any:
		b, ok := base.(map[string]any)
		if !ok {
			return change
		}
		b = maps.Clone(b)
		for key, v := range c {
			b[key] = over(b[key], v)
		}
		return b
	case []any:
		b, _ := base.([]any)
		all := append([]any(nil), c...)
		for i, v := range all {
			if at := sameName(b, v); at >= 0 {
				all[i] = over(b[at], v)
			}
		}
		for _, v := range b {
			if m, ok := v.(map[string]any); ok && m["name"] != nil && sameName(all, v) < 0 {
				all = append(all, v)
			}
		}
		return all
	}
	return change
}

// sameName finds the item of the same name; -1 without one.
func sameName(items []any, like any) int {
	want, ok := like.(map[string]any)
	for i, v := range items {
		if m, is := v.(map[string]any); ok && is && m["name"] != nil && m["name"] == want["name"] {
			return i
		}
	}
	return -1
}

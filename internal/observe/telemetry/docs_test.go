package telemetry

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestDocuments: every metric that a document names is one.
func TestDocuments(t *testing.T) {
	described := make(chan *prometheus.Desc, 1000)
	NewMetrics(prometheus.NewRegistry()).Describe(described)
	close(described)
	known := map[string]bool{}
	for d := range described {
		known[regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(d.String())[1]] = true
	}
	roles := []string{"backstay_replicator", "backstay_rewinder"} // of PostgreSQL
	pages, err := filepath.Glob("../../../docs/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatalf("the documents are %v, %v", pages, err)
	}
	found := 0
	for _, page := range append(pages, "../../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\bbackstay_[a-z_]+`).FindAllString(string(text), -1) {
			if found++; !known[name] && !slices.Contains(roles, name) {
				t.Errorf("%s names %s, which is no metric", page, name)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d metrics were found", found)
	}
}

package postgres

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstay/backstay/internal/act/conformance"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Options{
		New: func(t *testing.T) conformance.Lab { return newLab(t, "a", "b", "c") },
		Rescues: func(t *testing.T, c conformance.Lab, node, _ string) {
			l := c.(*lab)
			found, err := filepath.Glob(filepath.Join(l.dir, node, "rescue", "*", "SUMMARY.txt"))
			if err != nil || len(found) != 1 {
				t.Fatalf("rescued: %v %v", found, err)
			}
			text, err := os.ReadFile(found[0])
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), "postgres.ledger ") || !strings.Contains(string(text), "INSERT") {
				t.Errorf("the summary does not name what was written:\n%s", text)
			}
			t.Logf("\n%s", text)
		},
	})
}

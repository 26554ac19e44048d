package demo

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPostgresDemonstrationShort plays the two shortest scenes on real nodes: a switchover, and a postmaster that is killed.
func TestPostgresDemonstrationShort(t *testing.T) {
	if testing.Short() {
		return
	}
	program := filepath.Join(t.TempDir(), "backstay")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../../cmd/backstay").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	script := postgresScript(shortestPostgres)[:2]
	script[0].at, script[1].at = time.Second, 4*time.Second
	var out bytes.Buffer
	err := showPostgres(t.Context(), Options{Length: 8 * time.Second, Plain: true, Out: &out}, program, script, 2*time.Minute)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	text := out.String()
	for _, want := range []string{"switchover away from n1", "PostgreSQL killed", "lost 0, twice 0", "Good: no acknowledged write is lost"} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing is said of %q", want)
		}
	}
	for _, sc := range script {
		if sc.begun.IsZero() {
			t.Errorf("the scene %q was not played", sc.title)
		}
	}
	_, dir, _ := strings.Cut(text, "(/")
	dir, _, _ = strings.Cut(dir, ")")
	if left := processesOf("/" + dir); len(left) > 0 {
		t.Errorf("processes of %s stay behind: %v", dir, left)
	}
	if matches, _ := filepath.Glob("/" + dir); len(matches) > 0 {
		t.Errorf("%s stays behind", dir)
	}
	if t.Failed() {
		t.Log(text)
	}
}

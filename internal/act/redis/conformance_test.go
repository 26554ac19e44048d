package redis

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/act/conformance"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Options{
		Asynchronous: true,
		New:          func(t *testing.T) conformance.Lab { return newLab(t, nil, "a", "b", "c") },
		Rescues: func(t *testing.T, c conformance.Lab, node, value string) {
			l := c.(*lab)
			if got := l.rescued(node); !slices.Contains(got, value) {
				t.Errorf("what was put aside has %v, not %q", got, value)
			}
		},
	})
}

// rescued reads what was put aside on a node, as its summary says: by running Redis on a copy.
func (l *lab) rescued(node string) []string {
	l.t.Helper()
	found, err := filepath.Glob(filepath.Join(l.dir, node, "rescue", "*", "SUMMARY.txt"))
	if err != nil || len(found) != 1 {
		l.t.Fatalf("put aside: %v %v", found, err)
	}
	text, err := os.ReadFile(found[0])
	if err != nil || !strings.Contains(string(text), "--appendonly yes --dir .") {
		l.t.Fatalf("%v\n%s", err, text)
	}
	dir := l.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Dir(found[0]))); err != nil {
		l.t.Fatal(err)
	}
	port := strconv.Itoa(freePort(l.t))
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--appendonly", "yes", "--dir", ".")
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var all []string
	for range 500 {
		if all, err = values(l.t.Context(), net.JoinHostPort("127.0.0.1", port), ""); err == nil {
			return all
		}
		<-tick.C
	}
	l.t.Fatalf("what was put aside cannot be read: %v", err)
	return nil
}

package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/backstay/backstay/internal/act"
)

// command prepares one of PostgreSQL's programs, free of what the node's environment says of PostgreSQL and languages.
func (e *Engine) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	e.mu.Lock()
	acc, path := e.acc, filepath.Join(e.bin, program)
	e.mu.Unlock()
	cmd := acc.Command(ctx, path, args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PG") || strings.HasPrefix(v, "LC_") || strings.HasPrefix(v, "LANG")
	}), "LC_ALL=C", "HOME=/nonexistent")
	cmd.Dir = "/"
	return cmd
}

// findBin looks for the programs of the version that the data needs, or the newest there is.
func findBin(configured, major string) (string, error) {
	if configured != "" {
		if _, err := os.Stat(filepath.Join(configured, "postgres")); err != nil {
			return "", fmt.Errorf("no PostgreSQL in bin_dir %s: %w", configured, err)
		}
		return configured, nil
	}
	var found []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql@*/bin"} {
		dirs, _ := filepath.Glob(pattern)
		for _, d := range dirs {
			if _, err := os.Stat(filepath.Join(d, "postgres")); err == nil {
				found = append(found, d)
			}
		}
	}
	if p, err := exec.LookPath("postgres"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			found = append(found, filepath.Dir(p))
		}
	}
	slices.SortStableFunc(found, func(a, b string) int { return majorOf(b) - majorOf(a) })
	for _, d := range found {
		if major == "" || majorOf(d) == 0 || strconv.Itoa(majorOf(d)) == major {
			return d, nil
		}
	}
	if major != "" {
		return "", fmt.Errorf("the data is of PostgreSQL %s, whose programs are not installed: install them or set bin_dir", major)
	}
	return "", errors.New("PostgreSQL is not installed: install it (13 or later) or set bin_dir")
}

// majorOf reads the version from a path such as /usr/lib/postgresql/15/bin; 0 where it says none.
func majorOf(dir string) int {
	base := filepath.Base(filepath.Dir(dir))
	n, err := strconv.Atoi(strings.TrimLeft(base, "abcdefghijklmnopqrstuvwxyz-@"))
	if err != nil {
		return 0
	}
	return n
}

// run runs a program to its end and returns what it printed; the error carries its last words.
func run(cmd *exec.Cmd) ([]byte, error) {
	var out, bad tail
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out), &bad
	if cmd.Cancel != nil {
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	}
	cmd.WaitDelay = 3e9
	if err := cmd.Run(); err != nil {
		return out.text, fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, lastLines(string(bad.text), 3))
	}
	return out.text, nil
}

// A tail keeps the last megabyte of what is written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 1 << 20
	t.text = append(t.text, p...)
	if len(t.text) > 2*most {
		t.text = slices.Clone(t.text[len(t.text)-most:])
	}
	return len(p), nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

func exists(path string) bool { return act.Exists(path) }

package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// An account is the user of the operating system under which PostgreSQL runs; it refuses to run as root.
type account struct {
	name     string
	uid, gid int
	switched bool // it is another than our own
}

func lookAccount(name string) (account, error) {
	if os.Geteuid() != 0 {
		me, err := user.Current()
		if err != nil {
			return account{}, fmt.Errorf("who are we? %w", err)
		}
		return account{name: me.Username, uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return account{}, fmt.Errorf("PostgreSQL must not run as root, and there is no user %q: make one or name another as os_user: %w", name, err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return account{}, err
	}
	if uid == 0 {
		return account{}, fmt.Errorf("os_user %q is root, as whom PostgreSQL does not run: name another", name)
	}
	return account{name: u.Username, uid: uid, gid: gid, switched: true}, nil
}

func (a account) own(path string) error {
	if !a.switched {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

// directory makes a directory that only the account can use.
func (a account) directory(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return a.own(path)
}

// command prepares a program of PostgreSQL's to run as the account, in a group of its own so that a terminal's signals
// do not reach it.
func (a account) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a.switched {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
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

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// broomEnv makes this program the one that cleans up after a demonstration that could not do so itself: the folder's path.
const broomEnv = "BACKSTAY_DEMO_BROOM"

func broomDir() string { return os.Getenv(broomEnv) }

// A broom is a process that waits for the demonstration's end. Where that was killed, its nodes die with it, but their
// standbys would run on: a node that comes back takes them over.
type broom struct {
	cmd  *exec.Cmd
	pipe io.Closer
}

// newBroom starts the broom of a folder.
func newBroom(program, dir string) (*broom, error) {
	cmd := exec.Command(program, "demo", "--postgres")
	cmd.Env = append(os.Environ(), broomEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the process that cleans up: %w", err)
	}
	return &broom{cmd: cmd, pipe: pipe}, nil
}

// Close lets the broom go over the folder once more and end.
func (b *broom) Close() {
	_ = b.pipe.Close()
	_ = b.cmd.Wait()
}

// serveBroom waits until the other end of the pipe is closed, by whatever means, and clears the folder away.
func serveBroom(ctx context.Context, dir string, pipe io.Reader) error {
	if !strings.HasPrefix(filepath.Base(dir), postgresPrefix) {
		return fmt.Errorf("%s is %q, which is not a demonstration's folder", broomEnv, dir)
	}
	read := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, pipe); close(read) }()
	select {
	case <-read:
	case <-ctx.Done():
	}
	known := postmasters(dir)
	sweep(dir)
	removeShared(known)
	return os.RemoveAll(dir)
}

// sweep ends the processes of a folder: PostgreSQL quickly but in order, then whatever still stays by force.
func sweep(dir string) {
	// A node that was killed leaves its database to its guard, which needs a moment.
	for _, s := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGCONT, 2 * time.Second}, {syscall.SIGQUIT, 5 * time.Second}, {syscall.SIGKILL, 2 * time.Second}} {
		for _, p := range processesOf(dir) {
			_ = syscall.Kill(p, s.signal) // it may have ended meanwhile
		}
		for deadline := time.Now().Add(s.wait); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if len(processesOf(dir)) == 0 {
				return
			}
		}
	}
}

// postmasters are the process ids of the instances in a folder.
func postmasters(dir string) map[int]bool {
	known := map[int]bool{}
	nodes, _ := filepath.Glob(filepath.Join(dir, "*")) // a folder without wildcards
	for _, data := range nodes {
		if pid, err := (&postgresNode{data: data}).postmaster(); err == nil {
			known[pid] = true
		}
	}
	return known
}

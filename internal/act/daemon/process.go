package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNone says that no server runs on the data directory.
var ErrNone = errors.New("no server runs on the data directory")

// pidFiles are where servers leave their pid in their data directory: PostgreSQL and Redis.
var pidFiles = []string{"postmaster.pid", "redis.pid"}

// A Process is a server: a pid, when the process with that pid began, in clock ticks since boot, and its data directory.
type Process struct {
	PID     int
	Started uint64
	Dir     string
}

// Find returns the server of a data directory; ErrNone where its pid file is missing or stale.
func Find(dir string) (Process, error) {
	for _, name := range pidFiles {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Process{}, err
		}
		first, _, _ := strings.Cut(string(text), "\n")
		pid, err := strconv.Atoi(strings.TrimSpace(first))
		if err != nil || pid <= 1 {
			return Process{}, fmt.Errorf("%s/%s names no process: %w", dir, name, ErrNone)
		}
		return Identify(pid, dir)
	}
	return Process{}, ErrNone
}

// Identify returns the process with this pid if it works in the data directory, else ErrNone.
func Identify(pid int, dir string) (Process, error) {
	started, ok := startOf(pid)
	if !ok || !worksIn(pid, dir) {
		return Process{}, fmt.Errorf("process %d: %w", pid, ErrNone)
	}
	return Process{PID: pid, Started: started, Dir: dir}, nil
}

// At returns the process that has this pid now.
func At(pid int) (Process, bool) {
	started, ok := startOf(pid)
	return Process{PID: pid, Started: started}, ok
}

// Alive says whether the process still exists (a zombie does not).
func (p Process) Alive() bool {
	started, ok := startOf(p.PID)
	return ok && started == p.Started
}

// frozen says that the process is stopped, as by SIGSTOP: it heeds nothing but SIGKILL.
func (p Process) frozen() bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	end := bytes.LastIndexByte(text, ')')
	return err == nil && end >= 0 && len(text) > end+2 && text[end+2] == 'T'
}

// Signal sends a signal to the process if it is still the same one; os.ErrProcessDone where it is not.
func (p Process) Signal(s syscall.Signal) error {
	if !p.Alive() {
		return os.ErrProcessDone
	}
	if err := syscall.Kill(p.PID, s); err != nil {
		return fmt.Errorf("signal %v to process %d: %w", s, p.PID, err)
	}
	return nil
}

// Stop ends the server and everything that it started: with the signal first, with SIGKILL where that has not worked within the patience or ctx ends. It returns when all
// of them are gone, and says whether force was needed.
func (p Process) Stop(ctx context.Context, first syscall.Signal, patience time.Duration) (forced bool) {
	children := p.children()
	if p.frozen() {
		first = syscall.SIGKILL
	}
	if first != syscall.SIGKILL && p.Signal(first) == nil {
		ctx, cancel := context.WithTimeout(ctx, patience)
		gone := p.await(ctx, func() bool { return !p.Alive() })
		cancel()
		if !gone {
			children = append(children, p.children()...)
		}
		forced = !gone
	}
	if p.Alive() {
		children = append(children, p.children()...)
		_ = p.Signal(syscall.SIGKILL)
		forced = true
	}
	// PostgreSQL's children see the death of their postmaster and end, unless they are stopped or stuck. One that lives on
	// keeps the shared memory, and a new postmaster would refuse to start; worse, it may still finish a commit.
	if forced {
		for _, c := range children {
			_ = c.Signal(syscall.SIGKILL)
		}
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	p.await(bounded, func() bool {
		if p.Alive() {
			return false
		}
		for _, c := range children {
			if c.Alive() {
				_ = c.Signal(syscall.SIGKILL)
				return false
			}
		}
		return true
	})
	return forced
}

func (p Process) await(ctx context.Context, ok func() bool) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// children lists the processes that the server started and that work in its data directory.
func (p Process) children() []Process {
	if !p.Alive() {
		return nil
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.PID, p.PID))
	if err != nil {
		return nil
	}
	var found []Process
	for _, f := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			continue
		}
		if c, err := Identify(pid, p.Dir); err == nil {
			found = append(found, c)
		}
	}
	return found
}

// startOf returns when a process began, field 22 of proc(5)'s stat; false where there is none or it is a zombie.
func startOf(pid int) (uint64, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	end := bytes.LastIndexByte(text, ')') // the name before it may hold anything
	fields := strings.Fields(string(text[end+1:]))
	if end < 0 || len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, false
	}
	started, err := strconv.ParseUint(fields[19], 10, 64)
	return started, err == nil
}

func worksIn(pid int, path string) bool {
	cwd, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return false
	}
	dir, err := os.Stat(path)
	return err == nil && os.SameFile(cwd, dir)
}

// Package postmaster finds, identifies and ends the server process of one PostgreSQL data directory. It never touches a
// process that it cannot prove to be that one: pids are used again, so a process is its pid together with its start
// time, and a postmaster works inside its data directory.
package postmaster

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

// ErrNone says that no postmaster runs on the data directory.
var ErrNone = errors.New("no postmaster runs on the data directory")

// Status is what a postmaster says of itself in its lock file.
type Status string

// Statuses.
const (
	Starting Status = "starting"
	Standby  Status = "standby" // recovers, and does not answer yet
	Ready    Status = "ready"   // answers
	Stopping Status = "stopping"
)

// A Process is a postmaster: a pid, and when the process with that pid began, in clock ticks since boot.
type Process struct {
	PID     int
	Started uint64
	DataDir string
}

// Find returns the postmaster of a data directory; ErrNone where the lock file is missing or stale.
func Find(dataDir string) (Process, error) {
	lines, err := lockFile(dataDir)
	if err != nil {
		return Process{}, err
	}
	pid, err := strconv.Atoi(lines[0])
	if err != nil || pid <= 1 {
		return Process{}, fmt.Errorf("%s/postmaster.pid names no process: %w", dataDir, ErrNone)
	}
	return Identify(pid, dataDir)
}

// Identify returns the process with this pid if it is a postmaster of the data directory, else ErrNone.
func Identify(pid int, dataDir string) (Process, error) {
	started, ok := startOf(pid)
	if !ok || !worksIn(pid, dataDir) {
		return Process{}, fmt.Errorf("process %d: %w", pid, ErrNone)
	}
	return Process{PID: pid, Started: started, DataDir: dataDir}, nil
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

// Status reads what the postmaster says of itself; empty where it has not said anything yet.
func (p Process) Status() Status {
	lines, err := lockFile(p.DataDir)
	if err != nil || len(lines) < 8 || lines[0] != strconv.Itoa(p.PID) {
		return ""
	}
	return Status(lines[7])
}

// Signal sends a signal to the process if it is still the same one; os.ErrProcessDone where it is not.
func (p Process) Signal(s syscall.Signal) error {
	if !p.Alive() {
		return os.ErrProcessDone
	}
	if err := syscall.Kill(p.PID, s); err != nil {
		return fmt.Errorf("signal %v to postmaster %d: %w", s, p.PID, err)
	}
	return nil
}

// Stop ends the postmaster and everything that it started: with the signal first (SIGINT is PostgreSQL's fast stop,
// SIGQUIT its immediate one), with SIGKILL where that has not worked within the patience or ctx ends. It returns when all
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
	// Children see the death of their postmaster and end, unless they are stopped or stuck. One that lives on keeps the
	// shared memory, and a new postmaster would refuse to start; worse, it may still finish a commit.
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

// children lists the processes that the postmaster started and that work in its data directory.
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
		if c, err := Identify(pid, p.DataDir); err == nil {
			found = append(found, c)
		}
	}
	return found
}

func lockFile(dataDir string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) { // the same goes for a Redis that works in its folder
		text, err = os.ReadFile(filepath.Join(dataDir, "redis.pid"))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines, nil
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

func worksIn(pid int, dataDir string) bool {
	cwd, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return false
	}
	dir, err := os.Stat(dataDir)
	return err == nil && os.SameFile(cwd, dir)
}

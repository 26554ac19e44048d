package daemon

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Seen is what the machine tells of a process.
type Seen struct {
	Process          // Dir is the one asked about where it works there, else empty
	Parent  int      //
	Program string   // base name of its program
	Args    []string // its command line, or what it calls itself
}

// Around lists the processes that work in a directory or have it, or a path that begins with it, as an argument.
func Around(dir string) []Seen {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []Seen
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && len(text) == 0 && worksIn(pid, dir) { // it is just being executed
			time.Sleep(10 * time.Millisecond)
			text, err = os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		}
		if err != nil || len(text) == 0 {
			continue
		}
		s := Seen{Args: strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")}
		works := worksIn(pid, dir)
		if !works && !strings.Contains(string(text), dir) {
			continue
		}
		started, ok := startOf(pid)
		program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if !ok || err != nil {
			continue
		}
		s.Process, s.Parent, s.Program = Process{PID: pid, Started: started}, parentOf(pid), filepath.Base(strings.TrimSuffix(program, " (deleted)"))
		if works {
			s.Dir = dir
		}
		all = append(all, s)
	}
	return all
}

// parentOf is field 4 of proc(5)'s stat.
func parentOf(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(string(fields[1]))
	return parent
}

// Reap kills processes and waits until they are gone; it says which of them there were.
func Reap(ctx context.Context, all []Process) []int {
	var pids []int
	for _, p := range all {
		if p.Signal(syscall.SIGKILL) == nil {
			pids = append(pids, p.PID)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, p := range all {
		p.await(ctx, func() bool { return !p.Alive() })
	}
	return pids
}

package redis

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const pidFile = "redis.pid" // in Redis' folder; a guard looks for it there

// A server is a redis-server: a pid, and when the process with that pid began, as pids are used again.
type server struct {
	pid     int
	started uint64
}

// findServer returns the server that runs in a folder, as its pid file says.
func findServer(dir string) (server, bool) {
	text, err := os.ReadFile(filepath.Join(dir, pidFile))
	if err != nil {
		return server{}, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return server{}, false
	}
	return identify(pid, dir)
}

// identify returns the process if it is alive and works in the folder.
func identify(pid int, dir string) (server, bool) {
	cwd, err1 := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid))
	at, err2 := os.Stat(dir)
	started, ok := startOf(pid)
	if err1 != nil || err2 != nil || !ok || !os.SameFile(cwd, at) {
		return server{}, false
	}
	return server{pid, started}, true
}

func (s server) alive() bool {
	started, ok := startOf(s.pid)
	return ok && started == s.started
}

func (s server) signal(sig syscall.Signal) {
	if s.alive() {
		_ = syscall.Kill(s.pid, sig) // gone meanwhile is as good
	}
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

package demo

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Close lets the nodes leave, the primary's last, and sees to it that nothing of the demonstration stays: no process, no
// shared memory, no folder.
func (s *postgresStage) Close(primary string) {
	for _, p := range processesOf(s.dir) {
		_ = syscall.Kill(p, syscall.SIGCONT) // what the script stopped
	}
	s.remember()
	var last *postgresNode
	var standbys []*postgresNode
	for _, n := range s.nodes {
		switch {
		case !n.up():
		case n.name == primary:
			last = n
		default:
			standbys = append(standbys, n)
		}
	}
	leave(standbys)
	if last != nil {
		leave([]*postgresNode{last})
	}
	sweep(s.dir)
	for _, n := range s.nodes {
		if n.log != nil {
			_ = n.log.Close()
		}
	}
	removeShared(s.known)
	_ = os.RemoveAll(s.dir)
	if s.broom != nil {
		s.broom.Close()
	}
}

// leave asks nodes to end, and ends those that have not within a while; their guards stop PostgreSQL then.
func leave(nodes []*postgresNode) {
	for _, n := range nodes {
		_ = n.cmd.Process.Signal(syscall.SIGTERM) // fails where it has ended by itself
	}
	patience := time.After(12 * time.Second)
	for _, n := range nodes {
		select {
		case <-n.ended:
		case <-patience:
			_ = n.cmd.Process.Kill()
			<-n.ended
		}
	}
}

// remember notes the postmasters that there are, so that what they leave in shared memory is known as theirs.
func (s *postgresStage) remember() {
	maps.Copy(s.known, postmasters(s.dir))
}

// processesOf are the ids of the processes of a folder: those with it in their command line, and their children.
func processesOf(dir string) []int {
	all := processes()
	ours := map[int]bool{}
	var out []int
	for _, p := range all {
		if strings.Contains(p.command, dir+"/") && p.pid != os.Getpid() {
			ours[p.pid] = true
			out = append(out, p.pid)
		}
	}
	for _, p := range all {
		if ours[p.parent] && !ours[p.pid] {
			out = append(out, p.pid)
		}
	}
	return out
}

// process is a process of this machine.
type process struct {
	pid, parent int
	command     string
}

// processes lists the processes of this machine that can be seen; those that have ended and wait to be noticed are left out.
func processes() []process {
	var out []process
	folders, _ := filepath.Glob("/proc/[0-9]*") // the pattern is good
	for _, dir := range folders {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // it has ended
		}
		command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 2 || fields[0] == "Z" {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])
		out = append(out, process{pid: pid, parent: parent, command: string(bytes.ReplaceAll(command, []byte{0}, []byte{' '}))})
	}
	return out
}

// removeShared gives back the segments of shared memory that these postmasters made and nobody is attached to any more: one
// that is killed leaves its segment for its successor to clear, and not every one has a successor.
func removeShared(creators map[int]bool) {
	text, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line) // key shmid perms size cpid lpid nattch …
		if len(f) < 7 || f[6] != "0" {
			continue
		}
		id, err1 := strconv.Atoi(f[1])
		creator, err2 := strconv.Atoi(f[4])
		if err1 == nil && err2 == nil && creators[creator] {
			if _, _, errno := syscall.Syscall(syscall.SYS_SHMCTL, uintptr(id), 0 /* IPC_RMID */, 0); errno != 0 {
				fmt.Fprintf(os.Stderr, "a segment of shared memory stays behind (ipcrm -m %d): %v\n", id, errno)
			}
		}
	}
}

// Package process is what the benchmarks share to run programs, to look at what they use, and to end them with all their children.
package process

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Process is a program that a benchmark started, with all its children. It ends with the benchmark, however that ends.
type Process struct {
	Name string
	Log  *bytes.Buffer // what it says; not to be read before it has ended but for an error's sake
	cmd  *exec.Cmd
}

// Start runs a program, on the given CPUs ("0" or "0,1") where they are not "".
func Start(name, cpus string, env []string, argv ...string) (*Process, error) {
	if cpus != "" {
		argv = append([]string{"taskset", "-c", cpus}, argv...)
	}
	p := &Process{Name: name, Log: &bytes.Buffer{}, cmd: exec.Command(argv[0], argv[1:]...)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.Log, p.Log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// Stop kills the process with all of its group, if that was not done.
func (p *Process) Stop() {
	if p == nil || p.cmd.ProcessState != nil {
		return
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	_ = p.cmd.Wait()
}

// CPU is the time spent so far by the process and its descendants, in user and kernel.
func (p *Process) CPU() time.Duration {
	var ticks int64
	for _, pid := range Descendants(p.cmd.Process.Pid) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		utime, _ := strconv.ParseInt(fields[11], 10, 64)
		stime, _ := strconv.ParseInt(fields[12], 10, 64)
		ticks += utime + stime
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 on Linux
}

// Memory is the proportional set size in bytes: what is shared counts once.
func (p *Process) Memory() int64 {
	var kib int64
	for _, pid := range Descendants(p.cmd.Process.Pid) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
				kib += n
			}
		}
	}
	return kib << 10
}

// AwaitPort waits until something accepts connections there; if nothing does, the process is stopped.
func (p *Process) AwaitPort(address string) error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return c.Close()
		}
	}
	p.Stop()
	return fmt.Errorf("%s does not listen on %s; it said:\n%s", p.Name, address, p.Log)
}

// Descendants lists a process and all below it, whichever of its threads started them.
func Descendants(pid int) []int {
	out := []int{pid}
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		for _, f := range strings.Fields(string(children)) {
			if child, err := strconv.Atoi(f); err == nil {
				out = append(out, Descendants(child)...)
			}
		}
	}
	return out
}

// FreePorts finds ports of 127.0.0.1 that nothing listens on.
func FreePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/operate/api"
)

// stage holds the processes of a demonstration and the folder they share.
type stage struct {
	program string // this very program
	dir     string
	config  string
	socket  string
	url     string
	listen  string
	members map[string]*sample
	surge   *surge
	node    *exec.Cmd
	ended   chan struct{} // closed when the node's process has ended
	log     *os.File
}

// sample is one sample member.
type sample struct {
	address string
	cmd     *exec.Cmd
}

var memberNames = []string{"web-1", "web-2", "web-3", "recommendations-1", "checkout-1"}

func newStage(listen string) (*stage, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "backstay-demo-")
	if err != nil {
		return nil, err
	}
	s := &stage{program: program, dir: dir, config: filepath.Join(dir, "demo.yaml"), socket: filepath.Join(dir, "admin.sock"), members: map[string]*sample{}}
	free, err := freeAddresses(len(memberNames) + 1)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	for i, name := range memberNames {
		s.members[name] = &sample{address: free[i]}
	}
	if s.listen = listen; listen == "" {
		s.listen = free[len(memberNames)]
	}
	s.url = "http://" + s.listen
	s.surge = newSurge(s.url + "/prefetch")
	return s, nil
}

// Start starts the members, then the node, and waits until it is ready.
func (s *stage) Start(ctx context.Context) error {
	for _, name := range memberNames {
		if err := s.startMember(name); err != nil {
			return err
		}
	}
	if err := os.WriteFile(s.config, s.configuration(), 0o600); err != nil {
		return err
	}
	var err error
	if s.log, err = os.Create(filepath.Join(s.dir, "node.log")); err != nil {
		return err
	}
	s.node = exec.Command(s.program, "run", "--config", s.config, "--data", s.dir, "--socket", s.socket, "--node", "demo")
	s.node.Stdout, s.node.Stderr = s.log, s.log
	s.node.SysProcAttr = ownGroup()
	if err := s.node.Start(); err != nil {
		return fmt.Errorf("start the node: %w", err)
	}
	s.ended = make(chan struct{})
	go func() { _ = s.node.Wait(); close(s.ended) }() // how it ended is in its log
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if st, err := api.Dial(s.socket).Status(ctx); err == nil && st.State == api.NodeReady {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("the node did not become ready within 10s; it said:\n%s", s.said())
}

// said is the end of the node's log.
func (s *stage) said() string {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// startMember starts a sample member and waits until it listens.
func (s *stage) startMember(name string) error {
	m := s.members[name]
	m.cmd = exec.Command(s.program, "demo")
	m.cmd.Env = append(os.Environ(), memberEnv+"="+name+"@"+m.address)
	var said bytes.Buffer
	m.cmd.Stderr = &said
	m.cmd.SysProcAttr = ownGroup()
	if err := m.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", m.address); err == nil {
			return c.Close()
		}
	}
	return fmt.Errorf("%s does not listen on %s: %s", name, m.address, said.String())
}

// ownGroup keeps ^C in the terminal from reaching a process, and ends the process with the demonstration.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func (s *stage) signal(name string, sig syscall.Signal) error {
	return s.members[name].cmd.Process.Signal(sig)
}

func (s *stage) kill(name string) error {
	cmd := s.members[name].cmd
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	_ = cmd.Wait() // it says "killed", which is what was wanted
	return nil
}

// Close ends every process of the stage and removes its folder.
func (s *stage) Close() {
	if s.ended != nil {
		_ = s.node.Process.Signal(syscall.SIGTERM) // fails where it has ended by itself
		select {
		case <-s.ended:
		case <-time.After(5 * time.Second):
			_ = s.node.Process.Kill()
			<-s.ended
		}
	}
	for _, m := range s.members {
		if m.cmd != nil && m.cmd.Process != nil && m.cmd.ProcessState == nil {
			_ = m.cmd.Process.Signal(syscall.SIGCONT)
			_ = m.cmd.Process.Kill()
			_ = m.cmd.Wait()
		}
	}
	if s.log != nil {
		_ = s.log.Close()
	}
	_ = os.RemoveAll(s.dir)
}

// configuration is the one that the demonstration shows: short, with the reaction times of a demonstration.
func (s *stage) configuration() []byte {
	var b bytes.Buffer
	fmt.Fprint(&b, `# The demonstration's configuration. Times are short so that a minute shows much.
cluster: demo
services:
  - name: web
    members:
`)
	for _, name := range memberNames[:3] {
		fmt.Fprintf(&b, "      - {name: %s, address: %q}\n", name, s.members[name].address)
	}
	fmt.Fprintf(&b, `    check: {http: /healthz, every: 500ms, timeout: 300ms, rise: 2, fall: 2}
    timeout: {first_byte: 1s}              # of one try; a hung member costs its requests in flight no more
    outlier: {window: 2s, volume: 5, ejection: 3s}
    balance: {slow_start: 3s}
  - name: recommendations                  # misbehaves on a clock; clients get an empty list instead of errors
    members: [{name: recommendations-1, address: %q}]
    timeout: {first_byte: 200ms}
    retry: 1
    breaker: {consecutive: 5, reset: 500ms, max_reset: 2s}
    hold: 0s
    fallback: [{respond: {status: 200, body: "[]"}}]
  - name: checkout                         # can do 200 requests a second; under more, the least important are refused first
    members: [{name: checkout-1, address: %q}]
    limit: 4
    shed: on
listeners:
  - name: public
    listen: %q
    routes:
      - {match: {path: /recommendations}, service: recommendations}
      - {match: {path: /checkout}, service: checkout, priority: critical}
      - {match: {path: /prefetch}, service: checkout, priority: low}
      - {service: web}
`, s.members["recommendations-1"].address, s.members["checkout-1"].address, s.listen)
	return b.Bytes()
}

// freeAddresses finds addresses of 127.0.0.1 that nothing listens on.
func freeAddresses(n int) ([]string, error) {
	var out []string
	var open []io.Closer
	defer func() {
		for _, l := range open {
			_ = l.Close()
		}
	}()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		open = append(open, l)
		out = append(out, l.Addr().String())
	}
	return out, nil
}

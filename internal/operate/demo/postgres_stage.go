package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/operate/api"
)

// postgresService is the name of the service that the demonstration breaks.
const postgresService = "db"

// postgresStage holds three nodes, each with its PostgreSQL, and the folder they share.
type postgresStage struct {
	program string // Backstay's
	dir     string
	nodes   []*postgresNode
	ports   postgresPorts
	broom   *broom
	known   map[int]bool // process ids of postmasters that were seen
}

// postgresNode is one node: a process of its own with a folder, a configuration and an address of its own.
type postgresNode struct {
	name, address string
	data, config  string
	socket        string
	listen        string // where clients connect
	instance      string // where its PostgreSQL listens
	log           *os.File
	cmd           *exec.Cmd
	ended         chan struct{} // closed when the process has ended
}

func newPostgresStage(program string) (*postgresStage, error) {
	if err := havePostgres(); err != nil {
		return nil, err
	}
	network, ports, err := loopback()
	if err != nil {
		return nil, err
	}
	dir, err := postgresFolder()
	if err != nil {
		return nil, err
	}
	s := &postgresStage{program: program, dir: dir, ports: ports, known: map[int]bool{}}
	for i := 1; i <= 3; i++ {
		name, address := "n"+strconv.Itoa(i), network+"."+strconv.Itoa(i)
		s.nodes = append(s.nodes, &postgresNode{
			name: name, address: address, data: filepath.Join(dir, name), config: filepath.Join(dir, name+".yaml"),
			socket: filepath.Join(dir, name, "admin.sock"), listen: net.JoinHostPort(address, strconv.Itoa(ports.clients)),
			instance: net.JoinHostPort(address, strconv.Itoa(ports.instance)),
		})
	}
	return s, nil
}

// Start makes the cluster as a person would: init, run, invite, join, run.
func (s *postgresStage) Start(ctx context.Context) error {
	var err error
	if s.broom, err = newBroom(s.program, s.dir); err != nil {
		return err
	}
	for i, n := range s.nodes {
		if err := os.WriteFile(n.config, s.configuration(n), 0o644); err != nil {
			return err
		}
		args := []string{"init"}
		if i > 0 {
			token, err := s.invite(ctx, n.name)
			if err != nil {
				return err
			}
			args = []string{"cluster", "join", token}
		}
		if _, err := s.command(ctx, append(args, "--config", n.config, "--node", n.name, "--data", n.data)...); err != nil {
			return err
		}
		if err := s.run(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// invite asks the first node for a token, again and again while its store is not ready yet.
func (s *postgresStage) invite(ctx context.Context, name string) (token string, err error) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(200 * time.Millisecond) {
		if token, err = s.command(ctx, "cluster", "invite", "--for", name, "--socket", s.nodes[0].socket); err == nil {
			return token, nil
		}
	}
	return "", errors.Join(err, ctx.Err())
}

// command runs a command of Backstay's and returns what it said.
func (s *postgresStage) command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.program, args...)
	cmd.SysProcAttr = ownGroup()
	var bad strings.Builder
	cmd.Stderr = &bad
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("backstay %s: %w: %s", args[0], err, strings.TrimSpace(bad.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// run starts a node's process and waits until it serves.
func (s *postgresStage) run(ctx context.Context, n *postgresNode) error {
	if n.log == nil {
		var err error
		if n.log, err = os.Create(filepath.Join(s.dir, n.name+".log")); err != nil {
			return err
		}
	}
	n.cmd = exec.Command(s.program, "run", "--config", n.config, "--node", n.name, "--data", n.data, "--socket", n.socket)
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	n.cmd.SysProcAttr = ownGroup()
	if err := n.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	cmd, ended := n.cmd, make(chan struct{})
	n.ended = ended
	go func() { _ = cmd.Wait(); close(ended) }() // how it ended is in its log
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if st, err := api.Dial(n.socket).Status(ctx); err == nil && st.State == api.NodeReady {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("%s did not become ready within 15s; it said:\n%s", n.name, n.said())
}

// up says whether a node's process runs.
func (n *postgresNode) up() bool {
	if n.ended == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// said is the end of a node's log.
func (n *postgresNode) said() string {
	text, err := os.ReadFile(n.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-3000):])
}

// kill ends a node's process at once, and nothing else: what it left behind is its guard's.
func (n *postgresNode) kill() error {
	if err := n.cmd.Process.Kill(); err != nil {
		return err
	}
	<-n.ended
	return nil
}

// postmaster is the process id of a node's PostgreSQL.
func (n *postgresNode) postmaster() (int, error) {
	text, err := os.ReadFile(filepath.Join(n.data, postgresService, "pgdata", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strconv.Atoi(strings.TrimSpace(first))
}

// signalInstance signals all processes of a node's PostgreSQL: the postmaster and its children.
func (n *postgresNode) signalInstance(sig syscall.Signal) error {
	pid, err := n.postmaster()
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, sig); err != nil {
		return fmt.Errorf("signal the postmaster of %s: %w", n.name, err)
	}
	for _, p := range processes() {
		if p.parent == pid {
			_ = syscall.Kill(p.pid, sig) // it may have ended meanwhile
		}
	}
	return nil
}

// password is the superuser's, as the nodes agreed on it.
func (s *postgresStage) password() (string, error) {
	text, err := os.ReadFile(filepath.Join(s.nodes[0].data, "secrets", postgresService, "superuser"))
	return strings.TrimSpace(string(text)), err
}

func (s *postgresStage) node(name string) *postgresNode {
	for _, n := range s.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

// configuration is the one that the demonstration shows.
func (s *postgresStage) configuration(self *postgresNode) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# One of three nodes that keep PostgreSQL up. Only the listener's address differs between them.\ncluster: demo\nstore: {profile: lan-fast, port: %d}\nnodes:\n", s.ports.store)
	for _, n := range s.nodes {
		fmt.Fprintf(&b, "  - {name: %s, address: %s}\n", n.name, n.address)
	}
	fmt.Fprintf(&b, `services:
  - name: %s
    engine:
      postgres:
        nodes: [n1, n2, n3]
        port: %d
        hold_down: 5s                        # short, so that a minute shows much
        parameters: {shared_buffers: 32MB, dynamic_shared_memory_type: mmap}
listeners:
  - {name: %[1]s, listen: %[3]q, service: %[1]s, keep_sessions: true}
shutdown: {lame_duck: 0s, drain: 1s}
`, postgresService, s.ports.instance, self.listen)
	return []byte(b.String())
}

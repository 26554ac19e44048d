package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backstay/backstay/bench/internal/process"
)

// A network is where the machines are: each has a namespace of its own, joined by a bridge in another. Where the kernel
// does not permit namespaces, machines are loopback addresses and links cannot be cut.
type network struct {
	prefix   string
	loopback bool
	subnet   int // of 127.0.x where there are no namespaces
}

var networks int // made so far: each has a name of its own

// cidr is the range of the machines' addresses.
func (n *network) cidr() string {
	if n.loopback {
		return "127.0.0.0/8"
	}
	return "10.77.0.0/24"
}

// newNetwork makes the bridge; close takes everything down again.
func newNetwork(loopback bool) (*network, error) {
	networks++
	n := &network{prefix: fmt.Sprintf("bsf%d.%d", os.Getpid(), networks), loopback: loopback, subnet: 100 + (os.Getpid()+networks)%100}
	if loopback {
		return n, nil
	}
	for _, c := range []string{
		"netns add " + n.space("sw"), "-n " + n.space("sw") + " link set lo up",
		"-n " + n.space("sw") + " link add br0 type bridge", "-n " + n.space("sw") + " link set br0 up",
	} {
		if err := ip(c); err != nil {
			n.close()
			return nil, err
		}
	}
	return n, nil
}

func ip(command string) error { return tool("ip", command) }

func tool(name, command string) error {
	if path := "/usr/sbin/" + name; exec.Command("test", "-x", path).Run() == nil {
		name = path
	}
	out, err := exec.Command(name, strings.Fields(command)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, command, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (n *network) space(machine string) string { return n.prefix + "-" + machine }

// A machine is a host of its own as far as the network and processes go.
type machine struct {
	net     *network
	name    string
	address string

	mu    sync.Mutex
	procs []*os.Process // where there is no namespace to ask
}

// machine adds the i-th (from 1) machine.
func (n *network) machine(name string, i int) (*machine, error) {
	m := &machine{net: n, name: name, address: fmt.Sprintf("10.77.0.%d", i)}
	if n.loopback {
		m.address = fmt.Sprintf("127.0.%d.%d", n.subnet, i)
		return m, nil
	}
	ns, sw := n.space(name), n.space("sw")
	for _, c := range []string{
		"netns add " + ns, "-n " + ns + " link set lo up",
		fmt.Sprintf("-n %s link add p%d type veth peer name eth0 netns %s", sw, i, ns),
		fmt.Sprintf("-n %s link set p%d master br0 up", sw, i),
		"-n " + ns + " link set eth0 up", fmt.Sprintf("-n %s addr add %s/24 dev eth0", ns, m.address),
	} {
		if err := ip(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *machine) port() string { return "p" + m.address[strings.LastIndexByte(m.address, '.')+1:] }

// Directions of a cut link, as seen from the machine.
const (
	outwards = 1 << iota
	inwards
)

// cut makes packets vanish: no reset, no carrier lost, only silence.
func (m *machine) cut(directions int) error {
	if m.net.loopback {
		return errors.New("links of loopback addresses cannot be cut")
	}
	var err error
	if directions&outwards != 0 {
		err = errors.Join(err, tool("tc", "-n "+m.net.space(m.name)+" qdisc add dev eth0 root blackhole"))
	}
	if directions&inwards != 0 {
		err = errors.Join(err, tool("tc", "-n "+m.net.space("sw")+" qdisc add dev "+m.port()+" root blackhole"))
	}
	return err
}

// mend undoes every cut.
func (m *machine) mend() {
	if m.net.loopback {
		return
	}
	_ = tool("tc", "-n "+m.net.space(m.name)+" qdisc del dev eth0 root")
	_ = tool("tc", "-n "+m.net.space("sw")+" qdisc del dev "+m.port()+" root")
}

// command is a program to run on the machine.
func (m *machine) command(argv ...string) *exec.Cmd {
	if !m.net.loopback {
		argv = append([]string{"/usr/sbin/ip", "netns", "exec", m.net.space(m.name)}, argv...)
	}
	c := exec.Command(argv[0], argv[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return c
}

// start runs a program on the machine until it is killed; what it says goes to a file.
func (m *machine) start(log string, env []string, argv ...string) (int, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	c := m.command(append(append([]string{"env"}, env...), argv...)...)
	c.Stdout, c.Stderr = f, f
	if err := c.Start(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	m.procs = append(m.procs, c.Process)
	m.mu.Unlock()
	go func() { _ = c.Wait() }()
	return c.Process.Pid, nil
}

// processes lists everything that runs on the machine.
func (m *machine) processes() []int {
	var pids []int
	if !m.net.loopback {
		out, _ := exec.Command("/usr/sbin/ip", "netns", "pids", m.net.space(m.name)).Output()
		for _, f := range strings.Fields(string(out)) {
			pid, _ := strconv.Atoi(f)
			pids = append(pids, pid)
		}
		return pids
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.procs {
		pids = append(pids, process.Descendants(p.Pid)...)
	}
	return pids
}

// powerOff kills everything on the machine at once, stopped first so that nothing sees another's end.
func (m *machine) powerOff() {
	for range 3 {
		pids := m.processes()
		for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
			for _, pid := range pids {
				_ = syscall.Kill(pid, s)
			}
		}
		if len(pids) == 0 {
			return
		}
	}
}

// dial connects from the machine.
func (m *machine) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	if m.net.loopback {
		return d.DialContext(ctx, network, address)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer home.Close()
	there, err := os.Open("/var/run/netns/" + m.net.space(m.name))
	if err != nil {
		return nil, err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	c, err := d.DialContext(ctx, network, address)
	if e := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); e != nil {
		runtime.LockOSThread() // the thread is of no use any more; it ends with its goroutine
	}
	return c, err
}

// close kills all that runs on the machines and removes the namespaces.
func (n *network) close(machines ...*machine) {
	for _, m := range machines {
		m.powerOff()
	}
	if n.loopback {
		return
	}
	for _, m := range machines {
		_ = ip("netns del " + n.space(m.name))
	}
	_ = ip("netns del " + n.space("sw"))
}

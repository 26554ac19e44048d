// Package e2e runs the real binary in front of real servers, breaks them, and counts what clients saw.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/operate/api"
)

// patience is how long a test waits for what must come: no assertion about speed, the machine may stall.
const patience = 2 * time.Minute

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "backstay-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "backstay")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/backstay")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// freePort finds a port of 127.0.0.1 that nothing listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// process is a program that a test started; it is ended with the test.
type process struct {
	t    *testing.T
	name string
	argv []string
	cmd  *exec.Cmd
	said *bytes.Buffer
}

func start(t *testing.T, name string, argv ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, argv: argv}
	p.start()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", p.name, tail(p.said.String(), 4000))
		}
	})
	return p
}

func (p *process) start() {
	p.t.Helper()
	p.said = &bytes.Buffer{}
	p.cmd = exec.Command(p.argv[0], p.argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
}

// stop kills the process; it does nothing to one that has ended.
func (p *process) stop() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %v to %s: %v", s, p.name, err)
	}
}

// await waits until what is true, at most for d.
func await(t *testing.T, d time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("after %s it is still not so that %s", d, what)
}

func listens(address string) func() bool {
	return func() bool {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	}
}

// nginx is one real server, a single process so that signals reach all of it.
type nginx struct {
	*process
	name    string
	address string
	log     string
}

// startNginx starts a server that answers 1 KiB on /, ok on /healthz, and logs each request's method and path.
func startNginx(t *testing.T, name string) *nginx {
	t.Helper()
	dir := t.TempDir()
	n := &nginx{name: name, address: fmt.Sprintf("127.0.0.1:%d", freePort(t)), log: filepath.Join(dir, "access.log")}
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`
daemon off; master_process off; pid %[1]s/pid; error_log stderr error;
events { worker_connections 4096; }
http {
  log_format line '$request_method $request_uri $http_x_probe';
  access_log %[2]s line;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  keepalive_requests 1000000; default_type text/plain;
  server {
    listen %[3]s;
    location /healthz { access_log off; return 200 "ok"; }
    location / { add_header X-Member %[4]s always; return 200 "%[5]s"; }
  }
}
`, dir, n.log, n.address, name, strings.Repeat("x", 1024))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.process = start(t, name, "/usr/sbin/nginx", "-c", conf, "-e", "stderr")
	await(t, patience, name+" listens", listens(n.address))
	return n
}

func (n *nginx) restart() {
	n.t.Helper()
	n.process.start()
	await(n.t, patience, n.name+" listens again", listens(n.address))
}

// node is the program under test at work.
type node struct {
	*process
	config, socket string
	client         *api.Client
}

// startNode runs the binary with this configuration and waits until it is ready.
func startNode(t *testing.T, configuration string) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{config: filepath.Join(dir, "backstay.yaml"), socket: filepath.Join(dir, "admin.sock")}
	n.write(t, configuration)
	n.process = start(t, "backstay", binary, "run", "--config", n.config, "--data", dir, "--socket", n.socket)
	n.client = api.Dial(n.socket)
	await(t, patience, "the node is ready", func() bool {
		s, err := n.client.Status(t.Context())
		return err == nil && s.State == api.NodeReady
	})
	return n
}

func (n *node) write(t *testing.T, configuration string) {
	t.Helper()
	if err := os.WriteFile(n.config, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
}

// command runs a command of the binary against the node.
func (n *node) command(args ...string) string {
	n.t.Helper()
	out, err := exec.Command(binary, append(args, "--socket", n.socket)...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("backstay %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// member is the status of a member, as service/name.
func (n *node) member(id string) api.MemberStatus {
	n.t.Helper()
	s, err := n.client.Status(context.WithoutCancel(n.t.Context()))
	if err != nil {
		n.t.Fatal(err)
	}
	for _, sv := range s.Services {
		for _, m := range sv.Members {
			if m.ID(sv.Name) == id {
				return m
			}
		}
	}
	n.t.Fatalf("no member %s in %+v", id, s.Services)
	return api.MemberStatus{}
}

func (n *node) awaitState(id string, want api.MemberState) {
	n.t.Helper()
	await(n.t, patience, id+" is "+string(want), func() bool { return n.member(id).State == want })
}

// descriptors counts the open files of the process.
func (p *process) descriptors() int {
	p.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(entries)
}

// goroutines asks the node's profile how many there are.
func (n *node) goroutines() int {
	n.t.Helper()
	c := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", n.socket)
		},
	}}
	resp, err := c.Get("http://node/debug/pprof/goroutine?debug=1")
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	var count int
	if _, err := fmt.Fscanf(resp.Body, "goroutine profile: total %d", &count); err != nil {
		n.t.Fatal(err)
	}
	return count
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

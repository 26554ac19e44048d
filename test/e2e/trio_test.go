package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay/backstay/internal/operate/api"
)

// trio is three nodes on loopback addresses that keep a real PostgreSQL up.
type trio struct {
	t        *testing.T
	dir      string
	nodes    map[string]*node
	address  map[string]string
	password string
}

// trioPorts are the same on each node's own address.
const (
	clientsPort   = "5432"
	readsPort     = "5434"
	instancePort  = "5433"
	keptReadsPort = "5435"
	trioReadLimit = "2s"
)

// startTrio starts three nodes; engine (of PostgreSQL, or a whole redis) and listeners are further lines of the configuration,
// indented as they have to be.
func startTrio(t *testing.T, engine, listeners string) *trio {
	t.Helper()
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skip("PostgreSQL is not installed")
	}
	dir, err := os.MkdirTemp("", "bs") // short, for the sockets, and PostgreSQL's user passes through
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	x := &trio{t: t, dir: dir, nodes: map[string]*node{}, address: map[string]string{}}
	network := freeNetwork(t)
	names := []string{"a", "b", "c"}
	for i, n := range names {
		x.address[n] = fmt.Sprintf("%s.%d", network, i+1)
	}
	for i, n := range names {
		x.configure(n, engine, listeners)
		if i == 0 {
			x.command(n, "init", "--node", n, "--config", x.file(n, "backstay.yaml"), "--data", x.file(n))
		} else {
			token := strings.TrimSpace(x.command("a", "cluster", "invite", "--socket", x.nodes["a"].socket))
			x.command(n, "cluster", "join", token, "--node", n, "--config", x.file(n, "backstay.yaml"), "--data", x.file(n))
		}
		x.start(n)
		if i == 0 {
			await(t, time.Minute, "a answers", func() bool {
				out, err := exec.Command(binary, "cluster", "invite", "--socket", x.nodes["a"].socket).CombinedOutput()
				return err == nil && strings.HasPrefix(string(out), "backstay.")
			})
		}
	}
	await(t, 2*time.Minute, "there are a primary and two standbys", func() bool {
		roles := x.roles()
		n := 0
		for _, i := range roles {
			if i.Role == "standby" && i.Streaming && i.Lag != nil {
				n++
			}
		}
		return n == 2 && x.primary() != ""
	})
	return x
}

// freeNetwork finds a network of loopback addresses of which nobody uses the ports.
func freeNetwork(t *testing.T) string {
	t.Helper()
	for range 50 {
		network := fmt.Sprintf("127.%d.%d", 60+rand.N(100), rand.N(250))
		free := true
		for _, port := range []string{clientsPort, readsPort, keptReadsPort, instancePort, "7400", "7403"} {
			l, err := net.Listen("tcp", network+".1:"+port)
			if free = free && err == nil; err == nil {
				l.Close()
			}
		}
		if free {
			return network
		}
	}
	t.Fatal("no free network of loopback addresses")
	return ""
}

func (x *trio) file(node string, name ...string) string {
	return filepath.Join(append([]string{x.dir, node}, name...)...)
}

// configure writes a node's file; only where its listeners listen differs between nodes.
func (x *trio) configure(name, engine, listeners string) {
	x.t.Helper()
	if err := os.MkdirAll(x.file(name), 0o755); err != nil {
		x.t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "cluster: trio\nstore: lan\nnodes:\n")
	for _, n := range []string{"a", "b", "c"} {
		fmt.Fprintf(&b, "  - {name: %s, address: %s, zone: %s}\n", n, x.address[n], n)
	}
	if !strings.HasPrefix(strings.TrimSpace(engine), "redis:") {
		engine = "      postgres:\n        hba: [\"host all all 127.0.0.0/8 scram-sha-256\"]\n" + engine + "        nodes: [a, b, c]\n        port: " + instancePort + "\n"
	}
	fmt.Fprintf(&b, "services:\n  - name: db\n    hold: 30s\n    engine:\n%s", engine)
	fmt.Fprintf(&b, "listeners:\n  - {name: db, listen: \"%[1]s:%[2]s\", service: db}\n", x.address[name], clientsPort)
	b.WriteString(strings.ReplaceAll(listeners, "ADDRESS", x.address[name]))
	if err := os.WriteFile(x.file(name, "backstay.yaml"), []byte(b.String()), 0o600); err != nil {
		x.t.Fatal(err)
	}
}

func (x *trio) start(name string) {
	x.t.Helper()
	n := &node{config: x.file(name, "backstay.yaml"), socket: x.file(name, "s")}
	n.process = start(x.t, name, binary, "run", "--config", n.config, "--data", x.file(name), "--socket", n.socket, "--node", name)
	x.t.Cleanup(func() { x.end(name) })
	n.client = api.Dial(n.socket)
	x.nodes[name] = n
}

// end stops a node in good order, and with it its PostgreSQL.
func (x *trio) end(name string) {
	n := x.nodes[name]
	if n.cmd.ProcessState != nil {
		return
	}
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { _ = n.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		_ = n.cmd.Process.Kill()
		<-done
	}
}

func (x *trio) command(name string, args ...string) string {
	x.t.Helper()
	out, err := exec.Command(binary, args...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("%s: backstay %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// on runs a command against a node. The flag comes first: what stands behind -- is another program's.
func (x *trio) on(name string, args ...string) (string, error) {
	out, err := exec.Command(binary, append([]string{"--socket", x.nodes[name].socket}, args...)...).CombinedOutput()
	return string(out), err
}

// roles is what the instances are, as a node that answers has heard.
func (x *trio) roles() map[string]api.InstanceStatus {
	out := map[string]api.InstanceStatus{}
	for _, n := range x.nodes {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(x.t.Context()), 5*time.Second)
		s, err := n.client.Status(ctx)
		cancel()
		if err != nil {
			continue
		}
		for _, sv := range s.Services {
			for _, i := range sv.Instances {
				out[i.Node] = i
			}
		}
		break
	}
	return out
}

func (x *trio) primary() string {
	for n, i := range x.roles() {
		if i.Role == "primary" {
			return n
		}
	}
	return ""
}

// connect opens a session as superuser.
func (x *trio) connect(node, port, settings string) (*pgx.Conn, error) {
	x.t.Helper()
	if x.password == "" {
		text, err := os.ReadFile(x.file("a", "secrets", "db", "superuser"))
		if err != nil {
			x.t.Fatal(err)
		}
		x.password = strings.TrimSpace(string(text))
	}
	ctx, cancel := context.WithTimeout(x.t.Context(), 30*time.Second)
	defer cancel()
	return pgx.Connect(ctx, fmt.Sprintf("host=%s port=%s user=postgres password=%s dbname=postgres %s", x.address[node], port, x.password, settings))
}

// session is connect that has to work; it is closed with the test.
func (x *trio) session(node, port, settings string) *pgx.Conn {
	x.t.Helper()
	c, err := x.connect(node, port, settings)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = c.Close(context.WithoutCancel(x.t.Context())) })
	return c
}

// ask runs a query with one text for an answer.
func ask(c *pgx.Conn, query string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var out string
	err := c.QueryRow(ctx, query).Scan(&out)
	return out, err
}

func (x *trio) do(c *pgx.Conn, query string) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), 30*time.Second)
	defer cancel()
	if _, err := c.Exec(ctx, query); err != nil {
		x.t.Fatalf("%s: %v", query, err)
	}
}

// postmaster is the process id of a node's PostgreSQL.
func (x *trio) postmaster(name string) (int, error) {
	text, err := os.ReadFile(x.file(name, "db", "pgdata", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strconv.Atoi(strings.TrimSpace(first))
}

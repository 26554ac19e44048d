package pgproxy

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/resolve"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/snapshot"
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, p := range []*postgres{shared.a, shared.b} {
		if p != nil {
			p.remove()
		}
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// postgres is a real server on a port of its own.
type postgres struct {
	dir, bin, address string
	port              int
}

// shared are two servers that most tests use, both of them primaries with the same roles: a change of primary is a change from the one to the other.
var shared struct {
	once sync.Once
	a, b *postgres
	err  error
}

const (
	password = `it's a "pass\word"`
	roles    = `
CREATE ROLE app LOGIN PASSWORD 'SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$%s';
CREATE ROLE plain LOGIN PASSWORD 'old';
CREATE ROLE trusted LOGIN;
CREATE ROLE denied LOGIN PASSWORD 'x';
SET password_encryption = md5;
CREATE ROLE veteran LOGIN PASSWORD 'md5 it is';
CREATE TABLE notes (id serial PRIMARY KEY, text text);
GRANT ALL ON notes TO app, trusted, veteran, plain; GRANT ALL ON notes_id_seq TO app, trusted, veteran, plain;
GRANT pg_signal_backend TO app;
`
	hba = `
local all postgres trust
host all postgres all trust
host all trusted all trust
host all veteran all md5
host all plain all password
host all denied all reject
host all,replication all all scram-sha-256
`
)

// servers returns the shared ones, started.
func servers(t testing.TB) (a, b *postgres) {
	t.Helper()
	shared.once.Do(func() {
		if shared.a, shared.err = newPostgres(); shared.err == nil {
			shared.b, shared.err = newPostgres()
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	for _, p := range []*postgres{shared.a, shared.b} {
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
	}
	return shared.a, shared.b
}

func newPostgres() (*postgres, error) {
	bins, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(bins) == 0 {
		return nil, fmt.Errorf("PostgreSQL is not installed: scripts/setup test")
	}
	under := "/dev/shm"
	if _, err := os.Stat(under); err != nil {
		under = ""
	}
	dir, err := os.MkdirTemp(under, "bs")
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ln.Close()
	p := &postgres{dir: dir, bin: filepath.Dir(bins[len(bins)-1]), address: ln.Addr().String(), port: ln.Addr().(*net.TCPAddr).Port}
	if err := own(dir); err != nil {
		return nil, err
	}
	if err := p.run("initdb", "-D", p.data(), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(p.data(), "pg_hba.conf"), []byte(hba), 0o644); err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		return nil, err
	}
	c, err := pgx.Connect(context.Background(), p.superuser())
	if err != nil {
		return nil, err
	}
	defer c.Close(context.Background())
	_, err = c.Exec(context.Background(), fmt.Sprintf(roles, verifierKeys()), pgx.QueryExecModeSimpleProtocol)
	return p, err
}

// verifierKeys are those of the password with the salt above, as a replica has them.
func verifierKeys() string { return testKeys(password, []byte("saltsaltsaltsalt"), 4096) }

func own(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return os.Chown(dir, uid, gid)
}

func (p *postgres) data() string { return filepath.Join(p.dir, "data") }

func (p *postgres) superuser() string {
	return fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=disable", p.address)
}

func (p *postgres) run(tool string, args ...string) error {
	cmd := exec.Command(filepath.Join(p.bin, tool), args...)
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	if tool == "pg_ctl" {
		return cmd.Run() // what it starts would keep a pipe open
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", tool, err, out)
	}
	return nil
}

func (p *postgres) start() error {
	if p.run("pg_ctl", "status", "-D", p.data()) == nil {
		return nil
	}
	options := fmt.Sprintf("-c port=%d -c listen_addresses=127.0.0.1 -c unix_socket_directories=%s -c fsync=off -c shared_buffers=16MB -c dynamic_shared_memory_type=mmap -c max_connections=60", p.port, p.dir)
	if err := p.run("pg_ctl", "start", "-w", "-D", p.data(), "-l", filepath.Join(p.dir, "log"), "-o", options); err != nil {
		log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
		return fmt.Errorf("start: %w: %s", err, log)
	}
	return nil
}

func (p *postgres) stop(t testing.TB, mode string) {
	t.Helper()
	if err := p.run("pg_ctl", "stop", "-w", "-m", mode, "-D", p.data()); err != nil {
		t.Fatal(err)
	}
}

func (p *postgres) remove() {
	_ = p.run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", p.data())
	_ = os.RemoveAll(p.dir)
}

// kit is a proxy in front of two servers, of which one is the primary.
type kit struct {
	t        testing.TB
	a, b     *postgres
	server   *Server
	registry *prometheus.Registry
	metrics  *telemetry.Metrics
	snapshot atomic.Pointer[snapshot.Snapshot]
	pools    map[string]*pool.Service
	config   *config.Config
	address  string
	stop     func() // accepting
	blind    atomic.Bool
}

// start serves a listener; more is added to it and to its service.
func start(t testing.TB, listener, service string) *kit {
	t.Helper()
	k := &kit{t: t, registry: prometheus.NewRegistry(), pools: map[string]*pool.Service{}}
	k.a, k.b = servers(t)
	k.metrics = telemetry.NewMetrics(k.registry)
	yaml := fmt.Sprintf(`
cluster: test
nodes: [{name: a, address: 127.0.0.1}, {name: b, address: 127.0.0.2}]
services: [{name: db, engine: {postgres: {nodes: [a, b]}}, hold: 20s%s}]
listeners: [{name: in, listen: "127.0.0.1:1", service: db, keep_sessions: true%s}]
`, service, listener)
	var err error
	if k.config, err = config.Parse("test.yaml", []byte(yaml)); err != nil {
		t.Fatal(err)
	}
	snap, err := snapshot.Build(k.config, snapshot.Deps{Metrics: k.metrics, Pool: func(name string) *pool.Service {
		if k.pools[name] == nil {
			k.pools[name] = pool.NewService(name, pool.Options{Metrics: k.metrics})
		}
		return k.pools[name]
	}})
	if err != nil {
		t.Fatal(err)
	}
	k.snapshot.Store(snap)
	k.primary(k.a)
	k.server = New(Options{Snapshot: &k.snapshot, Metrics: k.metrics, Lookup: k.lookup})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k.address = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- k.server.Serve(ctx, "in", ln) }()
	k.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
		ln.Close()
	})
	t.Cleanup(func() {
		k.stop()
		over, cancel := context.WithCancel(context.Background())
		cancel()
		_ = k.server.Drain(over) // whatever the test left open
		if n := k.pools["db"].Working(); n != 0 {
			t.Errorf("%d units of work were begun and never ended", n)
		}
		for _, p := range k.pools {
			p.Close()
		}
	})
	return k
}

// lookup reads verifiers as a node does.
func (k *kit) lookup(ctx context.Context, _, address, role string) (string, []byte, error) {
	if k.blind.Load() {
		return "", nil, fmt.Errorf("nobody to ask")
	}
	c, err := pgx.Connect(ctx, "postgres://postgres@"+address+"/postgres?sslmode=disable")
	if err != nil {
		return "", nil, err
	}
	defer c.Close(context.Background())
	var text string
	err = c.QueryRow(ctx, "SELECT coalesce((SELECT rolpassword FROM pg_authid WHERE rolname = $1), '')", role).Scan(&text)
	return text, []byte("seed"), err
}

// primary makes a server the only member; nil is none.
func (k *kit) primary(p *postgres) {
	k.t.Helper()
	var endpoints []resolve.Endpoint
	if p != nil {
		name := "a"
		if p == k.b {
			name = "b"
		}
		endpoints = []resolve.Endpoint{{Name: name, Address: p.address, Weight: 1}}
	}
	c := k.config.Services[0]
	c.Outlier.Off, c.Breaker.Off, c.OnMemberDown, c.DrainTimeout, c.Balance.SlowStart = true, true, "cut", 0, 0
	k.pools["db"].Set(c, endpoints)
}

// dsn is how clients reach the proxy.
func (k *kit) dsn(role string, more ...string) string {
	secret := map[string]string{"app": password, "veteran": "md5 it is", "plain": "old"}[role]
	quote := func(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'" }
	_, port, _ := net.SplitHostPort(k.address)
	return strings.Join(append([]string{"host=127.0.0.1", "port=" + port, "user=" + role, "dbname=postgres", "sslmode=disable", "password=" + quote(secret)}, more...), " ")
}

func (k *kit) connect(role string, more ...string) *pgx.Conn {
	k.t.Helper()
	c, err := pgx.Connect(k.t.Context(), k.dsn(role, more...))
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// port asks which server a session is on.
func (k *kit) on(c *pgx.Conn) *postgres {
	k.t.Helper()
	var port int
	if err := c.QueryRow(k.t.Context(), "SELECT inet_server_port()").Scan(&port); err != nil {
		k.t.Fatal(err)
	}
	if port == k.a.port {
		return k.a
	}
	return k.b
}

func (k *kit) until(what string, holds func() bool) {
	k.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			k.t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

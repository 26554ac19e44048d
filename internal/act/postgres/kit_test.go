package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/conformance"
	"github.com/backstay/backstay/internal/act/daemon"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/decide/plan"
)

// A lab is three real instances on loopback addresses.
type lab struct {
	t       testing.TB
	dir     string
	engines map[string]*Engine
	stops   map[string]func()
	options map[string]Options

	mu     sync.Mutex
	events []event.Record
}

func newLab(t testing.TB, nodes ...string) *lab {
	t.Helper()
	under := "/dev/shm" // initdb and the like wait for disks, which is not what is tested
	var room syscall.Statfs_t
	if err := syscall.Statfs(under, &room); err != nil || room.Bavail*uint64(room.Bsize) < 2<<30 {
		under = ""
	}
	dir, err := os.MkdirTemp(under, "bs") // short, for the sockets, and one that another user can enter
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, dir: dir, engines: map[string]*Engine{}, stops: map[string]func(){}, options: map[string]Options{}}
	t.Cleanup(func() {
		for n := range l.stops {
			l.stop(n)
		}
		if t.Failed() {
			l.tellLogs()
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	pw := map[string]string{}
	for _, role := range []string{"superuser", "replication", "rewind"} {
		pw[role] = filepath.Join(dir, role)
		if err := os.WriteFile(pw[role], []byte(`it's a "pass\word": `+role+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	peers := map[string]string{}
	for i, n := range nodes {
		peers[n] = freeAddress(t, fmt.Sprintf("127.0.0.%d", 11+i))
	}
	for _, n := range nodes {
		host, port, _ := net.SplitHostPort(peers[n])
		o := Options{
			Node: n, Service: "db", DataDir: filepath.Join(dir, n), Listen: host, Peers: peers,
			Parameters: map[string]string{"shared_buffers": "16MB", "max_connections": "40", "max_wal_size": "96MB", "min_wal_size": "32MB"},
			Passwords:  Passwords{Superuser: pw["superuser"], Replication: pw["replication"], Rewind: pw["rewind"]},
			ProbeEvery: 100 * time.Millisecond, Append: l.append, Log: slog.New(slog.DiscardHandler),
		}
		fmt.Sscan(port, &o.Port)
		l.options[n] = o
		l.run(n)
	}
	return l
}

func freeAddress(t testing.TB, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// run starts a node's engine, as a new node process would.
func (l *lab) run(node string) *Engine {
	e := New(l.options[node])
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	l.engines[node] = e
	l.stops[node] = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Error(err)
		}
	})
	return e
}

func (l *lab) stop(node string) { l.stops[node]() }

func (l *lab) append(r event.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, r)
}

func (l *lab) happened(kind string) []event.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []event.Record
	for _, r := range l.events {
		if r.Kind == kind {
			found = append(found, r)
		}
	}
	return found
}

func (l *lab) tellLogs() {
	for n, e := range l.engines {
		lines := strings.Split(daemon.Tail(e.logPath(), 8<<10), "\n")
		l.t.Logf("log of %s:\n%s", n, strings.Join(lines[max(0, len(lines)-25):], "\n"))
	}
	for _, r := range l.happened(act.EventForced) {
		l.t.Log(r.Message, r.Evidence)
	}
}

func (l *lab) Engine(node string) conformance.Engine { return l.engines[node] }

// conn connects as a client would, over the network.
func (l *lab) conn(ctx context.Context, node string) (*pgx.Conn, error) {
	o := l.options[node]
	pw, err := readPassword(o.Passwords.Superuser)
	if err != nil {
		return nil, err
	}
	cfg, err := dialConfig(map[string]string{"host": o.Listen, "port": fmt.Sprint(o.Port), "user": "postgres", "dbname": "postgres", "password": pw, "sslmode": "disable"}, 20*time.Second)
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, cfg)
}

func (l *lab) Write(ctx context.Context, node, value string) error {
	c, err := l.conn(ctx, node)
	if err != nil {
		return err
	}
	defer c.Close(context.Background())
	_, err = c.Exec(ctx, "CREATE TABLE IF NOT EXISTS ledger (value text PRIMARY KEY, at timestamptz DEFAULT now())")
	if err == nil {
		_, err = c.Exec(ctx, "INSERT INTO ledger (value) VALUES ($1)", value)
	}
	return err
}

func (l *lab) Values(ctx context.Context, node string) ([]string, error) {
	c, err := l.conn(ctx, node)
	if err != nil {
		return nil, err
	}
	defer c.Close(context.Background())
	rows, err := c.Query(ctx, "SELECT value FROM ledger")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (l *lab) Crash(t *testing.T, node string) {
	t.Helper()
	if err := l.engines[node].sup.Process().Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// do performs a step and waits until it is done.
func (l *lab) do(node string, s plan.Step) time.Duration {
	l.t.Helper()
	began := time.Now()
	s.Node, s.Service = node, "db"
	if err := l.engines[node].Do(l.t.Context(), s); err != nil {
		l.t.Fatal(err)
	}
	l.until(s.String(), func() bool {
		done, err := l.engines[node].Done(l.t.Context(), s)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			l.t.Fatal(err)
		}
		return done
	})
	return time.Since(began)
}

func (l *lab) until(what string, ok func() bool) {
	l.t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			for n, e := range l.engines {
				o, err := e.Observe(l.t.Context())
				l.t.Logf("%s: %+v %v", n, o, err)
			}
			l.t.Fatalf("not in time: %s", what)
		}
	}
}

func (l *lab) look(node string) plan.Observation {
	l.t.Helper()
	o, err := l.engines[node].Observe(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return o
}

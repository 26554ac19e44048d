// Package postgres is the engine for PostgreSQL 13 to 18: it creates, clones, runs, fences, promotes and rewinds the one
// instance of its own node, as a child process, and says what it sees of it. It knows no rules: what is to be done and
// when is decided elsewhere and arrives as steps. DESIGN.md says how each step keeps its promise.
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
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay/backstay/internal/act/postgres/postmaster"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/decide/plan"
)

// An Engine observes and changes the instance of its node. Use New.
type Engine struct {
	o       Options
	log     *slog.Logger
	changed chan struct{}
	turn    chan struct{} // one step at a time
	fresh   chan struct{} // a promotion wants its follow-up
	prepare sync.Mutex    // of the folders and the account, once

	mu      sync.Mutex
	acc     account
	bin     string
	settled bool // init has run
	st      state
	closed  bool                // Run is over
	step    *underway           // nil when none is
	proc    *postmaster.Process // nil when down
	life    int                 // grows with each start
	exited  chan struct{}       // closed when proc is gone
	stopped bool                // an order, or ctx, ended the last one
	ending  string              // how the last process ended, for people
	busy    string
	seen    facts
	probe   probe
	saved   time.Time // of the last Checkpoint step
	proven  bool      // the synchronous set is known to be in force
	owed    bool      // the epoch's row is not written yet
	down    *downFacts
	vain    vain

	look queryConn
}

// New returns an engine. It does nothing until it is asked or run.
func New(o Options) *Engine {
	for p, v := range map[*string]string{&o.DataPath: filepath.Join(o.DataDir, "pgdata"), &o.OSUser: "postgres", &o.Listen: "127.0.0.1", &o.Superuser: "postgres"} {
		if *p == "" {
			*p = v
		}
	}
	for p, v := range map[*time.Duration]time.Duration{
		&o.StopTimeout: 30 * time.Second, &o.HandoverTimeout: 5 * time.Second,
		&o.ProbeEvery: time.Second, &o.ProbeTimeout: 2 * time.Second, &o.QueryTimeout: 500 * time.Millisecond,
	} {
		if *p == 0 {
			*p = v
		}
	}
	if o.Port == 0 {
		o.Port = 5432
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Engine{o: o, log: o.Log, changed: make(chan struct{}, 1), fresh: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
}

// Changed has a value when something happened that is worth a look: the child ended, the stream was lost.
func (e *Engine) Changed() <-chan struct{} { return e.changed }

func (e *Engine) notify() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// DataPath returns PostgreSQL's data directory, which is what a guard watches.
func (e *Engine) DataPath() string { return e.o.DataPath }

// SocketDir returns the folder of the local socket, for psql and the like.
func (e *Engine) SocketDir() string { return filepath.Join(e.o.DataDir, "run") }

func (e *Engine) confDir() string         { return filepath.Join(e.o.DataDir, "conf") }
func (e *Engine) conf(name string) string { return filepath.Join(e.confDir(), name) }
func (e *Engine) data(name ...string) string {
	return filepath.Join(append([]string{e.o.DataPath}, name...)...)
}
func (e *Engine) statePath() string { return filepath.Join(e.o.DataDir, "epoch.json") }
func (e *Engine) logPath() string   { return filepath.Join(e.o.DataDir, "log", "postgresql.log") }

// init finds the account and the programs, makes the folders and reads the state: all that New must not do.
func (e *Engine) init() error {
	e.prepare.Lock()
	defer e.prepare.Unlock()
	e.mu.Lock()
	ready := e.settled
	e.mu.Unlock()
	if ready {
		return nil
	}
	if e.o.DataDir == "" || e.o.Node == "" {
		return errors.New("an engine needs a node's name and a data_dir")
	}
	if socket := filepath.Join(e.SocketDir(), fmt.Sprintf(".s.PGSQL.%d", e.o.Port)); len(socket) > 103 {
		return fmt.Errorf("data_dir %s is too long for a unix socket in it (%d bytes of 103): choose a shorter one", e.o.DataDir, len(socket))
	}
	acc, err := lookAccount(e.o.OSUser)
	if err != nil {
		return err
	}
	major, _ := os.ReadFile(e.data("PG_VERSION"))
	bin, err := findBin(e.o.BinDir, strings.TrimSpace(string(major)))
	if err != nil {
		return err
	}
	for _, dir := range []string{e.o.DataDir, e.SocketDir(), e.confDir(), filepath.Dir(e.logPath())} {
		if err := acc.directory(dir); err != nil {
			return fmt.Errorf("prepare data_dir: %w", err)
		}
	}
	st, err := loadState(e.statePath())
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.acc, e.bin, e.st, e.settled = acc, bin, st, true
	e.mu.Unlock()
	return nil
}

// persist changes the state, on disk before in memory.
func (e *Engine) persist(change func(*state)) error {
	e.mu.Lock()
	st := e.st
	acc := e.acc
	e.mu.Unlock()
	change(&st)
	text, err := jsonText(st)
	if err != nil {
		return err
	}
	err = acc.writeDurably(e.statePath(), text, 0o600)
	if errors.Is(err, syscall.ENOSPC) && os.Remove(e.conf("reserve")) == nil {
		err = acc.writeDurably(e.statePath(), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("persist epoch %d: %w", st.Epoch, err)
	}
	e.mu.Lock()
	e.st = st
	e.mu.Unlock()
	return nil
}

func (e *Engine) state() state {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.st
}

// process returns the postmaster, nil when there is none.
func (e *Engine) process() *postmaster.Process {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.proc
}

func (e *Engine) setBusy(what string) {
	e.mu.Lock()
	e.busy = what
	e.mu.Unlock()
}

func (e *Engine) record(kind, message, evidence string, fields map[string]any) {
	e.log.Info("event", "kind", kind, "message", message, "evidence", evidence)
	if e.o.Append != nil {
		e.o.Append(event.Record{Kind: kind, Service: e.o.Service, Member: e.o.Node, Node: e.o.Node, Message: message, Evidence: evidence, Fields: fields})
	}
}

// tool prepares one of PostgreSQL's programs.
func (e *Engine) tool(name string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return filepath.Join(e.bin, name)
}

// local returns how to connect as superuser over the local socket.
func (e *Engine) local(timeout time.Duration) (*pgx.ConnConfig, error) {
	return dialConfig(map[string]string{
		"host": e.SocketDir(), "port": fmt.Sprint(e.o.Port), "user": e.o.Superuser, "dbname": "postgres", "sslmode": "disable",
		"application_name": "backstay",
	}, timeout)
}

// remote returns how to connect to a peer as the role that may look and read files.
func (e *Engine) remote(node, database string) (*pgx.ConnConfig, error) {
	host, port, err := e.peer(node)
	if err != nil {
		return nil, err
	}
	password, err := readPassword(e.o.Passwords.Rewind)
	if err != nil {
		return nil, err
	}
	settings := map[string]string{"host": host, "port": port, "user": rewinder, "dbname": database, "password": password, "application_name": e.o.Node, "sslmode": "disable"}
	if e.o.TLS != nil {
		settings["sslmode"], settings["sslrootcert"] = "verify-ca", e.o.TLS.CA
	}
	return dialConfig(settings, 3*time.Second)
}

// peer returns where a node's instance listens.
func (e *Engine) peer(node string) (host, port string, err error) {
	e.mu.Lock()
	addr, ok := e.o.Peers[node]
	e.mu.Unlock()
	if !ok || node == e.o.Node {
		return "", "", fmt.Errorf("%q is not another node of the service", node)
	}
	return net.SplitHostPort(addr)
}

// connect opens a connection; the caller closes it.
func connect(ctx context.Context, cfg *pgx.ConnConfig, err error) (*pgx.Conn, error) {
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, cfg)
}

var _ interface {
	Observe(context.Context) (plan.Observation, error)
	Do(context.Context, plan.Step) error
	Done(context.Context, plan.Step) (bool, error)
	Changed() <-chan struct{}
	Run(context.Context) error
} = (*Engine)(nil)

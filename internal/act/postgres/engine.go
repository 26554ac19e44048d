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

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/account"
	"github.com/backstay/backstay/internal/act/daemon"
	"github.com/backstay/backstay/internal/act/ledger"
	"github.com/backstay/backstay/internal/act/rescue"
	"github.com/backstay/backstay/internal/decide/plan"
)

// An Engine observes and changes the instance of its node. Use New.
type Engine struct {
	o       Options
	log     *slog.Logger
	ledger  *ledger.Ledger
	sup     *daemon.Supervisor
	tell    *act.Teller
	aside   *rescue.Keeper
	fresh   chan struct{} // a promotion wants its follow-up
	prepare sync.Mutex    // of the folders and the account, once

	mu      sync.Mutex
	acc     account.Account
	bin     string
	settled bool // init has run
	life    int  // grows with each start
	endedAt time.Time
	floor   uint64 // how far the files go from which the next life begins
	seen    facts
	probe   probe
	proven  bool // the synchronous set is known to be in force
	owed    bool // the epoch's row is not written yet
	down    *downFacts
	reading int // grows when what the files said is forgotten
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
	e := &Engine{o: o, log: o.Log, fresh: make(chan struct{}, 1), tell: act.NewTeller(o.Service, o.Node, o.Append, o.Log)}
	e.aside = rescue.New(o.DataDir, e.tell, o.Rescue)
	e.sup = daemon.New(daemon.Options{
		Name: "PostgreSQL", Node: o.Node, Dir: o.DataPath, Log: e.logPath(), Hard: syscall.SIGQUIT, Weighty: lastWords, Teller: e.tell, Ours: e.ours,
		Begun: e.begun, Ended: e.ended,
	})
	e.ledger = ledger.New(ledger.Options{
		Node: o.Node, Path: filepath.Join(o.DataDir, "epoch.json"), Log: e.log, Teller: e.tell, Synchronous: true,
		Condition: e.condition, Refuse: refuse, Before: e.before, Observe: e.Observe, Abandon: e.sup.Kill,
		Steps: ledger.Steps{
			plan.Create: e.create, plan.Clone: e.clone, plan.Rewind: e.rewind, plan.Start: e.resume, plan.Stop: e.stop, plan.Restart: e.restart,
			plan.Promote: e.promote, plan.Demote: e.demote, plan.Follow: e.follow, plan.Fence: e.fence, plan.SetSync: e.setSync,
			plan.Checkpoint: e.checkpoint,
		},
	})
	return e
}

// Changed has a value when something happened that is worth a look: the child ended, the stream was lost.
func (e *Engine) Changed() <-chan struct{} { return e.tell.Changed() }

// DataPath returns PostgreSQL's data directory, which is what a guard watches.
func (e *Engine) DataPath() string { return e.o.DataPath }

// SocketDir returns the folder of the local socket, for psql and the like.
func (e *Engine) SocketDir() string { return filepath.Join(e.o.DataDir, "run") }

func (e *Engine) confDir() string         { return filepath.Join(e.o.DataDir, "conf") }
func (e *Engine) conf(name string) string { return filepath.Join(e.confDir(), name) }
func (e *Engine) data(name ...string) string {
	return filepath.Join(append([]string{e.o.DataPath}, name...)...)
}
func (e *Engine) logPath() string { return filepath.Join(e.o.DataDir, "log", "postgresql.log") }

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
	acc, err := account.Look(e.o.OSUser)
	if err != nil {
		return err
	}
	if acc.UID == 0 {
		return fmt.Errorf("%q is root, as whom PostgreSQL does not run: name another as user", e.o.OSUser)
	}
	major, _ := os.ReadFile(e.data("PG_VERSION"))
	bin, err := findBin(e.o.BinDir, strings.TrimSpace(string(major)))
	if err != nil {
		return err
	}
	for _, dir := range []string{e.o.DataDir, e.SocketDir(), e.confDir(), filepath.Dir(e.logPath())} {
		if err := acc.Directory(dir); err != nil {
			return fmt.Errorf("prepare data_dir: %w", err)
		}
	}
	if err := e.ledger.Open(); err != nil {
		return err
	}
	e.mu.Lock()
	e.acc, e.bin = acc, bin
	e.mu.Unlock()
	e.reap(context.Background()) // before anybody can order a step
	e.sup.Adopt(true)
	e.mu.Lock()
	e.settled = true
	e.mu.Unlock()
	return nil
}

// persist changes the facts that must never be forgotten, on disk before in memory.
func (e *Engine) persist(change func(*ledger.State)) error { return e.ledger.Update(change) }

func (e *Engine) state() ledger.State { return e.ledger.State() }

// process returns the postmaster, nil when there is none.
func (e *Engine) process() *daemon.Process { return e.sup.Process() }

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
		settings["sslmode"], settings["sslrootcert"] = map[bool]string{true: "verify-full", false: "verify-ca"}[e.o.TLS.Full], e.o.TLS.CA
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

package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

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
	prepare sync.Mutex // of the folders and the account, once
	peers   atomic.Pointer[map[string]string]

	mu      sync.Mutex
	settled bool // init has run
	acc     account.Account
	program string
	life    int // grows with each start of a process
	seen    facts
	rest    rest // what is known of the instance when it cannot be asked
	synced  bool // since this process began Redis' own count has been that of the data
	loaded  bool // rest was held against what this process loaded
	failing time.Time
	failure string
	probe   probe
	apart   string // why it is not attached to its upstream

	look looker
}

// New returns an engine. It does nothing until it is asked or run.
func New(o Options) *Engine {
	e := &Engine{o: o.withDefaults()}
	e.log = e.o.Log
	e.SetPeers(o.Peers)
	e.tell = act.NewTeller(o.Service, o.Node, o.Append, e.log)
	e.aside = rescue.New(o.DataDir, e.tell, o.Rescue)
	e.sup = daemon.New(daemon.Options{
		Name: "Redis", Node: o.Node, Dir: e.DataPath(), Log: e.logPath(), Hard: syscall.SIGKILL, Weighty: lastWords, Teller: e.tell, Ours: ours,
		Begun: e.begun, Ended: e.ended,
	})
	e.ledger = ledger.New(ledger.Options{
		Node: o.Node, Path: filepath.Join(o.DataDir, "epoch.json"), Log: e.log, Teller: e.tell, Observe: e.Observe,
		Condition: func() ledger.Condition {
			return ledger.Condition{Empty: e.empty(), Running: e.running(), Standby: e.ledger.State().Standby}
		},
		Abandon: e.sup.Kill, Steps: ledger.Steps{
			plan.Create: e.create, plan.Clone: e.clone, plan.Rewind: e.rewind, plan.Start: e.resume, plan.Stop: e.halt, plan.Restart: e.restart,
			plan.Promote: e.promote, plan.Demote: e.demote, plan.Follow: e.follow, plan.Fence: e.fence, plan.Checkpoint: e.checkpoint,
			plan.SetSync: func(context.Context, plan.Step) error { return nil }, // the ledger refused a set: without one there is nothing to do
		},
	})
	return e
}

// Changed has a value when something happened that is worth a look: the child ended, the stream was lost.
func (e *Engine) Changed() <-chan struct{} { return e.tell.Changed() }

// running says whether there is a process.
func (e *Engine) running() bool { return e.sup.Process() != nil }

// DataPath returns Redis' folder, which is what a guard watches.
func (e *Engine) DataPath() string { return filepath.Join(e.o.DataDir, "redis") }

func (e *Engine) data(name string) string { return filepath.Join(e.DataPath(), name) }
func (e *Engine) confPath() string        { return filepath.Join(e.o.DataDir, "redis.conf") }
func (e *Engine) logPath() string         { return filepath.Join(e.o.DataDir, "log", "redis.log") }
func (e *Engine) restPath() string        { return filepath.Join(e.o.DataDir, "rest.json") }

func (e *Engine) hasLog() bool {
	return act.Exists(e.data(filepath.Join("appendonlydir", "appendonly.aof.manifest")))
}
func (e *Engine) hasDump() bool { return act.Exists(e.data("dump.rdb")) }

// empty says that there is nothing to lose: no data, or data that was being replaced.
func (e *Engine) empty() bool { return !e.hasLog() && !e.hasDump() || e.ledger.State().Copying }

// init finds the account and the program, makes the folders and reads the state: all that New must not do.
func (e *Engine) init() error {
	e.prepare.Lock()
	defer e.prepare.Unlock()
	if e.settled {
		return nil
	}
	if e.o.DataDir == "" || e.o.Node == "" {
		return errors.New("an engine needs a node's name and a data_dir")
	}
	acc, err := account.Look(e.o.User)
	if err != nil {
		return err
	}
	program, err := exec.LookPath(e.o.Program)
	if err != nil {
		return fmt.Errorf("Redis is not installed: install redis-server 7 or name it as program: %w", err)
	}
	for _, dir := range []string{e.o.DataDir, e.DataPath(), filepath.Dir(e.logPath())} {
		if err := acc.Directory(dir); err != nil {
			return fmt.Errorf("prepare data_dir: %w", err)
		}
	}
	if err := e.ledger.Open(); err != nil {
		return err
	}
	e.mu.Lock()
	e.acc, e.program, e.rest = acc, program, readRest(e.restPath())
	e.mu.Unlock()
	e.takeOver(context.Background(), true) // before anybody can order a step
	e.settled = true
	return nil
}

// SetPeers replaces the other nodes of the service: name → host:port of their instance.
func (e *Engine) SetPeers(peers map[string]string) {
	peers = maps.Clone(peers)
	e.peers.Store(&peers)
}

// SetRescue changes the bounds of what is put aside.
func (e *Engine) SetRescue(l rescue.Limits) { e.aside.Limit(l) }

// peer returns where a node's instance listens.
func (e *Engine) peer(node string) (string, error) {
	addr, ok := (*e.peers.Load())[node]
	if !ok || node == e.o.Node {
		return "", fmt.Errorf("%q is not another node of the service", node)
	}
	return addr, nil
}

// Do performs a step. One at a time is under way; another waits its turn or for ctx. One of a newer epoch ends what an
// older epoch is still busy with.
func (e *Engine) Do(ctx context.Context, s plan.Step) error {
	if err := e.init(); err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	return e.ledger.Do(ctx, s)
}

// Done says whether a step's effect is there already.
func (e *Engine) Done(ctx context.Context, s plan.Step) (bool, error) {
	if err := e.init(); err != nil {
		return false, err
	}
	return e.ledger.Done(ctx, s)
}

var _ interface {
	Observe(context.Context) (plan.Observation, error)
	Do(context.Context, plan.Step) error
	Done(context.Context, plan.Step) (bool, error)
	Changed() <-chan struct{}
	Run(context.Context) error
} = (*Engine)(nil)

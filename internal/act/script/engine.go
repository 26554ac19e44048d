package script

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/ledger"
	"github.com/backstay/backstay/internal/decide/plan"
)

// An Engine observes and changes the instance of its node by commands. Use New.
type Engine struct {
	o       Options
	ledger  *ledger.Ledger
	tell    *act.Teller
	looking sync.Mutex // one observe command at a time
	prepare sync.Mutex
	settled bool // init has run
	peers   atomic.Pointer[map[string]string]

	mu   sync.Mutex
	seen sight
	err  error     // of the last look
	at   time.Time // of the last look
}

// New returns an engine. It does nothing until it is asked or run.
func New(o Options) *Engine {
	e := &Engine{o: o.withDefaults()}
	e.SetPeers(o.Peers)
	e.tell = act.NewTeller(o.Service, o.Node, o.Append, e.o.Log)
	e.ledger = ledger.New(ledger.Options{
		Node: o.Node, Path: filepath.Join(o.DataDir, "epoch.json"), Log: e.o.Log, Teller: e.tell,
		Observe: func(context.Context) (plan.Observation, error) { return e.observation(e.last()), nil },
		Condition: func() ledger.Condition {
			s, _ := e.last()
			return ledger.Condition{Empty: s.Empty, Running: s.running(), Standby: e.ledger.State().Standby}
		},
		Abandon: func(ctx context.Context) { _, _ = e.silence(ctx, plan.Step{Kind: plan.Fence, Mode: plan.Immediate}) }, // its error is told already
		Steps:   e.steps(),
	})
	return e
}

// SetPeers replaces the other nodes of the service: name → host:port of their instance.
func (e *Engine) SetPeers(peers map[string]string) {
	peers = maps.Clone(peers)
	e.peers.Store(&peers)
}

func (e *Engine) peer(node string) string { return (*e.peers.Load())[node] }

// Changed has a value when a look showed something new.
func (e *Engine) Changed() <-chan struct{} { return e.tell.Changed() }

func (e *Engine) init() error {
	for name, words := range map[string][]string{"observe": e.o.Commands.Observe, "promote": e.o.Commands.Promote, "demote": e.o.Commands.Demote, "follow": e.o.Commands.Follow} {
		if len(words) == 0 {
			return fmt.Errorf("there is no command to %s", name)
		}
	}
	if err := os.MkdirAll(e.o.DataDir, 0o700); err != nil {
		return fmt.Errorf("prepare data_dir: %w", err)
	}
	if err := e.ledger.Open(); err != nil {
		return err
	}
	e.prepare.Lock()
	defer e.prepare.Unlock()
	if e.settled {
		return nil
	}
	err := e.reap() // before anybody can order a step
	e.settled = err == nil
	return err
}

// Run lives as long as the node: it looks at the instance. When ctx ends the instance is stopped, where there is a command
// for that; otherwise it is left as it is.
func (e *Engine) Run(ctx context.Context) error {
	if err := ledger.Patiently(ctx, e.init); err != nil {
		return fmt.Errorf("script engine of %s on %s: %w", e.o.Service, e.o.Node, err)
	}
	tick := time.NewTicker(e.o.Every)
	defer tick.Stop()
	for {
		_ = e.look(ctx) // what it says is kept for Observe
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		break
	}
	var err error
	e.ledger.Close(func() {
		if len(e.o.Commands.Stop) > 0 {
			_, err = e.run(context.WithoutCancel(ctx), e.o.Timeout, e.o.Commands.Stop, plan.Step{Kind: plan.Stop, Mode: plan.Fast})
		}
	})
	return err
}

// look runs the observe command.
func (e *Engine) look(ctx context.Context) error {
	e.looking.Lock()
	defer e.looking.Unlock()
	began := time.Now()
	text, err := e.run(ctx, e.o.ObserveTimeout, e.o.Commands.Observe, plan.Step{})
	var s sight
	if err == nil {
		if s, err = parse(text); err != nil {
			err = fmt.Errorf("what observe printed cannot be used: %w", err)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e.mu.Lock()
	was, failed := e.seen, e.err
	e.seen, e.err, e.at = s, err, began
	e.mu.Unlock()
	if was.Role != s.Role || was.running() != s.running() || was.Streaming != s.Streaming || (failed == nil) != (err == nil) {
		e.tell.Notify()
	}
	return err
}

// last is the last look.
func (e *Engine) last() (sight, time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seen, e.at
}

func (s sight) running() bool {
	if s.Running == nil {
		return s.Role == plan.Primary || s.Role == plan.Standby
	}
	return *s.Running
}

// Observe says what the last look showed; it looks itself where that is too long ago.
func (e *Engine) Observe(ctx context.Context) (plan.Observation, error) {
	if err := e.init(); err != nil {
		return plan.Observation{Node: e.o.Node, Time: time.Now(), Role: plan.None, Problem: err.Error()}, err
	}
	if _, at := e.last(); time.Since(at) > 2*e.o.Every {
		_ = e.look(ctx)
	}
	e.mu.Lock()
	s, at, err := e.seen, e.at, e.err
	e.mu.Unlock()
	if at.IsZero() {
		err = errors.Join(ctx.Err(), errors.New("it was not looked at yet"))
	}
	return e.observation(s, at), err
}

func (e *Engine) observation(s sight, at time.Time) plan.Observation {
	st := e.ledger.State()
	o := plan.Observation{
		Node: e.o.Node, Time: time.Now(), Running: s.running(), Role: s.Role, Empty: s.Empty, Epoch: st.Held,
		Problem: s.Problem, Busy: e.ledger.Busy(),
	}
	if !s.Empty {
		o.SystemID, o.Timeline, o.Position = cmp.Or(s.SystemID, e.o.Service), cmp.Or(s.Timeline, 1), cmp.Or(s.Position, 1)
	}
	if !o.Running {
		o.Role = plan.None
	}
	switch o.Role {
	case plan.Primary:
		o.Writable = s.Writable == nil || *s.Writable
		if o.Writable {
			o.LastWrite = at
		}
		for _, d := range s.Standbys {
			o.Standbys = append(o.Standbys, plan.Downstream{Node: d.Node, Position: cmp.Or(d.Position, o.Position)})
		}
		slices.SortFunc(o.Standbys, func(a, b plan.Downstream) int { return cmp.Compare(a.Node, b.Node) })
	case plan.Standby:
		o.Applied, o.Streaming = cmp.Or(s.Applied, o.Position), s.Streaming
	}
	if o.Role != plan.Primary && !st.Fenced {
		o.Upstream = cmp.Or(s.Upstream, st.Upstream)
	}
	return o
}

var _ interface {
	Observe(context.Context) (plan.Observation, error)
	Do(context.Context, plan.Step) error
	Done(context.Context, plan.Step) (bool, error)
	Changed() <-chan struct{}
	Run(context.Context) error
} = (*Engine)(nil)

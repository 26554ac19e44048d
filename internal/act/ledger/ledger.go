package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/account"
	"github.com/backstay/backstay/internal/act/daemon"
	"github.com/backstay/backstay/internal/decide/plan"
)

// ErrClosed says that the node is stopping.
var ErrClosed = errors.New("the node is stopping")

// ErrCopying refuses what needs whole data.
var ErrCopying = errors.New("its data was being replaced and that is not finished: clone it")

// A Condition is what an engine says of its instance, without asking it. Standby says that it takes no writes, whoever
// starts it.
type Condition struct{ Empty, Running, Standby bool }

// Steps are what an engine does for each kind, once it is let through. It has to heed its ctx: a step of a newer epoch ends
// what an older one is still busy with.
type Steps map[plan.Kind]func(ctx context.Context, s plan.Step) error

// Options are what a ledger needs of its engine.
type Options struct {
	Node string
	Path string // of the file; its folder exists when Open is called
	// Steps has one for each of plan.EngineKinds. Before, where set, is asked before each, and ends it with its error.
	Steps  Steps
	Before func(ctx context.Context, s plan.Step) error
	// Condition looks at the instance; Refuse, where set, says what else a step must not be done for.
	Condition func() Condition
	Refuse    func(s plan.Step, st State, c Condition) error
	// Synchronous says that writes can be made to wait for standbys.
	Synchronous bool
	// Abandon stops the instance at once: for a fence that cannot be written down.
	Abandon func(ctx context.Context)
	// Observe says whether the effect of a step is there, for Done.
	Observe func(ctx context.Context) (plan.Observation, error)
	Teller  *act.Teller
	Log     *slog.Logger
}

// A Ledger lets one step at a time through. Use New, then Open.
type Ledger struct {
	o    Options
	turn chan struct{}
	file sync.Mutex // one change of the file at a time

	mu     sync.Mutex
	lock   io.Closer
	st     State
	open   bool
	closed bool
	step   *underway // nil when none is
	busy   string
	saved  time.Time // of the last Checkpoint
}

// An underway step gives way to one of a newer epoch.
type underway struct {
	epoch  uint64
	cancel context.CancelCauseFunc
}

// New returns a ledger that has read nothing yet.
func New(o Options) *Ledger {
	return &Ledger{o: o, turn: make(chan struct{}, 1)}
}

// LockPath is of the file that is locked while the ledger is open, so that no two processes look after one instance.
func (l *Ledger) LockPath() string { return LockIn(filepath.Dir(l.o.Path)) }

// LockIn is the lock of an instance whose facts are in a folder.
func LockIn(dir string) string { return filepath.Join(dir, "lock") }

// Patiently opens an instance that another process may still have: a guard that stops it, or a node process that ends.
func Patiently(ctx context.Context, open func() error) error {
	const patience = time.Minute // longer than a guard takes
	began := time.Now()
	for {
		err := open()
		if !errors.Is(err, daemon.ErrOwned) || time.Since(began) > patience {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Open reads the state, once, and has the instance to itself from then on.
func (l *Ledger) Open() error {
	l.file.Lock()
	defer l.file.Unlock()
	l.mu.Lock()
	open := l.open
	l.mu.Unlock()
	if open {
		return nil
	}
	lock, err := daemon.Lock(l.LockPath())
	if err != nil {
		return err
	}
	st, err := load(l.o.Path)
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	l.mu.Lock()
	l.st, l.lock, l.open = st, lock, true
	l.mu.Unlock()
	return l.Replenish()
}

// reserveSize is what is kept free on the disk for the facts: a full one must not keep a primary from being fenced.
const reserveSize = 256 << 10

func (l *Ledger) reserve() string { return l.o.Path + ".reserve" }

// Yield gives the reserve up, for what a fence has to write; it says whether there was one.
func (l *Ledger) Yield() bool { return os.Remove(l.reserve()) == nil }

// Replenish makes the file that is given up where there is no room for the facts.
func (l *Ledger) Replenish() error {
	if info, err := os.Stat(l.reserve()); err == nil && info.Size() == reserveSize {
		return nil
	}
	err := account.Account{}.Write(l.reserve(), make([]byte, reserveSize), 0o600)
	if errors.Is(err, syscall.ENOSPC) { // a full disk is said elsewhere
		return nil
	}
	return err
}

// State returns the facts as they are on disk.
func (l *Ledger) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.st
}

// Update changes the facts, on disk before in memory.
func (l *Ledger) Update(change func(*State)) error {
	l.file.Lock()
	defer l.file.Unlock()
	before := l.State()
	st := before
	if change(&st); reflect.DeepEqual(st, before) {
		return nil
	}
	text, err := json.MarshalIndent(st, "", " ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	err = account.Account{}.Write(l.o.Path, text, 0o600)
	if errors.Is(err, syscall.ENOSPC) && l.Yield() {
		err = account.Account{}.Write(l.o.Path, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("persist epoch %d: %w", st.Epoch, err)
	}
	l.mu.Lock()
	l.st = st
	l.mu.Unlock()
	return nil
}

// Busy names the step under way, with its progress; SetBusy changes it.
func (l *Ledger) Busy() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.busy
}

// SetBusy says how far the step under way is.
func (l *Ledger) SetBusy(what string) {
	l.mu.Lock()
	l.busy = what
	l.mu.Unlock()
}

func (l *Ledger) stale(s plan.Step) error {
	if !slices.Contains(plan.EngineKinds, s.Kind) {
		return act.ErrUnknown
	}
	if st := l.State(); s.Epoch < st.Epoch {
		return fmt.Errorf("it has epoch %d: %w", st.Epoch, act.ErrStale)
	}
	return nil
}

// Do performs a step when its turn has come: one at a time is under way, another waits its turn or for ctx. One of a newer
// epoch ends what an older one is still busy with.
func (l *Ledger) Do(ctx context.Context, s plan.Step) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := l.takeTurn(ctx, s); err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	defer l.passTurn()
	l.mu.Lock()
	l.step = &underway{s.Epoch, cancel}
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return fmt.Errorf("%s: %w", s, ErrClosed)
	}
	if err := l.admit(s); err != nil {
		if s.Kind == plan.Fence && !errors.Is(err, act.ErrStale) { // what cannot be promised can still be done
			l.o.Abandon(ctx)
			err = fmt.Errorf("the instance was stopped, but is not fenced: %w", err)
		}
		return fmt.Errorf("%s: %w", s, err)
	}
	l.SetBusy(string(s.Kind))
	defer l.SetBusy("")
	began := time.Now()
	err := l.perform(ctx, s)
	if err != nil && errors.Is(context.Cause(ctx), act.ErrStale) {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	if err == nil {
		err = l.hold(s)
	}
	l.o.Teller.Notify()
	l.o.Log.Debug("step", "step", s.String(), "took", time.Since(began), "error", err)
	if err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	return nil
}

func (l *Ledger) perform(ctx context.Context, s plan.Step) error {
	if l.o.Before != nil {
		if err := l.o.Before(ctx, s); err != nil {
			return err
		}
	}
	err := l.o.Steps[s.Kind](ctx, s)
	if err == nil && s.Kind == plan.Checkpoint {
		l.Saved()
	}
	return err
}

// Saved notes that there is little a fast stop would have to write out; Fresh says whether that is so still.
func (l *Ledger) Saved() {
	l.mu.Lock()
	l.saved = time.Now()
	l.mu.Unlock()
}

// Fresh says whether a checkpoint is recent enough to do without another.
func (l *Ledger) Fresh() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.saved) < 30*time.Second
}

// hold shows the step's epoch where the step has made it good.
func (l *Ledger) hold(s plan.Step) error {
	switch s.Kind {
	case plan.Create, plan.Clone, plan.Promote, plan.Demote, plan.Follow, plan.Rewind, plan.Fence:
		return l.Update(func(st *State) { st.Held = s.Epoch })
	}
	return nil
}

func (l *Ledger) takeTurn(ctx context.Context, s plan.Step) error {
	for {
		l.mu.Lock()
		closed := l.closed
		if l.step != nil && l.step.epoch < s.Epoch {
			l.step.cancel(act.ErrStale)
		}
		l.mu.Unlock()
		if closed {
			return ErrClosed
		}
		again := time.NewTimer(100 * time.Millisecond) // the turn may have gone to another of an older epoch
		select {
		case l.turn <- struct{}{}:
			again.Stop()
			return nil
		case <-ctx.Done():
			again.Stop()
			return ctx.Err()
		case <-again.C:
		}
	}
}

func (l *Ledger) passTurn() {
	l.mu.Lock()
	l.step = nil
	l.mu.Unlock()
	<-l.turn
}

// Done says whether a step's effect is there already.
func (l *Ledger) Done(ctx context.Context, s plan.Step) (bool, error) {
	if err := l.stale(s); err != nil {
		return false, fmt.Errorf("%s: %w", s, err)
	}
	st, c := l.State(), l.o.Condition()
	reigns := st.Reign == s.Epoch && !c.Standby
	switch s.Kind {
	case plan.Stop:
		return !c.Running, nil
	case plan.Demote:
		return c.Standby && c.Running, nil
	case plan.Fence:
		return st.Held == s.Epoch && (st.Fenced || reigns), nil
	case plan.Checkpoint:
		return l.Fresh(), nil
	}
	o, err := l.o.Observe(ctx)
	if err != nil || !o.Running {
		return false, err
	}
	switch s.Kind {
	case plan.Start, plan.Restart:
		return c.Standby || o.Role == plan.Primary, nil
	case plan.Create, plan.Promote:
		return o.Role == plan.Primary && reigns && o.SystemID != "", nil
	case plan.SetSync:
		return o.Role == plan.Primary && o.SyncQuorum == s.Quorum && slices.Equal(o.SyncNames, s.Names), nil
	}
	return st.Held == s.Epoch && o.Role == plan.Standby && o.Upstream == s.Upstream && o.Streaming, nil
}

// Beside runs what is not a step between steps: only where none is under way or waits, and ended for any that comes. It says
// whether it ran.
func (l *Ledger) Beside(ctx context.Context, run func(ctx context.Context)) bool {
	select {
	case l.turn <- struct{}{}:
	default:
		return false
	}
	defer l.passTurn()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.mu.Lock()
	l.step = &underway{0, cancel}
	closed := l.closed
	l.mu.Unlock()
	if !closed {
		run(ctx)
	}
	return !closed
}

// Close ends the step under way and lets no other through; finish has the instance to itself.
func (l *Ledger) Close(finish func()) {
	l.mu.Lock()
	l.closed = true
	if l.step != nil {
		l.step.cancel(ErrClosed)
	}
	l.mu.Unlock()
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	finish()
	l.mu.Lock()
	lock := l.lock
	l.lock = nil
	l.mu.Unlock()
	if lock != nil {
		_ = lock.Close() // it ends with the process in any case
	}
}

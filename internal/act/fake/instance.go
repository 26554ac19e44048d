package fake

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/backstay/backstay/internal/decide/plan"
)

// A record is one entry of an instance's history.
type record struct {
	serial   uint64 // the same record has the same serial everywhere
	end      uint64 // position behind it
	timeline uint32
	epoch    uint64
	value    string // empty for records that are not a client's
}

// An Instance is a database on a node: what is on its disk, and its process while it runs. It is reached as clients and
// accidents reach it; node processes have an Engine.
type Instance struct {
	w      *World
	node   string
	engine *Engine // of the newest node process

	// On disk.
	log      []record
	origin   string
	timeline uint32
	standby  bool
	upstream string
	names    []string
	quorum   int
	epoch    uint64 // highest persisted
	held     uint64 // highest made good: nothing older is confirmed
	reign    uint64 // the epoch under which it is, or was, primary
	fenced   bool   // at epoch
	rescued  [][]string

	// Of the process.
	running bool
	started time.Time
	closing bool // a fast stop is under way: no sessions any more
	life    int  // grows with each start and each end of the process
	hung    bool
	full    bool
	off     bool // the machine has no power
	stream  *stream
	acked   map[string]uint64 // by standby
	news    chan struct{}     // closed and replaced when a waiting client should look again
}

// A Write is a client's commit as the instance that took it sees it.
type Write struct {
	Node     string
	Epoch    uint64 // under which the instance was primary
	Position uint64
}

// Write commits a value as a client's session on this instance would: it returns without error when the commit is
// acknowledged, which with a synchronous set is when enough of it have the record. A hung instance answers nothing until
// ctx ends. Errors: ErrDown, ErrReadOnly and ErrFull (not made), ErrLost or ctx's error (may have been made).
func (in *Instance) Write(ctx context.Context, value string) (Write, error) {
	w := in.w
	w.mu.Lock()
	for in.running && in.hung {
		if err := in.wait(ctx); err != nil {
			w.mu.Unlock()
			return Write{}, err
		}
	}
	if err := in.refuses(); err != nil {
		w.mu.Unlock()
		return Write{}, fmt.Errorf("write on %s: %w", in.node, err)
	}
	at := in.append(value)
	done := Write{Node: in.node, Epoch: in.reign, Position: at}
	life := in.life
	defer w.mu.Unlock()
	for in.life == life && (in.hung || !in.confirmed(at)) {
		if err := in.wait(ctx); err != nil {
			return done, err
		}
	}
	if in.life != life {
		return done, fmt.Errorf("write on %s: %w", in.node, ErrLost)
	}
	return done, nil
}

// Values returns the clients' values that the instance has, in order, whether it runs or not.
func (in *Instance) Values() []string {
	in.w.mu.Lock()
	defer in.w.mu.Unlock()
	return values(in.log)
}

// Has says whether the instance has a client's value; it is quick for a new one.
func (in *Instance) Has(value string) bool {
	in.w.mu.Lock()
	defer in.w.mu.Unlock()
	for _, r := range slices.Backward(in.log) {
		if r.value == value {
			return true
		}
	}
	return false
}

// Read returns the clients' values as a session on the instance reads them; ErrDown when it does not run or hangs.
func (in *Instance) Read() ([]string, error) {
	in.w.mu.Lock()
	defer in.w.mu.Unlock()
	if !in.running || in.hung || in.closing {
		return nil, fmt.Errorf("read on %s: %w", in.node, ErrDown)
	}
	return values(in.log), nil
}

// Rescued returns the clients' values that each Rewind, and each Clone over data, put aside.
func (in *Instance) Rescued() [][]string {
	in.w.mu.Lock()
	defer in.w.mu.Unlock()
	return slices.Clone(in.rescued)
}

// Crash ends the instance's process as kill -9 does; what is flushed stays. The node process sees it at once.
func (in *Instance) Crash() {
	in.w.mu.Lock()
	defer in.w.mu.Unlock()
	in.end()
}

// Hang stops the instance's processes as SIGSTOP does, or lets them go on.
func (in *Instance) Hang(hung bool) {
	in.w.mu.Lock()
	defer in.w.mu.Unlock()
	in.hung = hung
	in.tell()
	if !hung {
		in.w.resume(in)
	}
}

// Fill takes the disk's last byte, or gives it back: commits fail, and steps that write data do as well.
func (in *Instance) Fill(full bool) {
	in.w.mu.Lock()
	defer in.w.mu.Unlock()
	in.full = full
	in.tell()
}

// PowerOff ends the instance and the node's engine without a word; nobody is told but by silence. PowerOn allows a new
// Engine to be taken.
func (in *Instance) PowerOff() {
	in.w.mu.Lock()
	defer in.w.mu.Unlock()
	in.off = true
	if in.engine != nil {
		in.engine.die()
	}
	in.end()
}

// PowerOn gives the machine its power back. The instance stays stopped.
func (in *Instance) PowerOn() {
	in.w.mu.Lock()
	defer in.w.mu.Unlock()
	in.off = false
}

// Orphan ends the node process alone, as kill -9 of it does: its Engine is dead, the instance goes on. What a guard does
// about that is Crash.
func (in *Instance) Orphan() {
	in.w.mu.Lock()
	defer in.w.mu.Unlock()
	if in.engine != nil {
		in.engine.die()
	}
}

func values(log []record) []string {
	var vs []string
	for _, r := range log {
		if r.value != "" {
			vs = append(vs, r.value)
		}
	}
	return vs
}

// All below is called with the world's lock held.

func (in *Instance) position() uint64 {
	if len(in.log) == 0 {
		return 0
	}
	return in.log[len(in.log)-1].end
}

func (in *Instance) writable() bool { return in.refuses() == nil && !in.hung }

// Reigned says whether the instance is, or when it last ran was, the primary of that very epoch.
func (in *Instance) Reigned(epoch uint64) bool {
	in.w.mu.Lock()
	defer in.w.mu.Unlock()
	return in.reigns(epoch)
}

// reigns says whether the instance is the primary of that very epoch.
func (in *Instance) reigns(epoch uint64) bool {
	return in.origin != "" && !in.standby && in.reign == epoch
}

func (in *Instance) refuses() error {
	switch {
	case !in.running || in.closing:
		return ErrDown
	case in.standby:
		return ErrReadOnly
	case in.full:
		return ErrFull
	}
	return nil
}

func (in *Instance) role() plan.Role {
	switch {
	case in.origin == "" || !in.running:
		return plan.None
	case in.standby:
		return plan.Standby
	}
	return plan.Primary
}

// append writes a record of the instance's own and sends it to the standbys; it returns the position behind it.
func (in *Instance) append(value string) uint64 {
	in.w.serial++
	at := in.position() + 64 + uint64(len(value))
	in.log = append(in.log, record{serial: in.w.serial, end: at, timeline: in.timeline, epoch: in.reign, value: value})
	in.w.fan(in)
	return at
}

func (in *Instance) confirmed(at uint64) bool {
	if in.quorum == 0 {
		return true
	}
	n := 0
	for _, name := range in.names {
		if in.acked[name] >= at {
			n++
		}
	}
	return n >= in.quorum
}

// wait lets go of the lock until there is news or ctx ends.
func (in *Instance) wait(ctx context.Context) error {
	news := in.news
	in.w.mu.Unlock()
	defer in.w.mu.Lock()
	select {
	case <-news:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tell wakes waiting clients and the node process.
func (in *Instance) tell() {
	close(in.news)
	in.news = make(chan struct{})
	if in.engine != nil {
		in.engine.notify()
	}
}

// close ends the clients' sessions; the streams go on until end.
func (in *Instance) close() {
	in.closing, in.life = true, in.life+1
	in.tell()
}

// begin starts the process on what is on disk.
func (in *Instance) begin() {
	if in.running {
		return
	}
	in.running, in.life, in.started = true, in.life+1, time.Now()
	clear(in.acked)
	in.w.connect(in)
	in.tell()
}

// end ends the process, and all streams to and from it.
func (in *Instance) end() {
	if in.running {
		in.running, in.hung, in.closing, in.life = false, false, false, in.life+1
	}
	in.w.drop(in)
	in.w.dropFrom(in)
	clear(in.acked)
	in.tell()
}

// downstreams lists the standbys as the instance sees them.
func (in *Instance) downstreams() []plan.Downstream {
	var ds []plan.Downstream
	for _, n := range slices.Sorted(maps.Keys(in.w.instances)) {
		if s := in.w.instances[n].stream; s != nil && s.up && s.from == in {
			ds = append(ds, plan.Downstream{Node: n, Position: in.acked[n], Sync: in.quorum > 0 && slices.Contains(in.names, n)})
		}
	}
	return ds
}

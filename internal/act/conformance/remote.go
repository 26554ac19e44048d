package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/decide/plan"
)

// errors that a story looks for, by the name they have on the wire.
var named = map[string]error{
	"stale": act.ErrStale, "not fenced": act.ErrNotFenced, "not empty": act.ErrNotEmpty, "role": act.ErrRole, "unknown": act.ErrUnknown,
	"not running": act.ErrNotRunning, "unsupported": act.ErrUnsupported, "foreign": act.ErrForeign, "diverged": act.ErrDiverged,
}

type call struct {
	ID   int       `json:"id"`
	Op   string    `json:"op"` // do, done, observe, or cancel of the call ID
	Step plan.Step `json:"step"`
}

type answer struct {
	ID          int              `json:"id"` // 0: something has changed
	Done        bool             `json:"done,omitempty"`
	Observation plan.Observation `json:"observation"`
	Error       string           `json:"error,omitempty"`
	Is          []string         `json:"is,omitempty"`
}

// playing is the variable of the environment that makes a test's binary a node process, with its engine's options.
const playing = "BACKSTAY_TEST_NODE"

// Play is for TestMain: where the binary is to be a node process it does not return.
func Play[O any, E interface {
	Engine
	Run(ctx context.Context) error
}](make func(O) E) {
	text, ok := os.LookupEnv(playing)
	if !ok {
		return
	}
	var o O
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	e := make(o)
	go func() {
		if err := e.Run(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}()
	_ = serve(e, os.Stdin, os.Stdout) // until whoever started it is gone
	os.Exit(0)
}

// Nodes are engines in processes of their own, which are the test's binary; see Play.
type Nodes struct {
	t         *testing.T
	options   map[string]string
	processes map[string]*Process
	end       func(node string)
}

// NewNodes starts them; end ends an instance at once, if it runs.
func NewNodes[O any](t *testing.T, options map[string]O, end func(node string)) *Nodes {
	t.Helper()
	n := &Nodes{t: t, options: map[string]string{}, processes: map[string]*Process{}, end: end}
	for node, o := range options {
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		n.options[node] = string(text)
		n.start(node)
	}
	t.Cleanup(func() {
		for node, p := range n.processes {
			p.Kill()
			end(node)
		}
	})
	return n
}

func (n *Nodes) start(node string) {
	p, err := spawn(playing + "=" + n.options[node])
	if err != nil {
		n.t.Fatal(err)
	}
	n.processes[node] = p
}

// Engine is that of the node's newest process.
func (n *Nodes) Engine(node string) Engine { return n.processes[node] }

// Kill ends a node's process as kill -9 does, its instance as well if that is wanted, and starts the next.
func (n *Nodes) Kill(_ *testing.T, node string, instance bool) {
	n.processes[node].Kill()
	if instance {
		n.end(node)
	}
	n.start(node)
}

// serve does what the other end of the pipes says until they close.
func serve(e Engine, in io.Reader, out io.Writer) error {
	var writing sync.Mutex
	say := func(a answer, err error) {
		if err != nil {
			a.Error = err.Error()
			for name, e := range named {
				if errors.Is(err, e) {
					a.Is = append(a.Is, name)
				}
			}
		}
		writing.Lock()
		defer writing.Unlock()
		_ = json.NewEncoder(out).Encode(a) // who does not listen is gone
	}
	go func() {
		for range e.Changed() {
			say(answer{}, nil)
		}
	}()
	calls := map[int]context.CancelFunc{}
	for d := json.NewDecoder(in); ; {
		var c call
		if err := d.Decode(&c); err != nil {
			return err
		}
		if c.Op == "cancel" {
			if cancel := calls[c.ID]; cancel != nil {
				cancel()
			}
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		calls[c.ID] = cancel
		go func() {
			a, err := answer{ID: c.ID}, error(nil)
			switch c.Op {
			case "do":
				err = e.Do(ctx, c.Step)
			case "done":
				a.Done, err = e.Done(ctx, c.Step)
			default:
				a.Observation, err = e.Observe(ctx)
			}
			say(a, err)
		}()
	}
}

// A Process is an engine in a process of its own, which can be killed.
type Process struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	changed chan struct{}
	gone    chan struct{}

	mu    sync.Mutex
	calls map[int]chan answer
	last  int
}

var errGone = errors.New("the node process is gone")

func spawn(env string) (*Process, error) {
	p := &Process{cmd: exec.Command(os.Args[0]), changed: make(chan struct{}, 1), gone: make(chan struct{}), calls: map[int]chan answer{}}
	p.cmd.Env = append(os.Environ(), env, "GORACE=atexit_sleep_ms=0")
	p.cmd.Stderr = os.Stderr
	in, err1 := p.cmd.StdinPipe()
	out, err2 := p.cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.in = in
	go p.hear(out)
	return p, nil
}

func (p *Process) hear(out io.Reader) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		var a answer
		if err != nil || json.Unmarshal(line, &a) != nil {
			break
		}
		if a.ID == 0 {
			select {
			case p.changed <- struct{}{}:
			default:
			}
			continue
		}
		p.mu.Lock()
		c := p.calls[a.ID]
		delete(p.calls, a.ID)
		p.mu.Unlock()
		if c != nil {
			c <- a
		}
	}
	_ = p.cmd.Wait() // how it ended does not matter
	close(p.gone)
}

// Kill ends the process as kill -9 does; what it started goes on.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // gone is as good
	<-p.gone
}

func (p *Process) call(ctx context.Context, op string, s plan.Step) (answer, error) {
	c := make(chan answer, 1)
	p.mu.Lock()
	p.last++
	id := p.last
	p.calls[id] = c
	err := json.NewEncoder(p.in).Encode(call{id, op, s})
	p.mu.Unlock()
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errGone, err)
	}
	for {
		select {
		case a := <-c:
			if a.Error == "" {
				return a, nil
			}
			errs := []error{errors.New(a.Error)}
			for _, name := range a.Is {
				errs = append(errs, named[name])
			}
			return a, errors.Join(errs...)
		case <-p.gone:
			return answer{}, errGone
		case <-ctx.Done():
			p.mu.Lock()
			_ = json.NewEncoder(p.in).Encode(call{ID: id, Op: "cancel"})
			p.mu.Unlock()
			ctx = context.WithoutCancel(ctx) // its answer comes now
		}
	}
}

// Observe is the engine's in the process.
func (p *Process) Observe(ctx context.Context) (plan.Observation, error) {
	a, err := p.call(ctx, "observe", plan.Step{})
	return a.Observation, err
}

// Do is the engine's in the process.
func (p *Process) Do(ctx context.Context, s plan.Step) error {
	_, err := p.call(ctx, "do", s)
	return err
}

// Done is the engine's in the process.
func (p *Process) Done(ctx context.Context, s plan.Step) (bool, error) {
	a, err := p.call(ctx, "done", s)
	return a.Done, err
}

// Changed is the engine's in the process.
func (p *Process) Changed() <-chan struct{} { return p.changed }

// Package conformance is the test that every engine has to pass: each kind of step is performed and Done says so, twice
// is once, an older epoch is refused, nothing is promoted that is not fenced, and what was acknowledged is still there
// after a failover. It knows an engine only by its interface.
package conformance

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/decide/plan"
)

// An Engine is what control needs of one.
type Engine interface {
	Observe(ctx context.Context) (plan.Observation, error)
	Do(ctx context.Context, s plan.Step) error
	Done(ctx context.Context, s plan.Step) (bool, error)
	Changed() <-chan struct{}
}

// A Lab is a set of three engines that can reach each other, running and without data, and a client's access to their
// instances.
type Lab interface {
	// Engine returns the engine of a node: a, b or c.
	Engine(node string) Engine
	// Write commits a value through the instance of a node; nil is an acknowledgement.
	Write(ctx context.Context, node, value string) error
	// Values reads the values that the instance of a node has.
	Values(ctx context.Context, node string) ([]string, error)
	// Crash ends the instance's process without warning.
	Crash(t *testing.T, node string)
}

// Options are what the suite is told about the engine under test.
type Options struct {
	// New makes a fresh lab; it is closed by t.Cleanup.
	New func(t *testing.T) Lab
	// Patience is how long anything may take; 20 s where zero.
	Patience time.Duration
	// Asynchronous says that the engine's writes never wait for standbys: it has to refuse a synchronous set
	// (act.ErrUnsupported), and everything else holds as well.
	Asynchronous bool
	// Rescues says that what Rewind gives up can be read back afterwards; nil where the engine keeps nothing.
	Rescues func(t *testing.T, lab Lab, node, value string)
}

// Run runs the suite as one story on one lab, so that it stays short with engines that are slow to make.
func Run(t *testing.T, o Options) {
	if o.Patience == 0 {
		o.Patience = 20 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), 12*o.Patience)
	t.Cleanup(cancel)
	s := &story{t: t, ctx: ctx, o: o, lab: o.New(t), seen: map[plan.Kind]bool{}}
	for _, chapter := range []struct {
		name string
		tell func()
	}{
		{"nothing is there yet", s.empty},
		{"create", s.create},
		{"clone two standbys", s.clone},
		{"a synchronous set", s.sync},
		{"older epochs and steps out of place are refused", s.refusals},
		{"a planned change of primary", s.switchover},
		{"the primary dies", s.failover},
		{"the old primary comes back", s.rejoin},
		{"stop, start and restart", s.cycle},
		{"every kind was performed", s.complete},
	} {
		if t.Failed() {
			return
		}
		t.Log(chapter.name)
		chapter.tell()
	}
}

type story struct {
	t    *testing.T
	ctx  context.Context
	o    Options
	lab  Lab
	seen map[plan.Kind]bool
	want []string // acknowledged
}

// do performs a step, waits until Done says so, and performs it again, which must change nothing.
func (s *story) do(node string, step plan.Step) {
	s.t.Helper()
	step.Node, step.Service = node, "db"
	began := time.Now()
	for i := range 2 {
		if err := s.lab.Engine(node).Do(s.ctx, step); err != nil {
			s.t.Fatalf("time %d: %v", i+1, err)
		}
		s.until(step.String()+" is done", func() bool {
			done, err := s.lab.Engine(node).Done(s.ctx, step)
			if err != nil {
				s.t.Fatalf("done? %v", err)
			}
			return done
		})
		if i == 0 {
			s.t.Logf("%s: %v", step, time.Since(began).Round(time.Millisecond))
		}
	}
	s.seen[step.Kind] = true
}

// refused tries a step that must fail with want and change nothing.
func (s *story) refused(want error, node string, step plan.Step) {
	s.t.Helper()
	step.Node, step.Service = node, "db"
	before := s.look(node)
	if err := s.lab.Engine(node).Do(s.ctx, step); !errors.Is(err, want) {
		s.t.Fatalf("%s: got %v, want %v", step, err, want)
	}
	after := s.look(node)
	if before.Role != after.Role || before.Running != after.Running || before.Upstream != after.Upstream || errors.Is(want, act.ErrStale) && before.Epoch != after.Epoch {
		s.t.Fatalf("%s was refused and yet changed something:\n%+v\n%+v", step, before, after)
	}
}

func (s *story) look(node string) plan.Observation {
	s.t.Helper()
	o, err := s.lab.Engine(node).Observe(s.ctx)
	if err != nil {
		s.t.Fatalf("observe %s: %v", node, err)
	}
	return o
}

func (s *story) until(what string, ok func() bool) {
	s.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(s.o.Patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			for _, n := range []string{"a", "b", "c"} {
				o, err := s.lab.Engine(n).Observe(s.ctx)
				s.t.Logf("%s: %+v %v", n, o, err)
			}
			s.t.Fatalf("not within %v: %s", s.o.Patience, what)
		}
	}
}

// sees waits until an observation of the node is as it should be.
func (s *story) sees(node, what string, ok func(plan.Observation) bool) {
	s.t.Helper()
	s.until(node+": "+what, func() bool { return ok(s.look(node)) })
}

func (s *story) write(node, value string) {
	s.t.Helper()
	if err := s.lab.Write(s.ctx, node, value); err != nil {
		s.t.Fatalf("write %s on %s: %v", value, node, err)
	}
	s.want = append(s.want, value)
}

// has waits until a node has every acknowledged value.
func (s *story) has(node string) {
	s.t.Helper()
	var got []string
	s.until(node+" has what was acknowledged", func() bool {
		vs, err := s.lab.Values(s.ctx, node)
		got = vs
		return err == nil && !slices.ContainsFunc(s.want, func(v string) bool { return !slices.Contains(got, v) })
	})
}

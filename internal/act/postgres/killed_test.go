package postgres

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/conformance"
	"github.com/backstay/backstay/internal/act/daemon"
	"github.com/backstay/backstay/internal/act/ledger"
	"github.com/backstay/backstay/internal/decide/plan"
)

// A mortal lab has its engines in processes of their own.
type mortal struct {
	*lab
	*conformance.Nodes
}

func (m mortal) Engine(node string) conformance.Engine { return m.Nodes.Engine(node) }

func newMortal(t *testing.T) conformance.Lab {
	l := newLab(t, "a", "b", "c")
	options := map[string]Options{}
	for n, o := range l.options {
		l.stop(n)
		options[n] = o
	}
	return mortal{l, conformance.NewNodes(t, options, func(node string) {
		if p, err := daemon.Find(l.engines[node].DataPath()); err == nil {
			p.Stop(context.Background(), syscall.SIGKILL, time.Second)
		}
	})}
}

func TestNodeProcessesAreKilled(t *testing.T) {
	seed, rounds := conformance.Chance()
	conformance.RunKilled(t, conformance.Options{New: newMortal}, seed, rounds)
}

// A copy that is whole and was never started, as where the node process was killed in that moment, is rewound as the standby
// that it is: a single-user server would write its own end of recovery on the primary's timeline.
func TestCopyThatWasNeverStarted(t *testing.T) {
	l := newLab(t, "a", "b")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	l.do("b", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
	l.do("b", plan.Step{Kind: plan.Stop, Epoch: 1})
	e := l.engines["b"]
	fresh := e.o.DataPath + ".new"
	if err := e.basebackup(t.Context(), "a", fresh); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.acc.Write(filepath.Join(fresh, "standby.signal"), nil, 0o600), e.install(fresh),
		e.persist(func(st *ledger.State) { st.Unaligned = true })); err != nil {
		t.Fatal(err)
	}
	for i := range 3 { // which goes on where the copy ends
		if err := l.Write(t.Context(), "a", fmt.Sprint("row ", i)); err != nil {
			t.Fatal(err)
		}
	}
	l.do("b", plan.Step{Kind: plan.Rewind, Epoch: 1, Upstream: "a"})
	l.until("b has all", func() bool { vs, err := l.Values(t.Context(), "b"); return err == nil && len(vs) == 3 })
	if cloned := l.happened(act.EventCloned); len(cloned) != 1 {
		t.Errorf("it was copied again: %v", cloned)
	}
}

package fake

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/backstay/backstay/internal/act/conformance"
)

type lab struct {
	w       *World
	engines map[string]*Engine
}

func newLab(t *testing.T) conformance.Lab {
	l := &lab{w: NewWorld(Options{}), engines: map[string]*Engine{}}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	for _, n := range []string{"a", "b", "c"} {
		l.engines[n] = l.w.Engine(n)
		go l.engines[n].Run(ctx)
	}
	return l
}

func (l *lab) Engine(node string) conformance.Engine { return l.engines[node] }

func (l *lab) Write(ctx context.Context, node, value string) error {
	_, err := l.w.Instance(node).Write(ctx, value)
	return err
}

func (l *lab) Values(_ context.Context, node string) ([]string, error) {
	return l.w.Instance(node).Read()
}

func (l *lab) Crash(_ *testing.T, node string) { l.w.Instance(node).Crash() }

func TestConformance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conformance.Run(t, conformance.Options{New: newLab, Rescues: func(t *testing.T, l conformance.Lab, node, value string) {
			if r := l.(*lab).w.Instance(node).Rescued(); len(r) != 1 || !slices.Contains(r[0], value) {
				t.Errorf("rescued: %v", r)
			}
		}})
	})
}

func (l *lab) Kill(_ *testing.T, node string, instance bool) {
	in := l.w.Instance(node)
	in.Orphan()
	if instance {
		in.Crash()
	}
	l.engines[node] = l.w.Engine(node)
}

func TestNodeProcessesAreKilled(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			conformance.RunKilled(t, conformance.Options{New: newLab}, seed, 6)
		})
		if t.Failed() {
			return
		}
	}
}

package redis

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/act/conformance"
	"github.com/backstay/backstay/internal/act/daemon"
)

// The test's binary is a node process as well.
func TestMain(m *testing.M) {
	conformance.Play(New)
	os.Exit(m.Run())
}

// A mortal lab has its engines in processes of their own.
type mortal struct {
	*lab
	*conformance.Nodes
}

func (m mortal) Engine(node string) conformance.Engine { return m.Nodes.Engine(node) }

func newMortal(t *testing.T) conformance.Lab {
	l := newLab(t, nil, "a", "b", "c")
	options := map[string]Options{}
	for n, e := range l.engines {
		l.ends[n]()
		options[n] = e.o
	}
	return mortal{l, conformance.NewNodes(t, options, func(node string) {
		if p, err := daemon.Find(l.engines[node].DataPath()); err == nil {
			p.Stop(context.Background(), syscall.SIGKILL, time.Second)
		}
	})}
}

func TestNodeProcessesAreKilled(t *testing.T) {
	seed, rounds := conformance.Chance()
	conformance.RunKilled(t, conformance.Options{New: newMortal, Asynchronous: true}, seed, rounds)
}

package script

import (
	"os"
	"testing"

	"github.com/backstay/backstay/internal/act/conformance"
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
	l := newLab(t, nil)
	options := map[string]Options{}
	for n, e := range l.engines {
		l.ends[n]()
		options[n] = e.o
	}
	return mortal{l, conformance.NewNodes(t, options, func(node string) { _ = l.service(t.Context(), node, "stop") })}
}

func TestNodeProcessesAreKilled(t *testing.T) {
	seed, rounds := conformance.Chance()
	rounds = max(1, rounds-1) // each look is a shell
	conformance.RunKilled(t, conformance.Options{New: newMortal, Asynchronous: true}, seed, rounds)
}

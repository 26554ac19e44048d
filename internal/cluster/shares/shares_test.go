package shares

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/resilience"
)

// fleet is nodes that share a rate of 1000, each asked for so much.
type fleet struct {
	memory *cluster.Memory
	nodes  []*sharer
}

type sharer struct {
	name   string
	shared *resilience.Shared
	shares *Shares
	stop   func()
	demand atomic.Int64 // calls a second
}

func newFleet(ctx context.Context, demand ...int) *fleet {
	f := &fleet{memory: cluster.NewMemory()}
	for i, d := range demand {
		f.nodes = append(f.nodes, f.start(ctx, fmt.Sprint("node-", i), len(demand), d))
	}
	return f
}

func (f *fleet) start(ctx context.Context, name string, nodes, demand int) *sharer {
	ctx, cancel := context.WithCancel(ctx)
	o := resilience.LedgerOptions{Total: 1000, Nodes: nodes}
	n := &sharer{name: name, shares: New(f.memory.Client(name), "service web", name, o)}
	n.demand.Store(int64(demand))
	n.shared = resilience.NewShared(resilience.SharedOptions{RateOptions: resilience.RateOptions{PerSecond: 1000}, Shares: n.shares, Nodes: nodes})
	var all sync.WaitGroup
	all.Go(func() { _ = n.shared.Run(ctx) })
	all.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(50 * time.Millisecond)
			for range n.demand.Load() / 20 {
				n.shared.TryTake(1)
			}
		}
	})
	n.stop = func() { cancel(); all.Wait() }
	return n
}

func (f *fleet) share(i int) float64 { return f.nodes[i].shared.Snapshot().PerSecond }

func (f *fleet) stop() {
	for _, n := range f.nodes {
		n.stop()
	}
}

// within lets time pass, and looks each tenth of a second that all together never have more than the whole.
func (f *fleet) within(t *testing.T, d time.Duration) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		sum := 0.0
		for i := range f.nodes {
			sum += f.share(i)
		}
		if sum > 1000.01 {
			t.Fatalf("%.1f of 1000 are given out: %s", sum, f)
		}
	}
}

func TestSharesFollowDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t.Context(), 3000, 100, 100, 100)
		defer f.stop()
		f.within(t, time.Minute)
		if f.share(0) < 500 || f.share(1) < 100 {
			t.Errorf("the busy node has %.0f, an idle one %.0f", f.share(0), f.share(1))
		}
		f.nodes[0].demand.Store(100)
		f.nodes[1].demand.Store(3000)
		f.within(t, 2*time.Minute)
		if f.share(1) < 500 || f.share(0) < 100 {
			t.Errorf("a minute after the load has moved, its node has %.0f, the other %.0f", f.share(1), f.share(0))
		}
	})
}

// TestSharesWithoutStore: who is cut off keeps what it has, then no more than an equal part, and goes on for ever; the others take none of it.
func TestSharesWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t.Context(), 3000, 100, 100, 100)
		defer f.stop()
		f.within(t, time.Minute)
		had := f.share(0)
		for _, n := range f.nodes {
			f.memory.Cut(n.name)
		}
		f.within(t, 3*time.Second)
		if f.share(0) != had {
			t.Errorf("right after the store has gone, %.0f became %.0f", had, f.share(0))
		}
		f.within(t, 5*time.Minute)
		for i, n := range f.nodes {
			if s := n.shared.Snapshot(); s.Footing != resilience.FootingEqual || s.PerSecond != 250 || s.Err == nil {
				t.Errorf("%d has %+v after minutes without the store", i, s)
			}
			f.memory.Heal(n.name)
		}
		f.within(t, 2*time.Minute)
		if f.share(0) < 500 {
			t.Errorf("the busy node has %.0f when the store is back", f.share(0))
		}
	})
}

// TestShareOfTheDeadReturns: first what was more than an equal part, in the end all; and at once where a node leaves in order.
func TestShareOfTheDeadReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t.Context(), 2000, 2000)
		defer f.stop()
		f.within(t, time.Minute)
		f.nodes[1].stop()
		f.nodes = f.nodes[:1]
		f.within(t, 15*time.Second)
		if s := f.share(0); s > 501 {
			t.Errorf("%.0f while the other's part may still be in use", s)
		}
		f.within(t, 3*time.Minute)
		if s := f.share(0); s < 900 {
			t.Errorf("%.0f of 1000 when the other is long gone", s)
		}
		back := f.start(t.Context(), "node-1", 2, 2000)
		f.nodes = append(f.nodes, back)
		time.Sleep(15 * time.Second) // it began with an equal part, which the other did not know of
		f.within(t, time.Minute)
		if f.share(1) < 450 {
			t.Errorf("%.0f for the one that is back", f.share(1))
		}
		back.stop()
		f.nodes = f.nodes[:1]
		if err := back.shares.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.within(t, 10*time.Second)
		if s := f.share(0); s < 900 {
			t.Errorf("%.0f after the other has left in order", s)
		}
	})
}

// TestSharesSurviveARestart: a node that has just begun takes what it reads to be in force for as long as it could be.
func TestSharesSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := cluster.NewMemory()
		o := resilience.LedgerOptions{Total: 1000, Nodes: 2}
		a := New(memory.Client("a"), "r", "a", o)
		if granted, until, err := a.Lease(t.Context(), 1000); err != nil || granted != 500 || time.Until(until) > 10*time.Second {
			t.Fatalf("%v until %v: %v, want what is left when the other node has an equal part", granted, until, err)
		}
		time.Sleep(11 * time.Second)
		if granted, _, err := a.Lease(t.Context(), 1000); err != nil || granted != 950 {
			t.Fatalf("%v when the other node has not come: %v", granted, err)
		}
		b := New(memory.Client("b"), "r", "b", o)
		if granted, _, err := b.Lease(t.Context(), 1000); err != nil || granted > 50 {
			t.Fatalf("b was given %v of what a has: %v", granted, err)
		}
		time.Sleep(9 * time.Second)
		b = New(memory.Client("b"), "r", "b", o) // forgets since when it knows of a's
		if granted, _, err := b.Lease(t.Context(), 1000); err != nil || granted > 50 {
			t.Errorf("b was given %v after its restart: %v", granted, err)
		}
		time.Sleep(10 * time.Second)
		if granted, _, err := b.Lease(t.Context(), 1000); err != nil || granted != 500 {
			t.Errorf("b was given %v when a's lease was over, want all but a's equal part: %v", granted, err)
		}
	})
}

func (f *fleet) String() string {
	var b strings.Builder
	for _, n := range f.nodes {
		fmt.Fprintf(&b, "\n%s: %+v", n.name, n.shared.Snapshot())
	}
	kv, _ := f.memory.Client("reader").Get(context.Background(), "rates/service web")
	return fmt.Sprintf("%s %s\n%s", time.Now(), b.String(), kv.Value)
}

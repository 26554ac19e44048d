package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/decide/plan"
)

// A writer commits numbers, one a row, through the instance that is the primary at the moment.
type writer struct {
	l       *lab
	primary atomic.Value // string
	mu      sync.Mutex
	acked   []string
	gap     time.Duration // longest between two acknowledgements
	last    time.Time
}

func (w *writer) run(ctx context.Context) {
	var c *pgx.Conn
	at := ""
	for n := 0; ctx.Err() == nil; n++ {
		if to := w.primary.Load().(string); c == nil || c.IsClosed() || at != to {
			if c != nil {
				_ = c.Close(ctx)
			}
			var err error
			if c, err = w.l.conn(ctx, to); err != nil {
				c = nil
				time.Sleep(2 * time.Millisecond)
				continue
			}
			at = to
		}
		v := fmt.Sprintf("w%d", n)
		if _, err := c.Exec(ctx, "INSERT INTO ledger (value) VALUES ($1)", v); err != nil {
			_ = c.Close(ctx)
			time.Sleep(2 * time.Millisecond)
			continue
		}
		w.mu.Lock()
		if now := time.Now(); !w.last.IsZero() {
			w.gap, w.last = max(w.gap, now.Sub(w.last)), now
		} else {
			w.last = now
		}
		w.acked = append(w.acked, v)
		w.mu.Unlock()
	}
}

// since forgets the longest gap and returns it.
func (w *writer) since() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.gap
	w.gap = 0
	return g
}

// trio makes a primary with two synchronous standbys.
func trio(t *testing.T) *lab {
	l := newLab(t, "a", "b", "c")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	if err := l.Write(t.Context(), "a", "first"); err != nil {
		t.Fatal(err)
	}
	l.do("b", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
	l.do("c", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
	l.do("a", plan.Step{Kind: plan.SetSync, Epoch: 1, Names: []string{"b", "c"}, Quorum: 1})
	return l
}

func others(of string) []string {
	return slices.DeleteFunc([]string{"a", "b", "c"}, func(n string) bool { return n == of })
}

// both performs a step on two nodes at once.
func (l *lab) both(nodes []string, s plan.Step) {
	l.t.Helper()
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			s := s
			s.Node, s.Service = n, "db"
			if err := l.engines[n].Do(l.t.Context(), s); err != nil {
				l.t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestFailoversUnderLoad(t *testing.T) {
	l := trio(t)
	w := &writer{l: l}
	w.primary.Store("a")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.run(ctx); close(done) }()
	progress := func() {
		w.mu.Lock()
		n := len(w.acked)
		w.mu.Unlock()
		l.until("the writer goes on", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.acked) > n+20 })
		w.since()
	}
	primary, epoch := "a", uint64(1)
	for round := range 5 {
		progress()
		epoch++
		old := primary
		began := time.Now()
		var fenced time.Duration
		how := "kill -9"
		if round%2 == 0 {
			l.Crash(t, old)
			l.both(others(old), plan.Step{Kind: plan.Fence, Epoch: epoch})
			fenced = time.Since(began)
			primary = others(old)[0]
			if n := others(old)[1]; l.look(n).Position > l.look(primary).Position {
				primary = n
			}
		} else {
			how = "switchover"
			primary = others(old)[0]
			l.do(old, plan.Step{Kind: plan.Checkpoint, Epoch: epoch - 1})
			w.since()
			began = time.Now()
			l.do(old, plan.Step{Kind: plan.Demote, Epoch: epoch})
			l.both(others(old), plan.Step{Kind: plan.Fence, Epoch: epoch})
			fenced = time.Since(began)
			if was, is := l.look(old).Position, l.look(primary).Position; is < was {
				t.Fatalf("%s handed over at %d, %s has %d", old, was, primary, is)
			}
		}
		other := slices.DeleteFunc(others(old), func(n string) bool { return n == primary })[0]
		promoted := l.do(primary, plan.Step{Kind: plan.Promote, Epoch: epoch, Names: others(primary), Quorum: 1})
		w.primary.Store(primary)
		l.do(other, plan.Step{Kind: plan.Follow, Epoch: epoch, Upstream: primary})
		whole := time.Since(began)
		w.mu.Lock()
		before := len(w.acked)
		w.mu.Unlock()
		l.until("the writer is acknowledged", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.acked) > before })
		t.Logf("%s of %s: demoted/fenced after %v, promotion took %v, follower streams after %v, longest gap %v", how, old,
			fenced.Round(time.Millisecond), promoted.Round(time.Millisecond), whole.Round(time.Millisecond), w.since().Round(time.Millisecond))
		took := l.do(old, plan.Step{Kind: plan.Rewind, Epoch: epoch, Upstream: primary})
		t.Logf("%s is a standby again after %v", old, took.Round(time.Millisecond))
	}
	progress()
	cancel()
	<-done
	for _, n := range []string{"a", "b", "c"} {
		var missing []string
		l.until(n+" has every acknowledged row", func() bool {
			have := map[string]bool{}
			vs, err := l.Values(t.Context(), n)
			for _, v := range vs {
				have[v] = true
			}
			missing = slices.DeleteFunc(slices.Clone(w.acked), func(v string) bool { return have[v] })
			return err == nil && len(missing) == 0
		})
	}
	t.Logf("%d rows acknowledged, none lost", len(w.acked))
	c, err := l.conn(t.Context(), primary)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	var epochs []int64
	rows, _ := c.Query(t.Context(), "SELECT epoch FROM backstay.epoch ORDER BY timeline")
	if epochs, err = pgx.CollectRows(rows, pgx.RowTo[int64]); err != nil || !slices.IsSorted(epochs) || len(epochs) != 6 {
		t.Errorf("epochs in the database: %v %v", epochs, err)
	}
	for _, f := range l.happened(act.EventForced) { // on a machine that is too busy to answer
		t.Log(f.Message, f.Evidence)
	}
	l.slots(t, primary)
}

// slots checks that each instance keeps a slot for each of its peers, and drops that of a former one.
func (l *lab) slots(t *testing.T, primary string) {
	t.Helper()
	ctx := t.Context()
	names := func(n string) []string {
		var found []string
		err := l.engines[n].session(ctx, 5*time.Second, func(ctx context.Context, c *pgx.Conn) error {
			have, err := listSlots(ctx, c)
			for name := range have {
				found = append(found, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(found)
		return found
	}
	for _, n := range []string{"a", "b", "c"} {
		if err := l.engines[n].keepSlots(ctx); err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, o := range others(n) {
			want = append(want, slotName(o))
		}
		if got := names(n); !slices.Equal(got, want) {
			t.Errorf("slots on %s: %v, want %v", n, got, want)
		}
	}
	standby := others(primary)[0]
	e := l.engines[standby]
	peers := map[string]string{primary: l.options[standby].Peers[primary]}
	if err := e.Configure(peers, e.o.Parameters, nil); err != nil {
		t.Fatal(err)
	}
	if err := e.keepSlots(ctx); err != nil {
		t.Fatal(err)
	}
	if got := names(standby); !slices.Equal(got, []string{slotName(primary)}) {
		t.Errorf("slots after a peer has left: %v", got)
	}
}

// A postmaster that is stopped still has sessions that answer; only a new one tells. A fence ends it all the same.
func TestHungPrimary(t *testing.T) {
	l := newLab(t, "a", "b")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	l.until("a probing write", func() bool { return !l.look("a").LastWrite.IsZero() })
	p := *l.engines["a"].process()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	l.until("the problem is seen", func() bool {
		o := l.look("a")
		return o.Running && !o.Writable && strings.Contains(o.Problem, "probing write")
	})
	t.Logf("seen after %v: %s", time.Since(began).Round(time.Millisecond), l.look("a").Problem)
	began = time.Now()
	if err := l.engines["a"].Do(t.Context(), plan.Step{Kind: plan.Fence, Node: "a", Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	t.Logf("fenced in %v", time.Since(began).Round(time.Millisecond))
	if p.Alive() || l.look("a").Running {
		t.Error("a hung primary outlived its fence")
	}
	if o := l.look("a"); o.Epoch != 2 || o.Position == 0 {
		t.Errorf("after the fence: %+v", o)
	}
	l.do("a", plan.Step{Kind: plan.Promote, Epoch: 2})
	if err := l.Write(t.Context(), "a", "again"); err != nil {
		t.Error(err)
	}
}

// What the files of a standby say is what it confirmed, replayed or not.
func TestPositionOfStopped(t *testing.T) {
	l := newLab(t, "a", "b")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	l.do("b", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
	l.do("a", plan.Step{Kind: plan.SetSync, Epoch: 1, Names: []string{"b"}, Quorum: 1})
	c, err := l.conn(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), "SELECT pg_wal_replay_pause()"); err != nil {
		t.Fatal(err)
	}
	c.Close(t.Context())
	for i := range 3 {
		if err := l.Write(t.Context(), "a", fmt.Sprint("unreplayed ", i, strings.Repeat("x", 9000))); err != nil {
			t.Fatal(err)
		}
	}
	flushed := func() uint64 {
		var at int64
		err := l.engines["a"].session(t.Context(), time.Second, func(ctx context.Context, c *pgx.Conn) error {
			return c.QueryRow(ctx, "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint").Scan(&at)
		})
		if err != nil {
			t.Fatal(err)
		}
		return uint64(at)
	}
	l.do("a", plan.Step{Kind: plan.Stop, Epoch: 1, Mode: plan.Immediate})
	confirmed := l.look("a").Position
	running := l.look("b")
	if running.Position != confirmed || running.Applied >= running.Position {
		t.Fatalf("b runs at %d, applied %d; a stopped at %d", running.Position, running.Applied, confirmed)
	}
	l.do("b", plan.Step{Kind: plan.Stop, Epoch: 1, Mode: plan.Immediate})
	l.do("b", plan.Step{Kind: plan.Fence, Epoch: 2})
	if o := l.look("b"); o.Position != confirmed || o.Timeline != 1 {
		t.Errorf("b stopped at %+v, and confirmed %d", o, confirmed)
	}
	l.do("b", plan.Step{Kind: plan.Promote, Epoch: 2})
	if vs, err := l.Values(t.Context(), "b"); err != nil || len(vs) != 3 {
		t.Errorf("%d rows, %v", len(vs), err)
	}
	l.do("a", plan.Step{Kind: plan.Start, Epoch: 1})
	if o := l.look("a"); o.Position < confirmed || flushed() < confirmed {
		t.Errorf("a ended at %d and began at %d", confirmed, o.Position)
	}
}

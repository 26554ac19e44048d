package postgres

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay/backstay/internal/decide/plan"
)

// A standby is copied from a standby and follows it, is pointed to the primary and back without a restart, and goes on through the
// promotion of the one it follows; the primary keeps no WAL for it meanwhile.
func TestCascade(t *testing.T) {
	l := newLab(t, "a", "b", "c")
	var elsewhere atomic.Bool
	l.stop("a")
	o := l.options["a"]
	o.PeerElsewhere = func(node string) bool { return node == "c" && elsewhere.Load() }
	o.PeerPosition = func(node string) (uint64, bool) {
		at, err := l.engines[node].Observe(context.Background())
		return at.Position, err == nil
	}
	l.options["a"] = o
	l.run("a")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	l.do("b", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
	l.do("c", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "b"})
	started := l.look("c").Started
	has := func(n int) {
		t.Helper()
		l.until(fmt.Sprintf("c has %d rows", n), func() bool {
			values, err := l.Values(t.Context(), "c")
			return err == nil && len(values) == n
		})
	}
	write := func(to, value string) {
		t.Helper()
		if err := l.Write(t.Context(), to, value); err != nil {
			t.Fatal(err)
		}
	}
	write("a", "by way of b")
	has(1)
	l.do("c", plan.Step{Kind: plan.Follow, Epoch: 1, Upstream: "a"}) // b died, say
	write("a", "from the primary")
	has(2)
	l.do("c", plan.Step{Kind: plan.Follow, Epoch: 1, Upstream: "b"})
	write("a", "by way of b again")
	has(3)
	if now := l.look("c").Started; !now.Equal(started) {
		t.Errorf("it was started anew: %v, before %v", now, started)
	}

	// Its slot on the primary stays where it was, until the primary is told that it streams elsewhere.
	kept := func() (bytes int64) {
		err := l.engines["a"].query(t.Context(), time.Second, func(ctx context.Context, c *pgx.Conn) error {
			return c.QueryRow(ctx, "SELECT (pg_current_wal_lsn() - restart_lsn)::bigint FROM pg_replication_slots WHERE slot_name = $1", slotName("c")).Scan(&bytes)
		})
		if err != nil {
			t.Fatal(err)
		}
		return bytes
	}
	for range 40 {
		write("a", fmt.Sprint("more ", time.Now().UnixNano()))
	}
	has(43)
	before := kept()
	if before < 1<<12 {
		t.Errorf("the slot holds back %d bytes only: the test shows nothing", before)
	}
	elsewhere.Store(true)
	l.until("the primary lets go of what c has", func() bool {
		l.look("a")
		l.engines["a"].settle()
		return kept() < before/2
	})

	// b takes over: what c has is a beginning of what b has.
	for _, n := range []string{"b", "c"} {
		l.do(n, plan.Step{Kind: plan.Fence, Epoch: 2})
	}
	l.do("a", plan.Step{Kind: plan.Stop, Mode: plan.Immediate, Epoch: 2})
	l.do("b", plan.Step{Kind: plan.Promote, Epoch: 2})
	l.do("c", plan.Step{Kind: plan.Rewind, Epoch: 2, Upstream: "b"})
	write("b", "as the primary")
	has(44)
}

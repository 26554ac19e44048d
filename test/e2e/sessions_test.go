package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// keptPort is of a listener that keeps sessions.
const keptPort = "5435"

// TestSessionsAreKept: with keep_sessions clients at work see no error of a switchover, and idle ones none of a failover either. What was
// acknowledged is there.
func TestSessionsAreKept(t *testing.T) {
	x := startTrio(t, "", `  - {name: kept, listen: "ADDRESS:`+keptPort+`", service: db, keep_sessions: true}
`)
	names := []string{"a", "b", "c"}
	admin := x.session("a", keptPort, "")
	x.do(admin, "CREATE TABLE rows (id bigint PRIMARY KEY)")

	var idle []*pgx.Conn
	for i, n := range names {
		c := x.session(n, keptPort, fmt.Sprintf("application_name=idle-%d", i))
		x.do(c, "SET work_mem = '5MB'")
		if _, err := c.Prepare(t.Context(), "whoami", whoAmI); err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}

	// Clients that write without a pause, some of them in transactions of several statements.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var acknowledged, next atomic.Int64
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failures []error
	for i := range 6 {
		c := x.session(names[i%3], keptPort, "")
		wg.Go(func() {
			for ctx.Err() == nil {
				id := next.Add(1)
				write := func(tx interface {
					Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
				}) error {
					_, err := tx.Exec(context.WithoutCancel(ctx), "INSERT INTO rows VALUES ($1)", id)
					return err
				}
				var err error
				if i < 3 {
					err = write(c)
				} else {
					err = pgx.BeginFunc(context.WithoutCancel(ctx), c, func(tx pgx.Tx) error { return write(tx) })
				}
				if err != nil {
					mu.Lock()
					failures = append(failures, err)
					mu.Unlock()
					return
				}
				acknowledged.Add(1)
			}
		})
	}
	wrote := func(n int64) func() bool {
		from := acknowledged.Load()
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return acknowledged.Load() >= from+n || len(failures) == 6
		}
	}
	await(t, time.Minute, "clients write", wrote(100))
	for round := range 2 {
		before := x.primary()
		var asked time.Time
		await(t, time.Minute, "the primary has moved", func() bool {
			if time.Since(asked) > 3*time.Second { // it is refused while no standby is in line
				asked = time.Now()
				_, _ = x.on("a", "switchover", "db")
			}
			p := x.primary()
			return p != "" && p != before
		})
		await(t, time.Minute, "clients write again", wrote(100))
		mu.Lock()
		if len(failures) > 0 {
			out, _ := x.on("a", "explain", "db")
			t.Fatalf("round %d: clients saw %v\n%s", round, errors.Join(failures...), out)
		}
		mu.Unlock()
	}
	cancel()
	wg.Wait()
	mu.Lock()
	if len(failures) > 0 {
		t.Errorf("clients saw %v", errors.Join(failures...))
	}
	mu.Unlock()
	for i, c := range idle {
		checkKept(t, x, c, i)
	}

	before := x.primary()
	kill(t, x, before)
	// Another takes over, or it is started again in place, where no standby is in line yet. The one that was killed answers nobody.
	await(t, 2*time.Minute, "there is a primary again", func() bool {
		p := x.primary()
		if p == "" {
			return false
		}
		c, err := x.connect(p, instancePort, "")
		if err != nil {
			return false
		}
		defer c.Close(t.Context())
		in, err := ask(c, "SELECT pg_is_in_recovery()::text")
		return err == nil && in == "false"
	})
	for i, c := range idle {
		checkKept(t, x, c, i)
	}
	var count int64
	if err := admin.QueryRow(t.Context(), "SELECT count(*) FROM rows").Scan(&count); err != nil {
		t.Fatal(err)
	}
	if count != acknowledged.Load() {
		t.Errorf("%d rows, %d were acknowledged", count, acknowledged.Load())
	}
	out, err := x.on("a", "status")
	if err != nil || !strings.Contains(out, "postgres, 4 kept") {
		t.Errorf("the status does not show what is kept: %v\n%s", err, out)
	}
}

// checkKept uses a session that was idle, and sees that it is what it was, on the primary of now.
func checkKept(t *testing.T, x *trio, c *pgx.Conn, i int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var who, mem, name string
	if err := c.QueryRow(ctx, "whoami").Scan(&who); err != nil {
		t.Fatalf("idle session %d: %v", i, err)
	}
	if !strings.HasSuffix(who, " false") {
		t.Errorf("idle session %d is on %s", i, who)
	}
	if err := c.QueryRow(ctx, "SELECT current_setting('work_mem'), current_setting('application_name')").Scan(&mem, &name); err != nil || mem != "5MB" || name != fmt.Sprintf("idle-%d", i) {
		t.Errorf("idle session %d: work_mem %s, application_name %s, %v", i, mem, name, err)
	}
}

// kill ends a node's PostgreSQL as if the power went.
func kill(t *testing.T, x *trio, name string) {
	t.Helper()
	pid, err := x.postmaster(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

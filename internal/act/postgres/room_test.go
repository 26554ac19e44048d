package postgres

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay/backstay/internal/act/daemon"
	"github.com/backstay/backstay/internal/decide/plan"
)

// small gives a node's instance a small disk of its own; without root there is none, and the test is skipped.
func (l *lab) small(t *testing.T, node string, mib int) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	dir = l.options[node].DataDir
	l.stop(node)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("backstay-test", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0755", mib)); err != nil {
		t.Skipf("a small disk cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		l.stop(node)
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	l.run(node)
	return dir
}

// fill takes all the room there is; the returned function gives it back.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "fill")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for err == nil {
		_, err = f.Write(block)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// exhaust writes on a node until it ends for want of room; it returns what was acknowledged.
func (l *lab) exhaust(t *testing.T, node string) (acked []string) {
	t.Helper()
	c, err := l.conn(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for i := 0; ; i++ {
		v := fmt.Sprint("row ", i)
		if _, err := c.Exec(ctx, "INSERT INTO ledger (value) VALUES ($1)", v); err != nil {
			break
		}
		acked = append(acked, v)
		if _, err := c.Exec(ctx, "SELECT pg_switch_wal()"); err != nil {
			break
		}
	}
	return acked
}

// A primary whose disk is full ends, is not started again and again, and is replaced by one that has room; what it had
// acknowledged is there. When there is room again it comes back.
func TestFullDiskOfThePrimary(t *testing.T) {
	l := newLab(t, "a", "b")
	dir := l.small(t, "a", 200)
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	if err := l.Write(t.Context(), "a", "before"); err != nil {
		t.Fatal(err)
	}
	l.do("b", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
	l.do("a", plan.Step{Kind: plan.SetSync, Epoch: 1, Names: []string{"b"}, Quorum: 1})
	if text, err := os.ReadFile(l.engines["a"].conf("backstay.conf")); err != nil || !strings.Contains(string(text), "max_slot_wal_keep_size = '64MB'\n") {
		t.Errorf("as much is kept for standbys as on a large disk: %v\n%s", err, text)
	}
	empty := fill(t, dir)
	acked := l.exhaust(t, "a")
	t.Logf("%d writes were acknowledged with a full disk", len(acked))
	l.until("the server has ended", func() bool { return !l.look("a").Running })
	if o := l.look("a"); !strings.Contains(o.Problem, "No space left") {
		t.Errorf("the problem: %s", o.Problem)
	}
	err := l.engines["a"].Do(t.Context(), plan.Step{Kind: plan.Start, Node: "a", Epoch: 1})
	if err == nil || !strings.Contains(err.Error(), "make room") {
		t.Errorf("it is started although it would end again: %v", err)
	}
	l.do("b", plan.Step{Kind: plan.Fence, Epoch: 2})
	l.do("b", plan.Step{Kind: plan.Promote, Epoch: 2})
	have, err := l.Values(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range append(acked, "before") {
		if !strings.Contains("\n"+strings.Join(have, "\n")+"\n", "\n"+v+"\n") {
			t.Errorf("%q was acknowledged and is lost", v)
		}
	}
	// As long as it is full it cannot come back, says so, and loses nothing that it alone has.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := l.engines["a"].Do(ctx, plan.Step{Kind: plan.Rewind, Node: "a", Epoch: 2, Upstream: "b"}); err == nil {
		t.Log("it found room enough to be rewound")
	} else {
		t.Log(err)
	}
	empty()
	l.do("a", plan.Step{Kind: plan.Rewind, Epoch: 2, Upstream: "b"})
	if err := l.Write(t.Context(), "b", "after"); err != nil {
		t.Error(err)
	}
	l.until("a has all", func() bool {
		vs, err := l.Values(t.Context(), "a")
		return err == nil && len(vs) == len(have)+1
	})
}

// A standby whose disk is full can be fenced all the same: an election may depend on it.
func TestFullDiskOfAStandby(t *testing.T) {
	l := newLab(t, "a", "b")
	dir := l.small(t, "b", 200)
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	if err := l.Write(t.Context(), "a", "before"); err != nil {
		t.Fatal(err)
	}
	l.do("b", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
	l.until("there is a reserve", func() bool { return exists(filepath.Join(dir, "epoch.json.reserve")) })
	empty := fill(t, dir)
	l.exhaustStandby(t)
	l.do("b", plan.Step{Kind: plan.Fence, Epoch: 2})
	if o := l.look("b"); o.Epoch != 2 || o.Position == 0 {
		t.Errorf("after the fence: %+v", o)
	}
	empty()
	l.do("b", plan.Step{Kind: plan.Promote, Epoch: 2})
	if vs, err := l.Values(t.Context(), "b"); err != nil || len(vs) == 0 {
		t.Errorf("it has %v, %v", vs, err)
	}
}

// exhaustStandby writes on a until b cannot take any more, and says so.
func (l *lab) exhaustStandby(t *testing.T) {
	t.Helper()
	c, err := l.conn(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	l.until("b says that its disk is full", func() bool {
		_, err := c.Exec(t.Context(), "INSERT INTO ledger (value) SELECT 'bulk' || random() FROM generate_series(1, 1000); SELECT pg_switch_wal()")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(strings.ToLower(l.look("b").Problem), "no space left")
	})
	t.Log(l.look("b").Problem)
}

// What is kept for a standby that is away is bounded; whose WAL is gone finds a slot again that keeps what a copy needs.
func TestSlotsDoNotFillTheDisk(t *testing.T) {
	l := newLab(t, "a", "b")
	for _, n := range []string{"a", "b"} {
		l.stop(n)
		o := l.options[n]
		o.Parameters = map[string]string{"shared_buffers": "16MB", "max_wal_size": "32MB", "min_wal_size": "32MB", "wal_keep_size": "0", "max_slot_wal_keep_size": "16MB"}
		l.options[n] = o
		l.run(n)
	}
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	l.do("b", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
	lost := func() (is bool) {
		err := l.engines["a"].session(t.Context(), 5*time.Second, func(ctx context.Context, c *pgx.Conn) error {
			have, err := listSlots(ctx, c)
			is = have[slotName("b")].lost
			return err
		})
		return err == nil && is
	}
	l.do("b", plan.Step{Kind: plan.Stop, Epoch: 1})
	c, err := l.conn(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	seen := false
	l.until("what was kept for b is given up", func() bool {
		_, err := c.Exec(t.Context(), "CREATE TABLE IF NOT EXISTS much (t text); INSERT INTO much SELECT repeat('x', 7000) FROM generate_series(1, 1000); SELECT pg_switch_wal(); CHECKPOINT")
		if err != nil {
			t.Fatal(err)
		}
		seen = seen || lost()
		files, err := filepath.Glob(l.engines["a"].data("pg_wal", "0*"))
		return err == nil && seen && len(files) < 12
	})
	l.until("the slot is one again", func() bool { return l.engines["a"].keepSlots(t.Context()) == nil && !lost() })
	l.do("b", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
}

// A table of connections that clients have filled does not keep Backstay out, and is not taken for a hung server.
func TestFullConnectionTable(t *testing.T) {
	l := newLab(t, "a")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	c, err := l.conn(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), "CREATE ROLE shop LOGIN PASSWORD 'shop'"); err != nil {
		t.Fatal(err)
	}
	c.Close(context.Background())
	o := l.options["a"]
	cfg, err := dialConfig(map[string]string{"host": o.Listen, "port": fmt.Sprint(o.Port), "user": "shop", "dbname": "postgres", "password": "shop", "sslmode": "disable"}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var all []*pgx.Conn
	t.Cleanup(func() {
		for _, c := range all {
			c.Close(context.Background())
		}
	})
	for err == nil {
		var c *pgx.Conn
		if c, err = pgx.ConnectConfig(t.Context(), cfg); err == nil {
			all = append(all, c)
		}
	}
	t.Logf("%d clients, then: %v", len(all), err)
	if len(all) < 20 {
		t.Fatal(err)
	}
	began := time.Now()
	l.until("writes go on being probed", func() bool {
		o := l.look("a")
		return o.Writable && o.Problem == "" && o.LastWrite.After(began.Add(time.Second))
	})
	l.do("a", plan.Step{Kind: plan.SetSync, Epoch: 1})
	l.do("a", plan.Step{Kind: plan.Checkpoint, Epoch: 1})
}

// Sessions that are stopped, with a postmaster that is not, are no reason to call a server hung as long as new ones can write;
// where they hold what a write needs, they are.
func TestStoppedBackends(t *testing.T) {
	l := newLab(t, "a", "b")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	l.until("a probing write", func() bool { return !l.look("a").LastWrite.IsZero() })
	c, err := l.conn(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), "BEGIN; LOCK TABLE backstay.probe"); err != nil { // as a backend that stopped in its write
		t.Fatal(err)
	}
	pid := int(c.PgConn().PID())
	session, _ := daemon.At(pid)
	if err := session.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Signal(syscall.SIGCONT) }) // gone is as good
	l.until("the problem is seen", func() bool {
		o := l.look("a")
		return o.Running && !o.Writable && strings.Contains(o.Problem, "probing write")
	})
	if err := l.engines["a"].Do(t.Context(), plan.Step{Kind: plan.Fence, Node: "a", Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	if s, alive := daemon.At(pid); alive && s == session {
		t.Error("a stopped session outlived the fence")
	}
	l.do("a", plan.Step{Kind: plan.Promote, Epoch: 2})
}

package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestPgCommands: psql reaches the primary from any node; a setting that needs a restart is shown, and a rolling restart puts it
// in force on all instances without losing a write or showing one an error.
func TestPgCommands(t *testing.T) {
	x := startTrio(t, "", "")
	primary := x.primary()
	for _, n := range []string{"a", "b", "c"} {
		out, err := x.on(n, "pg", "psql", "db", "--", "-XAtc", whoAmI)
		if want := x.address[primary] + " false"; err != nil || strings.TrimSpace(out) != want {
			t.Errorf("psql on %s says %q, %v, want %q", n, out, err, want)
		}
	}
	if out, err := x.on("a", "pg", "restart"); err != nil || !strings.Contains(out, "no setting of db needs a restart") {
		t.Errorf("%v: %s", err, out)
	}
	x.do(x.session(primary, clientsPort, ""), "CREATE TABLE t (n bigint)")
	var instances []string
	for _, n := range []string{"a", "b", "c"} {
		c := x.session(n, instancePort, "")
		x.do(c, "ALTER SYSTEM SET max_wal_senders = 17")
		x.do(c, "SELECT pg_reload_conf()")
		instances = append(instances, n)
	}
	await(t, time.Minute, "b knows that all instances need a restart", func() bool {
		out, err := x.on("b", "pg", "restart", "db")
		return err == nil && strings.Count(out, ": max_wal_senders") == 3
	})
	await(t, time.Minute, "the status on a says so", func() bool {
		out, err := x.on("a", "status", "db")
		return err == nil && strings.Count(out, "pending restart: max_wal_senders") == 3
	})

	stop, written := make(chan struct{}), make(chan int)
	go func() {
		n, acknowledged := 0, 0
		for {
			select {
			case <-stop:
				written <- acknowledged
				return
			default:
			}
			n++
			if c, err := x.connect("c", clientsPort, ""); err == nil { // a session for each: those in use end with their primary
				if _, err := c.Exec(t.Context(), "INSERT INTO t VALUES ($1)", n); err == nil {
					acknowledged++
				}
				_ = c.Close(t.Context())
			}
		}
	}()
	out, err := x.on("b", "pg", "restart", "--rolling", "--pending")
	close(stop)
	acknowledged := <-written
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(strings.TrimSpace(out), primary+" is restarted, and a standby now") {
		t.Errorf("%s, the primary, was not the last:\n%s", primary, out)
	}
	now := x.primary()
	if now == primary || now == "" {
		t.Errorf("the primary is %q, before %q", now, primary)
	}
	for _, n := range instances {
		if v, err := ask(x.session(n, instancePort, ""), "SHOW max_wal_senders"); err != nil || v != "17" {
			t.Errorf("max_wal_senders of %s is %s, %v", n, v, err)
		}
	}
	rows, err := ask(x.session(now, clientsPort, ""), "SELECT count(*)::text FROM t")
	t.Logf("%d acknowledged, %s there", acknowledged, rows)
	var there int
	for _, d := range rows {
		there = there*10 + int(d-'0')
	}
	if err != nil || there < acknowledged || acknowledged == 0 {
		t.Errorf("%d rows of %d acknowledged are there, %v", there, acknowledged, err)
	}
}

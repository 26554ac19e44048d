package e2e

import (
	"testing"
	"time"
)

// TestCascadingStandby: c follows the other standby, the primary while that is away, and the new primary after a failover; no
// write waits for it, and it is never the one that is promoted.
func TestCascadingStandby(t *testing.T) {
	x := startTrio(t, "        cascade: [c]\n", "")
	if p := x.primary(); p != "a" {
		t.Fatalf("the primary is %s", p)
	}
	follows := func(upstream string) func() bool {
		return func() bool { c := x.roles()["c"]; return c.Streaming && c.Upstream == upstream }
	}
	await(t, time.Minute, "c follows b", follows("b"))
	c := x.session("c", clientsPort, "")
	x.do(c, "CREATE TABLE t AS SELECT 1 AS n")
	at := x.session("c", instancePort, "")
	await(t, time.Minute, "c has what was written", func() bool { n, err := ask(at, "SELECT n::text FROM t"); return err == nil && n == "1" })
	if set, err := ask(c, "SHOW synchronous_standby_names"); err != nil || set != `ANY 1 ("b")` {
		t.Errorf("writes wait for %s, %v", set, err)
	}
	started := x.roles()["c"].Started
	x.end("b")
	await(t, time.Minute, "c follows the primary while b is away", follows("a"))
	x.start("b")
	await(t, 2*time.Minute, "c follows b again", follows("b"))
	if n, err := ask(at, "SELECT n::text FROM t"); (err != nil || n != "1") && x.roles()["c"].Started.Equal(started) { // it was not started anew
		t.Errorf("the session on c did not outlive the changes of what it follows: %v", err)
	}
	x.nodes["a"].stop() // killed
	await(t, time.Minute, "b is primary", func() bool { return x.primary() == "b" })
	await(t, 2*time.Minute, "c follows b, the primary of the next epoch", func() bool { return follows("b")() && x.roles()["c"].Epoch > 1 })
	x.do(x.session("c", clientsPort, ""), "UPDATE t SET n = 2")
	await(t, time.Minute, "c has what was written after the failover", func() bool {
		c, err := x.connect("c", instancePort, "")
		if err != nil {
			return false
		}
		defer c.Close(t.Context())
		n, err := ask(c, "SELECT n::text FROM t")
		return err == nil && n == "2"
	})
}

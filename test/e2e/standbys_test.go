package e2e

import (
	"maps"
	"slices"
	"testing"
	"time"
)

const whoAmI = "SELECT host(inet_server_addr()) || ' ' || pg_is_in_recovery()"

// TestStandbysListener: sessions to a listener of standbys reach standbys that are near enough, are cut when theirs falls
// behind, go to the primary when that is all there is, and come back; those of a primary that loses its office are cut.
func TestStandbysListener(t *testing.T) {
	x := startTrio(t, "", `  - {name: reads, listen: "ADDRESS:`+readsPort+`", service: db, standbys: {max_lag: `+trioReadLimit+`, or_primary: true}}
`)
	primary := x.primary()
	standbys := slices.DeleteFunc([]string{"a", "b", "c"}, func(n string) bool { return n == primary })
	reach := func() map[string]bool { // who answers new sessions
		t.Helper()
		seen := map[string]bool{}
		for range 12 {
			c, err := x.connect(standbys[0], readsPort, "")
			if err != nil {
				return nil
			}
			who, err := ask(c, whoAmI)
			_ = c.Close(t.Context())
			if err != nil {
				return nil
			}
			seen[who] = true
		}
		return seen
	}
	is := func(nodes ...string) func() bool {
		want := map[string]bool{}
		for _, n := range nodes {
			want[x.address[n]+map[bool]string{true: " false", false: " true"}[n == primary]] = true
		}
		return func() bool { return maps.Equal(reach(), want) }
	}
	// The zones of the three differ, and a node prefers its own.
	await(t, time.Minute, "reads go to the standby of the node's own zone", is(standbys[0]))

	session := x.session(standbys[0], readsPort, "")
	if _, err := ask(session, whoAmI); err != nil {
		t.Fatal(err)
	}
	pause := func(node string) {
		t.Helper()
		x.do(x.session(node, instancePort, ""), "SELECT pg_wal_replay_pause()")
	}
	resume := func(node string) {
		t.Helper()
		x.do(x.session(node, instancePort, ""), "SELECT pg_wal_replay_resume()")
	}
	pause(standbys[0])
	await(t, time.Minute, "the session on a standby that is behind is cut", func() bool { _, err := ask(session, whoAmI); return err != nil })
	await(t, time.Minute, "reads go to the other standby", is(standbys[1]))
	if lag := x.roles()[standbys[0]].Lag; lag == nil || *lag < 2 {
		t.Errorf("its lag is shown as %v", lag)
	}
	pause(standbys[1])
	await(t, time.Minute, "reads go to the primary", is(primary))

	// It loses its office to a standby: a session that came to it to read must not go on.
	session = x.session(standbys[0], readsPort, "")
	before := primary
	resume(standbys[0])
	resume(standbys[1])
	await(t, time.Minute, "the standby of the own zone is near enough again", is(standbys[0]))
	if who, err := ask(session, whoAmI); err != nil || who != x.address[primary]+" false" {
		t.Fatalf("the session at the primary says %q, %v", who, err)
	}
	if out, err := x.on(primary, "switchover", "db", "--to", standbys[0]); err != nil {
		t.Fatal(out)
	}
	await(t, time.Minute, "the session at the former primary is cut", func() bool { _, err := ask(session, whoAmI); return err != nil })
	await(t, time.Minute, "another is primary", func() bool { return x.primary() == standbys[0] })
	primary = standbys[0]
	await(t, 2*time.Minute, "the former primary serves reads", func() bool { seen := reach(); return seen[x.address[before]+" true"] })
	await(t, time.Minute, "nobody reads from the new primary", is(before, standbys[1]))
}

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestInstancesUseTLS: without a word in the configuration replication is encrypted with certificates of the cluster's own
// authority, which are good for clients at every node's address; one that is gone is issued anew before the instance is started.
func TestInstancesUseTLS(t *testing.T) {
	x := startTrio(t, "", `  - {name: kept, listen: "ADDRESS:`+readsPort+`", service: db, keep_sessions: true}
  - {name: kept-reads, listen: "ADDRESS:`+keptReadsPort+`", service: db, keep_sessions: true, standbys: 1m}
`)
	primary := x.primary()
	c := x.session(primary, clientsPort, "")
	if n, err := ask(c, "SELECT count(*)::text FROM pg_stat_replication JOIN pg_stat_ssl USING (pid) WHERE ssl AND version = 'TLSv1.3'"); err != nil || n != "2" {
		t.Errorf("%s of 2 standbys stream over TLS, %v", n, err)
	}
	for _, n := range []string{"a", "b", "c"} { // by way of any node, the primary's certificate is good
		s := x.session(n, clientsPort, "sslmode=verify-full sslrootcert="+x.file("a", "trust", "ca.crt"))
		if used, err := ask(s, "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); err != nil || used != "true" {
			t.Errorf("by way of %s: TLS %s, %v", n, used, err)
		}
	}
	// A listener that knows the protocol speaks TLS to members itself, to the primary and to standbys.
	const how = "SELECT ssl || ' ' || pg_is_in_recovery() FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
	if got, err := ask(x.session("a", readsPort, "sslmode=disable"), how); err != nil || got != "true false" {
		t.Errorf("a session that is kept: TLS and standby %q, %v", got, err)
	}
	await(t, time.Minute, "a session that is kept is served by a standby over TLS", func() bool {
		c, err := x.connect("a", keptReadsPort, "sslmode=disable")
		if err != nil {
			return false
		}
		defer c.Close(t.Context())
		got, err := ask(c, how)
		return err == nil && got == "true true"
	})
	if info, err := ask(x.session(other(x, primary), instancePort, ""), "SELECT current_setting('primary_conninfo')"); err != nil || !strings.Contains(info, "sslmode=verify-full") {
		t.Errorf("a standby follows with %q, %v", info, err)
	}

	serial := func() string {
		s := x.session(primary, clientsPort, "sslmode=require")
		defer s.Close(t.Context())
		got, err := ask(s, "SELECT pg_read_file(current_setting('ssl_cert_file'))")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	before := serial()
	started := x.roles()[primary].Started
	pem := x.file(primary, "trust", "services", "db.pem")
	if err := os.Remove(pem); err != nil {
		t.Fatal(err)
	}
	x.end(primary)
	await(t, time.Minute, "another is primary", func() bool { p := x.primary(); return p != "" && p != primary })
	x.start(primary)
	await(t, 2*time.Minute, "it follows with a new certificate", func() bool {
		i := x.roles()[primary]
		return i.Streaming && i.Started.After(started)
	})
	if text, err := os.ReadFile(pem); err != nil || strings.Contains(string(text), strings.TrimSpace(before)) {
		t.Errorf("the certificate is the same: %v", err)
	}
	if files, err := filepath.Glob(x.file(primary, "db", "conf", "server.*")); err != nil || len(files) != 2 {
		t.Errorf("%v, %v", files, err)
	}
}

func other(x *trio, node string) string {
	for n, i := range x.roles() {
		if n != node && i.Role == "standby" {
			return n
		}
	}
	x.t.Fatal("no standby")
	return ""
}

package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay/backstay/internal/decide/plan"
)

// Certificates and passwords that change in their files are in force without a restart: on the server, in its roles, and where
// a standby connects anew. What is half written changes nothing.
func TestChangedFiles(t *testing.T) {
	l := newLab(t, "a", "b")
	files := certificates(t, l.dir)
	files.Full = true
	for _, n := range []string{"a", "b"} {
		l.stop(n)
		o := l.options[n]
		o.TLS = &files
		l.options[n] = o
		l.run(n)
	}
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	l.do("b", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
	started := l.look("a").Started

	shown := func() []byte { // the certificate that clients see
		c, err := pgx.ConnectConfig(t.Context(), l.tls(t, "a"))
		if err != nil {
			return nil
		}
		defer c.Close(context.Background())
		return c.PgConn().Conn().(*tls.Conn).ConnectionState().PeerCertificates[0].Raw
	}
	first := shown()
	if first == nil {
		t.Fatal("no session over TLS")
	}
	good, err := os.ReadFile(files.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files.Key, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.engines["a"].reload(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files.Key, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if now := shown(); string(now) != string(first) {
		t.Fatal("a key that is half written is in use")
	}
	certificates(t, l.dir) // others, by another authority
	l.change("a", "b")
	l.until("the new certificate is shown", func() bool { now := shown(); return now != nil && string(now) != string(first) })

	for role, path := range map[string]string{"superuser": l.options["a"].Passwords.Superuser, "replication": l.options["a"].Passwords.Replication} {
		if err := os.WriteFile(path, []byte("another "+role+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.change("a", "b")
	l.until("the superuser's new password is good", func() bool {
		c, err := l.conn(t.Context(), "a")
		if err != nil {
			return false
		}
		return c.Close(t.Context()) == nil
	})
	l.do("b", plan.Step{Kind: plan.Stop, Epoch: 1})
	l.do("b", plan.Step{Kind: plan.Start, Epoch: 1})
	l.until("b streams with the new password and certificates", func() bool { return l.look("b").Streaming })
	if now := l.look("a").Started; !now.Equal(started) {
		t.Errorf("the primary was started anew: %v, before %v", now, started)
	}

	var roles string
	err = l.engines["a"].query(t.Context(), time.Second, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, `SELECT string_agg(concat_ws(' ', rolname, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, rolreplication,
 pg_has_role(oid, 'pg_read_all_data', 'member')), ', ' ORDER BY rolname) FROM pg_roles WHERE rolname LIKE 'backstay%'`).Scan(&roles)
	})
	if want := "backstay_replicator f f f f t f, backstay_rewinder f f f f f f"; err != nil || roles != want {
		t.Errorf("the members' roles may %q (superuser, databases, roles, bypass, replication, data), %v", roles, err)
	}
}

// change waits until the nodes' engines have looked at their files again.
func (l *lab) change(nodes ...string) {
	for _, n := range nodes {
		l.look(n)
		l.engines[n].settle()
	}
}

// tls is how a client connects that looks closely at whom it talks to.
func (l *lab) tls(t *testing.T, node string) *pgx.ConnConfig {
	t.Helper()
	o := l.options[node]
	pw, err := readPassword(o.Passwords.Superuser)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := dialConfig(map[string]string{
		"host": o.Listen, "port": fmt.Sprint(o.Port), "user": "postgres", "dbname": "postgres", "password": pw, "sslmode": "verify-full", "sslrootcert": o.TLS.CA,
	}, 2*time.Second)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	return cfg
}

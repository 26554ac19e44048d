package postgres

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/backstay/backstay/internal/act/account"
	"github.com/backstay/backstay/internal/act/ledger"
)

// quoteWord writes a value of a connection string.
func quoteWord(v string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}

// conninfo is how the walreceiver and pg_rewind reach a peer. The password is in a file, which a fence empties.
func (e *Engine) conninfo(o Options, node, role, name string) string {
	host, port, err := net.SplitHostPort(o.Peers[node])
	if err != nil {
		return ""
	}
	words := []string{
		"host=" + quoteWord(host), "port=" + quoteWord(port), "user=" + role, "application_name=" + quoteWord(name),
		"passfile=" + quoteWord(e.conf("pgpass")), "connect_timeout=3", "keepalives_idle=5", "keepalives_interval=2", "keepalives_count=2", "tcp_user_timeout=5000",
	}
	if role != replicator {
		words = append(words, "dbname=postgres")
	}
	if o.TLS != nil {
		words = append(words, "sslmode=verify-ca", "sslrootcert="+quoteWord(e.conf("ca.crt")))
	} else {
		words = append(words, "sslmode=disable")
	}
	return strings.Join(words, " ")
}

// passfile holds the members' passwords, and none of replication where the instance is fenced: no new stream can begin.
func (e *Engine) passfile(st ledger.State) (string, error) {
	var b strings.Builder
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace
	if st.Upstream != "" && !st.Fenced {
		p, err := readPassword(e.o.Passwords.Replication)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "*:*:*:%s:%s\n", replicator, escape(p))
	}
	p, err := readPassword(e.o.Passwords.Rewind)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&b, "*:*:*:%s:%s\n", rewinder, escape(p))
	return b.String(), nil
}

func readPassword(path string) (string, error) {
	if path == "" {
		return "", errors.New("a password file for each of superuser, replication and rewind has to be configured")
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("password file: %w: make it with the same password on every node", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("password file %s is readable by others (mode %o): chmod 600 it", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("password file: %w", err)
	}
	p := strings.TrimRight(string(text), "\r\n")
	if p == "" || strings.ContainsAny(p, "\n\r\x00") {
		return "", fmt.Errorf("password file %s must hold one line", path)
	}
	return p, nil
}

// copyTLS puts copies of the certificates where the account may read them and with the modes that PostgreSQL wants.
func (e *Engine) copyTLS(acc account.Account) error {
	if e.o.TLS == nil {
		return nil
	}
	for name, path := range map[string]string{"server.crt": e.o.TLS.Cert, "server.key": e.o.TLS.Key, "ca.crt": e.o.TLS.CA} {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("TLS of the instance: %w", err)
		}
		if old, err := os.ReadFile(e.conf(name)); err == nil && string(old) == string(text) {
			continue
		}
		if err := acc.Write(e.conf(name), text, 0o600); err != nil {
			return fmt.Errorf("TLS of the instance: %w", err)
		}
	}
	return nil
}

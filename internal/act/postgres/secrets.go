package postgres

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
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
		words = append(words, "sslmode="+e.sslmode(o.TLS, host), "sslrootcert="+quoteWord(e.conf("ca.crt")))
	} else {
		words = append(words, "sslmode=disable")
	}
	return strings.Join(words, " ")
}

// sslmode is how closely a peer's certificate is looked at. libpq compares addresses with those in a certificate from
// PostgreSQL 15 on; before, only names.
func (e *Engine) sslmode(t *TLS, host string) string {
	if t.Full && (e.major() >= 15 || net.ParseIP(host) == nil) {
		return "verify-full"
	}
	return "verify-ca"
}

// major is the version of the data, or of the programs where there is none yet.
func (e *Engine) major() int {
	if text, err := os.ReadFile(e.data("PG_VERSION")); err == nil {
		major, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		return major
	}
	return majorOf(filepath.Dir(e.tool("postgres")))
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
	if _, err := tls.LoadX509KeyPair(e.o.TLS.Cert, e.o.TLS.Key); err != nil {
		if exists(e.conf("server.crt")) && exists(e.conf("server.key")) && exists(e.conf("ca.crt")) {
			e.log.Warn("the instance's certificate cannot be used; the one before stays", "error", err)
			return nil // they are being replaced, say
		}
		return fmt.Errorf("TLS of the instance: %w", err)
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

// keepFiles has changed certificates and passwords in force: those that a server reads anew, and, on a primary, those of its
// roles. It returns what the files have in them once that is done.
func (e *Engine) keepFiles(ctx context.Context, known [sha256.Size]byte) [sha256.Size]byte {
	if !e.answers() {
		return known
	}
	e.mu.Lock()
	o, primary := e.o, e.seen.known && !e.seen.recovery
	e.mu.Unlock()
	paths := []string{o.Passwords.Superuser, o.Passwords.Replication, o.Passwords.Rewind}
	if o.TLS != nil {
		paths = append(paths, o.TLS.Cert, o.TLS.Key, o.TLS.CA)
	}
	h := sha256.New()
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil { // it may be on its way
			return known
		}
		fmt.Fprintf(h, "%d\n%s", len(text), text)
	}
	now := [sha256.Size]byte(h.Sum(nil))
	if now == known {
		return known
	}
	err := e.reload()
	if err == nil && primary {
		err = e.makeRoles(ctx)
	}
	if err != nil {
		e.log.Warn("changed certificates or passwords are not in force", "error", err)
		return known
	}
	e.log.Info("certificates and passwords are in force as the files have them")
	return now
}

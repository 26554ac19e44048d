package postgres

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// owned are the parameters that only Backstay sets: a wrong one would break what it promises.
var owned = []string{
	"data_directory", "config_file", "hba_file", "ident_file", "external_pid_file", "listen_addresses", "port",
	"unix_socket_directories", "primary_conninfo", "primary_slot_name", "synchronous_standby_names", "hot_standby",
	"recovery_target_timeline", "promote_trigger_file", "restart_after_crash", "wal_log_hints", "full_page_writes", "fsync",
	"ssl", "ssl_cert_file", "ssl_key_file", "ssl_ca_file", "cluster_name", "include", "include_dir", "include_if_exists",
}

// defaults are what the user may change.
var defaults = map[string]string{
	"wal_level": "replica", "max_wal_senders": "16", "max_replication_slots": "16",
	"wal_keep_size": "256MB", "max_slot_wal_keep_size": "8GB", "synchronous_commit": "on",
	"wal_sender_timeout": "5s", "wal_receiver_timeout": "5s", "wal_receiver_status_interval": "1s", "wal_retrieve_retry_interval": "200ms",
	"password_encryption": "scram-sha-256", "superuser_reserved_connections": "5",
	"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3", "tcp_user_timeout": "20s",
	"log_line_prefix": "%m [%p] %q%u@%d ", "checkpoint_completion_target": "0.9", "logging_collector": "off",
}

// raised are the parameters of which a standby must not have less than its primary had; pg_controldata says what that was.
var raised = []string{"max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions", "max_locks_per_transaction"}

var parameterName = regexp.MustCompile(`^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$`)

// CheckParameters says what is wrong with parameters that a user set, before anything is changed.
func CheckParameters(parameters map[string]string) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		value := parameters[name]
		switch lower := strings.ToLower(name); {
		case !parameterName.MatchString(lower):
			errs = append(errs, fmt.Errorf("parameter %q: not a name", name))
		case slices.Contains(owned, lower):
			errs = append(errs, fmt.Errorf("parameter %s is Backstay's to set: leave it out", lower))
		case strings.ContainsAny(value, "\n\r\x00"):
			errs = append(errs, fmt.Errorf("parameter %s: a value is one line", lower))
		case lower == "wal_level" && value != "replica" && value != "logical":
			errs = append(errs, fmt.Errorf("parameter wal_level %q: standbys need replica or logical", value))
		case lower == "synchronous_commit" && (value == "off" || value == "local"):
			errs = append(errs, fmt.Errorf("parameter synchronous_commit %q: commits would be acknowledged that no standby has; set it per session where that is wanted", value))
		}
	}
	return errors.Join(errs...)
}

// CheckHBA says what is wrong with lines for pg_hba.conf that a user set.
func CheckHBA(lines []string) error {
	for _, l := range lines {
		if strings.ContainsAny(l, "\n\r\x00") {
			return fmt.Errorf("pg_hba line %q: one line each", l)
		}
		if f := strings.Fields(l); len(f) < 4 && !strings.HasPrefix(l, "#") && !strings.HasPrefix(l, "include") {
			return fmt.Errorf("pg_hba line %q: want type, database, user, address and method", l)
		}
	}
	return nil
}

// quote writes a value as postgresql.conf and connection strings want it.
func quote(v string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(v) + "'"
}

// quoteWord writes a value of a connection string.
func quoteWord(v string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}

// configure writes all of the engine's own configuration files from the options and the state.
func (e *Engine) configure() error {
	e.mu.Lock()
	o, st, acc := e.o, e.st, e.acc
	e.mu.Unlock()
	if err := errors.Join(CheckParameters(o.Parameters), CheckHBA(o.HBA)); err != nil {
		return err
	}
	secrets, err := e.passfile(st)
	if err != nil {
		return err
	}
	if err := e.copyTLS(acc); err != nil {
		return err
	}
	for _, f := range []struct {
		name, text string
		mode       fs.FileMode
	}{
		{"pgpass", secrets, 0o600}, // first: without it a fenced instance gets in nowhere
		{"pg_hba.conf", e.hba(o), 0o600},
		{"pg_ident.conf", ident(o, acc), 0o600},
		{"backstay.conf", e.parameters(o, st), 0o600},
		{"postgresql.conf", e.mainConf(), 0o600},
	} {
		if old, err := os.ReadFile(e.conf(f.name)); err == nil && string(old) == f.text {
			continue
		}
		if err := acc.writeDurably(e.conf(f.name), []byte(f.text), f.mode); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return nil
}

// mainConf includes the cluster's own file, where it has one, and then Backstay's, which wins.
func (e *Engine) mainConf() string {
	own := e.data("postgresql.conf")
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by Backstay. Parameters belong into its configuration.\ninclude_if_exists %s\ninclude %s\n", quote(own), quote(e.conf("backstay.conf")))
	return b.String()
}

// parameters is backstay.conf: safe defaults, the user's, and what only Backstay sets.
func (e *Engine) parameters(o Options, st state) string {
	set := maps.Clone(defaults)
	for name, v := range o.Parameters {
		set[strings.ToLower(name)] = v
	}
	set["max_connections"] = cmp.Or(set["max_connections"], "100")
	standby := exists(e.data("standby.signal"))
	if standby {
		e.raise(set)
	}
	maps.Copy(set, map[string]string{
		"data_directory": o.DataPath, "hba_file": e.conf("pg_hba.conf"), "ident_file": e.conf("pg_ident.conf"),
		"listen_addresses": o.Listen, "port": strconv.Itoa(o.Port), "unix_socket_directories": e.SocketDir(),
		"cluster_name": o.Node, "hot_standby": "on", "wal_log_hints": "on", "full_page_writes": "on", "fsync": "on",
		"restart_after_crash": "off", "recovery_target_timeline": "latest", "ssl": "off",
		"synchronous_standby_names": syncNames(st.SyncNames, st.SyncQuorum),
		"primary_conninfo":          "", "primary_slot_name": "",
	})
	if standby && !st.Promoting {
		// Whether commits wait at all is a flag that the checkpointer sets when it comes to it, too late for the first commits
		// of a new primary. On a standby a set means nothing, but the flag is up.
		peers := slices.Sorted(maps.Keys(o.Peers))
		set["synchronous_standby_names"] = syncNames(slices.DeleteFunc(peers, func(n string) bool { return n == o.Node }), 1)
	}
	if st.Upstream != "" && !st.Fenced {
		set["primary_conninfo"], set["primary_slot_name"] = e.conninfo(o, st.Upstream, replicator, o.Node), slotName(o.Node)
	}
	if o.TLS != nil {
		maps.Copy(set, map[string]string{"ssl": "on", "ssl_cert_file": e.conf("server.crt"), "ssl_key_file": e.conf("server.key"), "ssl_ca_file": e.conf("ca.crt")})
	}
	var b strings.Builder
	b.WriteString("# Written by Backstay at each change. Edits are lost.\n")
	for _, name := range slices.Sorted(maps.Keys(set)) {
		fmt.Fprintf(&b, "%s = %s\n", name, quote(set[name]))
	}
	return b.String()
}

// raise lifts what a standby needs at least to what its primary had when it last wrote that down.
func (e *Engine) raise(set map[string]string) {
	facts, err := e.controldata()
	if err != nil {
		return
	}
	for _, name := range raised {
		was, err := strconv.Atoi(facts[name+" setting"])
		if err != nil {
			continue
		}
		if now, err := strconv.Atoi(set[name]); err != nil || now < was {
			set[name] = strconv.Itoa(was)
		}
	}
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
func (e *Engine) passfile(st state) (string, error) {
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

// hba lets the superuser in over the local socket, members over the network, and then whom the user lets in.
func (e *Engine) hba(o Options) string {
	host := "host"
	if o.TLS != nil {
		host = "hostssl"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by Backstay. Lines of your own belong into its configuration.\nlocal all %s peer map=backstay\n", hbaWord(o.Superuser))
	members := []string{o.Listen}
	for _, n := range slices.Sorted(maps.Keys(o.Peers)) {
		if h, _, err := net.SplitHostPort(o.Peers[n]); err == nil {
			members = append(members, h)
		}
	}
	for i, m := range members {
		members[i] = hbaAddress(m)
	}
	slices.Sort(members)
	members = slices.Compact(members)
	for _, m := range members {
		fmt.Fprintf(&b, "%s replication %s %s scram-sha-256\n%s all %s %s scram-sha-256\n", host, replicator, m, host, rewinder, m)
	}
	fmt.Fprintf(&b, "host all,replication %s,%s all reject\n", replicator, rewinder)
	for _, l := range o.HBA {
		b.WriteString(l + "\n")
	}
	fmt.Fprintf(&b, "local all all scram-sha-256\n")
	for _, m := range members {
		fmt.Fprintf(&b, "%s all all %s scram-sha-256\n", host, m)
	}
	fmt.Fprintf(&b, "host all all 127.0.0.0/8 scram-sha-256\nhost all all ::1/128 scram-sha-256\n")
	return b.String()
}

func hbaAddress(host string) string {
	ip := net.ParseIP(host)
	switch {
	case ip == nil:
		return hbaWord(host)
	case ip.IsUnspecified():
		return "samehost"
	case ip.IsLoopback() && ip.To4() != nil:
		return "127.0.0.0/8" // from where a connection to one of them comes is not said
	case ip.To4() != nil:
		return ip.String() + "/32"
	}
	return ip.String() + "/128"
}

func hbaWord(w string) string { return `"` + strings.ReplaceAll(w, `"`, `""`) + `"` }

// ident says which users of the operating system may be the superuser over the local socket.
func ident(o Options, acc account) string {
	names := []string{acc.name, "root"}
	slices.Sort(names)
	var b strings.Builder
	for _, n := range slices.Compact(names) {
		fmt.Fprintf(&b, "backstay %s %s\n", hbaWord(n), hbaWord(o.Superuser))
	}
	return b.String()
}

// copyTLS puts copies of the certificates where the account may read them and with the modes that PostgreSQL wants.
func (e *Engine) copyTLS(acc account) error {
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
		if err := acc.writeDurably(e.conf(name), text, 0o600); err != nil {
			return fmt.Errorf("TLS of the instance: %w", err)
		}
	}
	return nil
}

// scrub takes Backstay's parameters out of postgresql.auto.conf, which would win over backstay.conf.
func (e *Engine) scrub() error {
	path := filepath.Join(e.o.DataPath, "postgresql.auto.conf")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var kept []string
	for _, l := range strings.SplitAfter(string(text), "\n") {
		name, _, _ := strings.Cut(strings.TrimSpace(l), "=")
		if !slices.Contains(owned, strings.ToLower(strings.TrimSpace(name))) {
			kept = append(kept, l)
		}
	}
	if clean := strings.Join(kept, ""); clean != string(text) {
		return e.acc.writeDurably(path, []byte(clean), 0o600)
	}
	return nil
}

var notSlot = regexp.MustCompile(`[^a-z0-9_]`)

// slotName is the replication slot that a node uses on its upstream.
func slotName(node string) string {
	name := "backstay_" + notSlot.ReplaceAllString(node, "_")
	if strings.HasSuffix(name, node) && len(name) <= 63 {
		return name
	}
	return fmt.Sprintf("%s_%08x", name[:min(len(name), 54)], crc32.ChecksumIEEE([]byte(node))) // others may look the same
}

// syncNames is synchronous_standby_names for a set and a quorum.
func syncNames(names []string, quorum int) string {
	if quorum <= 0 || len(names) == 0 {
		return ""
	}
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = hbaWord(n)
	}
	return fmt.Sprintf("ANY %d (%s)", quorum, strings.Join(quoted, ", "))
}

var anyNames = regexp.MustCompile(`(?i)^\s*ANY\s+(\d+)\s*\((.*)\)\s*$`)

// parseSyncNames reads what syncNames wrote; another's setting counts as a set of one text that nobody is named.
func parseSyncNames(text string) (names []string, quorum int) {
	if strings.TrimSpace(text) == "" {
		return nil, 0
	}
	m := anyNames.FindStringSubmatch(text)
	if m == nil {
		return []string{text}, 1
	}
	quorum, _ = strconv.Atoi(m[1])
	for _, n := range strings.Split(m[2], ",") {
		n = strings.TrimSpace(n)
		if len(n) > 1 && n[0] == '"' {
			n = strings.ReplaceAll(n[1:len(n)-1], `""`, `"`)
		}
		names = append(names, n)
	}
	return names, quorum
}

func jsonText(v any) ([]byte, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	return append(text, '\n'), err
}

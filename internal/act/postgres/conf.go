package postgres

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/backstay/backstay/internal/act/ledger"
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

// quote writes a value as postgresql.conf and connection strings want it.
func quote(v string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(v) + "'"
}

// configure writes all of the engine's own configuration files from the options and the state.
func (e *Engine) configure() error {
	e.mu.Lock()
	o := e.o
	e.mu.Unlock()
	st, acc := e.state(), e.acc
	if err := errors.Join(CheckParameters(o.Parameters), CheckHBA(o.HBA), checkVersion(e.major(), o.Parameters, o.HBA)); err != nil {
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
		err := acc.Write(e.conf(f.name), []byte(f.text), f.mode)
		if errors.Is(err, syscall.ENOSPC) && e.ledger.Yield() {
			err = acc.Write(e.conf(f.name), []byte(f.text), f.mode)
		}
		if err != nil {
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
func (e *Engine) parameters(o Options, st ledger.State) string {
	set := maps.Clone(defaults)
	e.fit(set)
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

// fit lowers what a primary keeps for standbys that are away to a part of its disk: nobody who is away may fill it. Whose
// WAL is gone by then is copied anew.
func (e *Engine) fit(set map[string]string) {
	disk, err := diskOf(e.data("pg_wal"), e.o.DataPath, e.o.DataDir)
	if err != nil {
		return
	}
	for name, part := range map[string]uint64{"max_slot_wal_keep_size": disk.size / 4, "wal_keep_size": disk.size / 8} {
		if most := max(64, part>>20); most < kept[name] {
			set[name] = strconv.FormatUint(most, 10) + "MB"
		}
	}
}

// kept are the defaults of fit, in MB.
var kept = map[string]uint64{"max_slot_wal_keep_size": 8 << 10, "wal_keep_size": 256}

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
		return e.acc.Write(path, []byte(clean), 0o600)
	}
	return nil
}

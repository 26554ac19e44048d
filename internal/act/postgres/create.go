package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/account"
	"github.com/backstay/backstay/internal/act/ledger"
	"github.com/backstay/backstay/internal/decide/plan"
)

// create makes a new, empty cluster, or adopts one that is there and never was Backstay's, and runs it as the primary of
// the step's epoch.
func (e *Engine) create(ctx context.Context, s plan.Step) error {
	for _, path := range []string{e.o.Passwords.Replication, e.o.Passwords.Rewind} { // before anything is begun
		if _, err := readPassword(path); err != nil {
			return err
		}
	}
	if !exists(e.data("PG_VERSION")) {
		if err := e.initdb(ctx); err != nil {
			return err
		}
	}
	if err := e.persist(func(st *ledger.State) { st.Reign, st.Upstream, st.Fenced = s.Epoch, "", false }); err != nil {
		return err
	}
	if err := e.ownData(); err != nil {
		return err
	}
	if err := e.start(ctx); err != nil {
		return err
	}
	if err := e.makeRoles(ctx); err != nil {
		return fmt.Errorf("make roles: %w", err)
	}
	_ = e.refresh(ctx)
	if err := e.writeEpoch(ctx); err != nil {
		return fmt.Errorf("write the epoch: %w", err)
	}
	e.probeOnce(ctx)
	return e.keepSlots(ctx)
}

// initdb makes the cluster beside its place and moves it there when it is whole.
func (e *Engine) initdb(ctx context.Context) error {
	fresh := e.o.DataPath + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	password, err := readPassword(e.o.Passwords.Superuser)
	if err != nil {
		return err
	}
	// The account cannot read a file of ours, and a password must not be on a command line.
	pw := e.conf("superuser.new")
	if err := e.acc.Write(pw, []byte(password+"\n"), 0o600); err != nil {
		return err
	}
	defer func() { _ = os.Remove(pw) }()
	cmd := e.command(ctx, "initdb", "-D", fresh, "--data-checksums", "--encoding=UTF8", "--locale=C.UTF-8",
		"--username="+e.o.Superuser, "--pwfile="+pw, "--auth=scram-sha-256")
	if _, err := run(cmd); err != nil {
		return err
	}
	return e.install(fresh)
}

// install moves a whole data directory into its place.
func (e *Engine) install(fresh string) error {
	old := e.o.DataPath + ".old"
	if err := os.RemoveAll(old); err != nil {
		return err
	}
	if exists(e.o.DataPath) {
		if err := os.Rename(e.o.DataPath, old); err != nil {
			return err
		}
	}
	if err := os.Rename(fresh, e.o.DataPath); err != nil {
		return err
	}
	if err := account.SyncDir(e.o.DataDir); err != nil {
		return err
	}
	return os.RemoveAll(old)
}

// ownData makes sure that an adopted cluster belongs to the account, which a change of os_user would break.
func (e *Engine) ownData() error {
	info, err := os.Stat(e.o.DataPath)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != e.acc.UID {
		return fmt.Errorf("%s belongs to user %d and PostgreSQL is to run as %s (%d): set os_user, or chown it", e.o.DataPath, st.Uid, e.acc.Name, e.acc.UID)
	}
	return nil
}

// makeRoles makes the roles that members use, with just what they need, and what Backstay keeps in the database.
func (e *Engine) makeRoles(ctx context.Context) error {
	replication, err1 := readPassword(e.o.Passwords.Replication)
	rewind, err2 := readPassword(e.o.Passwords.Rewind)
	superuser, err3 := readPassword(e.o.Passwords.Superuser)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	return e.session(ctx, 30*time.Second, func(ctx context.Context, c *pgx.Conn) error {
		const quiet = "SET log_statement = 'none'; SET log_min_duration_statement = -1; SET log_min_error_statement = 'panic'" // no passwords in the log
		if _, err := c.Exec(ctx, quiet); err != nil {
			return err
		}
		if err := e.setSuperuser(ctx, c, superuser); err != nil {
			return err
		}
		for role, p := range map[string]string{replicator: replication, rewinder: rewind} {
			const least = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS "
			attributes := least + "NOREPLICATION"
			if role == replicator {
				attributes = least + "REPLICATION"
			}
			text := fmt.Sprintf(`DO $backstay$ BEGIN
 IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '%[1]s') THEN CREATE ROLE %[1]s; END IF; END $backstay$;
 ALTER ROLE %[1]s WITH %[2]s`, role, attributes)
			if _, err := c.Exec(ctx, text); err != nil {
				return err
			}
			if err := setPassword(ctx, c, role, p); err != nil {
				return err
			}
		}
		_, err := c.Exec(ctx, schemaSQL+`;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean), pg_catalog.pg_stat_file(text, boolean),
 pg_catalog.pg_read_binary_file(text), pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO `+rewinder)
		return err
	})
}

func literal(v string) string {
	if strings.Contains(v, `\`) {
		return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(v) + "'"
	}
	return "'" + strings.ReplaceAll(v, "'", "''") + "'"
}

// clone copies the upstream's data, discarding what is there when the copy is whole, and follows it.
func (e *Engine) clone(ctx context.Context, s plan.Step) error {
	if done, err := e.Done(ctx, s); done && err == nil {
		return nil
	}
	if _, _, err := e.peer(s.Upstream); err != nil {
		return err
	}
	// From here on, and after a crash on the way, this is no primary any more.
	if err := e.persist(func(st *ledger.State) { st.Fenced, st.Unaligned, st.Upstream = false, true, s.Upstream }); err != nil {
		return err
	}
	e.stopFast(ctx, e.o.StopTimeout)
	if err := errors.Join(e.makeStandby(), e.configure()); err != nil {
		return err
	}
	if s.Kind == plan.Clone && exists(e.data("PG_VERSION")) && !e.state().Copying { // a rewind has done that
		err := e.sameOrigin(ctx, s.Upstream)
		if err == nil {
			err = e.rescueTail(ctx, s.Upstream)
		}
		if err != nil { // a clone is what gives up whatever there is
			e.tell.Record(act.EventRescued, fmt.Sprintf("what %s had beyond %s was not put aside", e.o.Node, s.Upstream), err.Error(), nil)
		}
	}
	fresh := e.o.DataPath + ".new"
	began := time.Now()
	err := e.basebackup(ctx, s.Upstream, fresh)
	if err != nil && strings.Contains(err.Error(), "No space left") && exists(e.o.DataPath) {
		e.tell.Record(act.EventCloned, fmt.Sprintf("there is no room on %s for a copy beside the old data, which is removed first", e.o.Node), err.Error(), nil)
		if err = os.RemoveAll(e.o.DataPath); err == nil {
			err = e.basebackup(ctx, s.Upstream, fresh)
		}
	}
	if err != nil {
		_ = os.RemoveAll(fresh)
		return err
	}
	if err := e.acc.Write(filepath.Join(fresh, "standby.signal"), nil, 0o600); err != nil {
		return err
	}
	if err := e.install(fresh); err != nil {
		return err
	}
	if err := e.persist(func(st *ledger.State) { st.Copying, st.Unaligned = false, false }); err != nil {
		return err
	}
	e.mu.Lock()
	e.seen = facts{}
	e.mu.Unlock()
	e.tell.Record(act.EventCloned, fmt.Sprintf("%s is a fresh copy of %s", e.o.Node, s.Upstream), fmt.Sprintf("copied in %v", time.Since(began).Round(time.Millisecond)), nil)
	return e.start(ctx)
}

var percent = regexp.MustCompile(`\((\d+)%\)`)

// basebackup copies the upstream's files; how far it is shows as Busy.
func (e *Engine) basebackup(ctx context.Context, upstream, fresh string) error {
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	e.mu.Lock()
	o := e.o
	e.mu.Unlock()
	args := []string{"-D", fresh, "-d", e.conninfo(o, upstream, replicator, cloning), "-X", "stream", "-c", "fast", "-P", "--no-password"}
	if e.hasSlot(ctx, upstream) {
		args = append(args, "-S", slotName(o.Node)) // what it needs after the copy is kept for it
	}
	cmd := e.command(ctx, "pg_basebackup", args...)
	progress, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(progress)
		lines.Split(splitProgress)
		for lines.Scan() {
			if m := percent.FindStringSubmatch(lines.Text()); m != nil {
				e.ledger.SetBusy(fmt.Sprintf("clone from %s: %s%%", upstream, m[1]))
			}
		}
		_, _ = io.Copy(io.Discard, progress)
	}()
	var words tail
	cmd.Stderr = io.MultiWriter(&words, w)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 3 * time.Second
	err := cmd.Run()
	_ = w.Close()
	<-done
	if err != nil {
		return fmt.Errorf("pg_basebackup from %s: %w: %s", upstream, err, lastLines(strings.ReplaceAll(string(words.text), "\r", "\n"), 3))
	}
	return nil
}

// splitProgress splits at carriage returns as well as at ends of lines.
func splitProgress(data []byte, atEOF bool) (int, []byte, error) {
	for i, b := range data {
		if b == '\r' || b == '\n' {
			return i + 1, data[:i], nil
		}
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// hasSlot says whether the upstream keeps a free slot for this node.
func (e *Engine) hasSlot(ctx context.Context, upstream string) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	cfg, err := e.remote(upstream, "postgres")
	c, err := connect(ctx, cfg, err)
	if err != nil {
		return false
	}
	defer func() { _ = c.Close(ctx) }()
	var free bool
	err = c.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_replication_slots WHERE slot_name = $1 AND NOT active)", slotName(e.o.Node)).Scan(&free)
	return err == nil && free
}

package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/backstay/backstay/internal/decide/plan"
)

// A disk is a file system's size and what is free of it, in bytes.
type disk struct{ size, free uint64 }

// diskOf looks at the disk of the first of the paths that there is.
func diskOf(paths ...string) (d disk, err error) {
	for _, p := range paths {
		var fs syscall.Statfs_t
		if err = syscall.Statfs(p, &fs); err == nil {
			return disk{fs.Blocks * uint64(fs.Bsize), fs.Bavail * uint64(fs.Bsize)}, nil
		}
	}
	return d, err
}

// fullDisk says so where there is no room for one more segment of WAL, without which a server ends in panic.
func fullDisk(paths ...string) string {
	const segment = 16 << 20
	for _, p := range paths {
		if d, err := diskOf(p); err == nil && d.free < segment {
			return fmt.Sprintf("the disk is full: %d MiB are left for %s, no space left for one more segment of WAL", d.free>>20, p)
		}
	}
	return ""
}

// fullPause is how long an instance that ended for want of room is not started again, unless there is room: it would most
// likely end again. Once in a while it may: what it does when it starts can make room.
const fullPause = time.Minute

func (e *Engine) wantsRoom() error {
	e.mu.Lock()
	since := time.Since(e.endedAt)
	e.mu.Unlock()
	full := fullDisk(e.o.DataPath, e.data("pg_wal"))
	if full == "" || since > fullPause || !strings.Contains(e.sup.Ending(), "No space left") {
		return nil
	}
	return fmt.Errorf("it ended %v ago because %s: make room; it is started as soon as there is some, and tried once a minute", since.Round(time.Second), full)
}

// problem says what is wrong with a running instance. Called with the lock held.
func (e *Engine) problem(o plan.Observation, f facts) string {
	silence := 2 * e.o.QueryTimeout
	switch {
	case !f.failing.IsZero() && time.Since(f.failing) > silence:
		return fmt.Sprintf("the instance has not answered for %v: %s", time.Since(f.failing).Round(100*time.Millisecond), f.failure)
	case o.Role == plan.Primary && e.probe.problem != "":
		return e.probe.problem
	case o.Role == plan.Standby && f.paused:
		return "replay is paused; maybe a parameter is lower than on the primary: restart the instance"
	case !f.parted.IsZero() && time.Since(f.parted) > time.Second:
		return fmt.Sprintf("no stream from %s for %v: %s", e.state().Upstream, time.Since(f.parted).Round(100*time.Millisecond), e.sup.LastWords())
	}
	return ""
}

// plainError is an error as people read it, without the connection's parameters.
func plainError(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Message
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return err.Error()
}

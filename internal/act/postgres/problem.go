package postgres

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/backstay/backstay/internal/decide/plan"
)

// fullDisk says so where there is no room for one more segment of WAL, without which a server ends in panic.
func fullDisk(paths ...string) string {
	const segment = 16 << 20
	for _, p := range paths {
		var fs syscall.Statfs_t
		if err := syscall.Statfs(p, &fs); err != nil {
			continue
		}
		if free := fs.Bavail * uint64(fs.Bsize); free < segment {
			return fmt.Sprintf("the disk is full: %d MiB are left for %s, no space left for one more segment of WAL", free>>20, p)
		}
	}
	return ""
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

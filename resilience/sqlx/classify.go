package sqlx

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/backstay/backstay/resilience"
)

type idempotentKey struct{}

// Idempotent marks statements under this context as ones that may be made twice: an INSERT … ON CONFLICT DO NOTHING, an UPDATE
// to a fixed value.
func Idempotent(ctx context.Context) context.Context {
	return context.WithValue(ctx, idempotentKey{}, true)
}

func isIdempotent(ctx context.Context) bool { return ctx.Value(idempotentKey{}) != nil }

// Selects says whether a statement looks like one that only reads: a single SELECT, VALUES, TABLE or SHOW that locks no rows, writes to no
// table and calls none of the functions known for changing something. A function of your own that does is not seen: mark
// contexts instead where there are such.
func Selects(statement string) bool {
	s := " " + strings.Join(strings.Fields(strings.ToLower(statement)), " ")
	s = strings.TrimRight(s, "; ")
	switch first, _, _ := strings.Cut(strings.TrimLeft(s, " ("), " "); first {
	case "select", "values", "table", "show":
	default:
		return false
	}
	for _, writes := range [...]string{";", " into ", " for update", " for share", " for no key", " for key share", "lock in share mode",
		"nextval", "setval", "set_config", "pg_", "lo_", "dblink", "get_lock", "release_lock", "last_insert_id(", "sleep(", "--", "/*"} {
		if strings.Contains(s, writes) {
			return false
		}
	}
	return true
}

// Lost says whether an error means that the database, or the way to it, is at fault: a broken connection, a missed deadline, and the
// SQLSTATE classes 08 (connection), 53 (out of resources), 57P (shut down, starting), 58 and XX (broken inside), 25006 (a primary
// that is none any more), of drivers whose errors have a method SQLState() string.
func Lost(err error) bool {
	if state, ok := sqlState(err); ok {
		for _, class := range [...]string{"08", "53", "57P", "58", "XX", "25006"} {
			if strings.HasPrefix(state, class) {
				return true
			}
		}
		return false
	}
	return broken(err) || errors.Is(err, context.DeadlineExceeded)
}

// broken says whether an error means that its connection is of no more use.
func broken(err error) bool {
	if state, ok := sqlState(err); ok {
		return strings.HasPrefix(state, "08") || strings.HasPrefix(state, "57P")
	}
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return true
	}
	_, network := errors.AsType[net.Error](err)
	return network && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) // which are net.Errors, too
}

// Retryable says which errors of connecting may go away by trying again: all transient ones but a wrong password (SQLSTATE
// class 28), a database that does not exist (3D) and the like.
func Retryable(err error) bool {
	if _, ok := sqlState(err); ok && !Lost(err) {
		return false
	}
	return resilience.Transient(err)
}

func sqlState(err error) (string, bool) {
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return e.SQLState(), true
	}
	return "", false
}

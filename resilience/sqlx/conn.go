package sqlx

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/backstay/backstay/resilience"
)

// conn is a connection that keeps to the policies. database/sql uses it from one goroutine at a time.
//
// A driver's connection may or may not have each of the optional methods. This one has all; where the driver's lacks one, it
// answers as database/sql would without it.
type conn struct {
	inner     driver.Conn
	connector *Connector
	tx        *tx  // the transaction that is on
	lost      bool // it is not to be used again
}

// Unwrap is the driver's own connection, for sql.Conn's Raw.
func (c *conn) Unwrap() driver.Conn { return c.inner }

// unit does something that makes sense to the database by itself; inside a transaction it is a part of that.
func (c *conn) unit(ctx context.Context, do func(context.Context) error) error {
	if c.tx != nil {
		err := do(ctx)
		c.tx.learn(err)
		c.note(err)
		return err
	}
	o := &c.connector.options
	_, err := resilience.Watch(ctx, o.Observer, o.Name, func(ctx context.Context) (struct{}, error) {
		leave, err := c.connector.enter(ctx)
		if err != nil {
			return struct{}{}, err
		}
		err = errPanicked
		defer func() { leave(c.connector.blame(err)) }()
		err = do(ctx)
		return struct{}{}, err
	})
	c.note(err)
	return err
}

var errPanicked = errors.New("the database driver panicked")

// note remembers that the connection is broken.
func (c *conn) note(err error) {
	if err != nil && broken(err) {
		c.lost = true
	}
}

// statement does a statement. Where that has lost its connection and may be made again, database/sql is told so (ErrBadConn),
// and does that.
func (c *conn) statement(ctx context.Context, text string, do func(context.Context) error) error {
	inTx := c.tx != nil
	if !inTx && resilience.AttemptOf(ctx) <= 1 {
		c.connector.budget.Begin()
		defer c.connector.budget.End()
	}
	err := c.unit(ctx, do)
	if err == nil || inTx || errors.Is(err, driver.ErrBadConn) || !broken(err) || !c.connector.again(ctx, text) {
		return err
	}
	return fmt.Errorf("%w: %w", driver.ErrBadConn, err)
}

// within bounds the time of a statement until its first answer. What the context ends later, reading rows say, is ended by done.
func (c *conn) within(ctx context.Context) (bounded context.Context, answered func(error) error, done context.CancelFunc) {
	limit := c.connector.options.Timeout
	if limit <= 0 {
		return ctx, func(err error) error { return err }, func() {}
	}
	bounded, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(context.DeadlineExceeded) })
	answered = func(err error) error {
		if !timer.Stop() && context.Cause(bounded) == context.DeadlineExceeded && ctx.Err() == nil { //nolint:errorlint // our own
			return fmt.Errorf("sql: no answer within %v: %w", limit, context.DeadlineExceeded)
		}
		return err
	}
	return bounded, answered, func() { timer.Stop(); cancel(nil) }
}

// ExecContext makes a statement.
func (c *conn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (result driver.Result, err error) {
	inner, ok := c.inner.(driver.ExecerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	err = c.statement(ctx, text, func(ctx context.Context) (err error) {
		ctx, answered, done := c.within(ctx)
		defer done()
		result, err = inner.ExecContext(ctx, text, args)
		return answered(err)
	})
	return result, err
}

// QueryContext makes a statement that gives rows.
func (c *conn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (result driver.Rows, err error) {
	inner, ok := c.inner.(driver.QueryerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	err = c.statement(ctx, text, func(ctx context.Context) (err error) {
		result, err = c.query(ctx, func(ctx context.Context) (driver.Rows, error) { return inner.QueryContext(ctx, text, args) })
		return err
	})
	return result, err
}

// query asks for rows; the time that is allowed ends with the first answer, and not with the last row.
func (c *conn) query(ctx context.Context, ask func(context.Context) (driver.Rows, error)) (driver.Rows, error) {
	ctx, answered, done := c.within(ctx)
	result, err := ask(ctx)
	if late := answered(err); late != nil {
		if err == nil {
			_ = result.Close()
		}
		done()
		return nil, late
	}
	return &rows{Rows: result, conn: c, done: done}, nil
}

// PrepareContext prepares a statement.
func (c *conn) PrepareContext(ctx context.Context, text string) (result driver.Stmt, err error) {
	err = c.statement(ctx, text, func(ctx context.Context) error {
		ctx, answered, done := c.within(ctx)
		defer done()
		var s driver.Stmt
		if inner, ok := c.inner.(driver.ConnPrepareContext); ok {
			s, err = inner.PrepareContext(ctx, text)
		} else {
			s, err = c.inner.Prepare(text)
		}
		if err = answered(err); err != nil {
			return err
		}
		result = wrapStmt(&stmt{inner: s, conn: c, text: text})
		return nil
	})
	return result, err
}

// Prepare is PrepareContext without one.
func (c *conn) Prepare(text string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), text)
}

// Ping asks whether the database answers.
func (c *conn) Ping(ctx context.Context) error {
	inner, ok := c.inner.(driver.Pinger)
	if !ok {
		return nil
	}
	return c.unit(ctx, func(ctx context.Context) error {
		ctx, answered, done := c.within(ctx)
		defer done()
		return answered(inner.Ping(ctx))
	})
}

// Close closes the connection, and with it what is left of a transaction.
func (c *conn) Close() error {
	if c.tx != nil {
		c.tx.finish(nil)
	}
	return c.inner.Close()
}

// ResetSession makes the connection ready for who comes next.
func (c *conn) ResetSession(ctx context.Context) error {
	if c.lost {
		return driver.ErrBadConn
	}
	if inner, ok := c.inner.(driver.SessionResetter); ok {
		return inner.ResetSession(ctx)
	}
	return nil
}

// IsValid says whether the connection may be used again.
func (c *conn) IsValid() bool {
	if c.lost {
		return false
	}
	inner, ok := c.inner.(driver.Validator)
	return !ok || inner.IsValid()
}

// CheckNamedValue is the driver's.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if inner, ok := c.inner.(driver.NamedValueChecker); ok {
		return inner.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

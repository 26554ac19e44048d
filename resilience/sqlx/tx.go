package sqlx

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/backstay/backstay/resilience"
)

// tx is a transaction: one unit, from its beginning to its end.
type tx struct {
	inner driver.Tx
	conn  *conn
	ctx   context.Context // of the call that began it
	begun time.Time
	leave func(error)
	once  sync.Once
	first error // the first of its errors that the database is to blame for
}

// BeginTx begins a transaction, which stays inside the gates until it ends.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	leave, err := c.connector.enter(ctx)
	if err != nil {
		return nil, err
	}
	t := &tx{conn: c, ctx: ctx, begun: time.Now(), leave: leave}
	t.inner, err = c.begin(ctx, opts)
	if err != nil {
		c.note(err)
		t.learn(err)
		t.finish(err)
		if broken(err) && !errors.Is(err, driver.ErrBadConn) && resilience.AttemptOf(ctx) <= 1 && ctx.Err() == nil && c.connector.spend() {
			return nil, fmt.Errorf("%w: %w", driver.ErrBadConn, err) // nothing was done yet: database/sql begins on another connection
		}
		return nil, err
	}
	c.tx = t
	return t, nil
}

func (c *conn) begin(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if inner, ok := c.inner.(driver.ConnBeginTx); ok {
		// The context may outlive this call (a driver may roll back when it ends): it has no other bound here.
		return inner.BeginTx(ctx, opts)
	}
	if opts.Isolation != 0 {
		return nil, errors.New("sql: driver does not support non-default isolation level")
	}
	if opts.ReadOnly {
		return nil, errors.New("sql: driver does not support read-only transactions")
	}
	return c.inner.Begin() //nolint:staticcheck // for drivers that have nothing newer
}

// Begin is BeginTx without a context.
func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

// Commit ends the transaction. Whether it was committed is not known where the connection is lost, so it is never done again.
func (t *tx) Commit() error { return t.end(t.inner.Commit) }

// Rollback ends the transaction, undone.
func (t *tx) Rollback() error { return t.end(t.inner.Rollback) }

func (t *tx) end(end func() error) error {
	err := end()
	t.conn.note(err)
	t.learn(err)
	t.finish(err)
	return err
}

// learn keeps the first error that the database is to blame for.
func (t *tx) learn(err error) {
	if t.first == nil {
		t.first = t.conn.connector.blame(err)
	}
}

// finish leaves the gates.
func (t *tx) finish(err error) {
	t.once.Do(func() {
		t.conn.tx = nil
		t.leave(t.first)
		if t.first != nil {
			err = t.first
		}
		if o := &t.conn.connector.options; o.Observer != nil {
			o.Observer(t.ctx, resilience.Event{Kind: resilience.EventCall, Name: o.Name, Err: err, Took: time.Since(t.begun)})
		}
	})
}

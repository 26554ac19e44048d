// Package sqlx puts the policies of package resilience around a database: a driver.Connector around another, for sql.OpenDB.
//
//	connector, err := sqlx.Wrap(driverConnector, sqlx.Options{...})
//	db := sql.OpenDB(connector)
//
// What passes the gates is a unit that makes sense to the database: connecting, a ping, a statement outside a transaction, and a
// transaction as a whole, from BEGIN to its end. So a transaction that was let in is not refused half-way, where its work
// would be lost; and inside a Limit it counts until it ends.
//
// What is tried again:
//
//   - Connecting, by Options.Retry with its delays and budget: this is what waits out the change of a primary.
//   - A statement that has lost its connection, outside a transaction, when it may be made twice: one whose context is marked
//     (Idempotent), or that Options.ReadOnly says only reads. It is made again by database/sql itself, on another connection,
//     at most three times in all, within the budget.
//   - What a driver itself reports as driver.ErrBadConn outside a transaction, as always with database/sql: the driver vouches
//     that nothing was done.
//   - Never anything in the midst of a transaction, a COMMIT in particular, nor what may have been done already.
package sqlx

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"time"

	"github.com/backstay/backstay/resilience"
)

// Options says how a database is used.
type Options struct {
	// Gates are passed by each unit: a breaker, a limit. They are told of Lost errors only: that a row is missing or a key is
	// there twice says nothing against the database.
	Gates []resilience.Gate
	// Retry says how connecting is tried again; its Budget also bounds how often statements are. Retryable is that of this
	// package where nil.
	Retry resilience.RetryOptions
	// Timeout bounds connecting and each statement, until its first answer is there; 0 is no bound but the context's.
	Timeout time.Duration
	// ReadOnly says which statements only read, so that they may be made twice; none where nil. Selects is a careful one.
	ReadOnly func(statement string) bool
	// Lost says which errors mean that the database, or the way to it, is at fault; that of this package where nil.
	Lost     func(error) bool
	Name     string              // what the observer is told of
	Observer resilience.Observer // told of each unit, retry and refusal
}

// Connector makes connections that keep to the policies. It is what sql.OpenDB takes.
type Connector struct {
	inner   driver.Connector
	options Options
	retry   *resilience.Retry
	budget  *resilience.Budget
}

// Wrap puts policies around a driver's connector, or says what is wrong with the options.
func Wrap(inner driver.Connector, o Options) (*Connector, error) {
	if o.Lost == nil {
		o.Lost = Lost
	}
	if o.Retry.Retryable == nil {
		o.Retry.Retryable = Retryable
	}
	if o.Retry.Budget == nil {
		o.Retry.Budget = resilience.NewBudget(resilience.BudgetOptions{})
	}
	if o.Timeout > 0 && o.Retry.PerTry == 0 {
		o.Retry.PerTry = o.Timeout
	}
	if tell := o.Observer.Retry(o.Name); tell != nil {
		own := o.Retry.OnRetry
		o.Retry.OnRetry = func(e resilience.RetryEvent) {
			tell(e)
			if own != nil {
				own(e)
			}
		}
	}
	retry, err := resilience.NewRetry(o.Retry)
	if err != nil {
		return nil, err
	}
	return &Connector{inner, o, retry, o.Retry.Budget}, nil
}

// Connect makes a connection, trying again as Retry says.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	return resilience.Watch(ctx, c.options.Observer, c.options.Name, func(ctx context.Context) (driver.Conn, error) {
		return resilience.Do(ctx, c.retry, func(ctx context.Context) (driver.Conn, error) {
			leave, err := c.enter(ctx)
			if err != nil {
				return nil, err
			}
			inner, err := c.inner.Connect(ctx)
			leave(c.blame(err))
			if err != nil {
				return nil, err
			}
			return &conn{inner: inner, connector: c}, nil
		})
	})
}

// Driver is that of the inner connector.
func (c *Connector) Driver() driver.Driver { return c.inner.Driver() }

// Close closes the inner connector, where it can be.
func (c *Connector) Close() error {
	if closer, ok := c.inner.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// enter passes the gates.
func (c *Connector) enter(ctx context.Context) (func(error), error) {
	leave, err := resilience.EnterAll(ctx, c.options.Gates...)
	if err != nil && c.options.Observer != nil && errors.Is(err, resilience.ErrRefused) {
		c.options.Observer(ctx, resilience.Event{Kind: resilience.EventRefusal, Name: c.options.Name, Err: err, Attempt: resilience.AttemptOf(ctx)})
	}
	return leave, err
}

// blame is what gates are told: nil where the database is not at fault.
func (c *Connector) blame(err error) error {
	if err != nil && !c.options.Lost(err) && !errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// again says whether a statement that has lost its connection may be made once more on another one, and takes that out of the
// budget. How long it takes is not known here; the budget's window counts it all the same.
func (c *Connector) again(ctx context.Context, statement string) bool {
	if resilience.AttemptOf(ctx) > 1 || ctx.Err() != nil {
		return false
	}
	if !isIdempotent(ctx) && (c.options.ReadOnly == nil || !c.options.ReadOnly(statement)) {
		return false
	}
	return c.spend()
}

// spend takes a retry out of the budget.
func (c *Connector) spend() bool {
	if !c.budget.TryRetry() {
		return false
	}
	c.budget.EndRetry()
	return true
}

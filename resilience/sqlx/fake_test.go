package sqlx

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/resilience"
)

// fake is a database: what each operation ("connect", "ping", "begin", "commit", "rollback", "prepare", or a statement) does, in turn,
// and what was done.
type fake struct {
	mu    sync.Mutex
	plan  map[string][]result
	did   []string
	conns int
	old   bool // a driver with nothing but what is demanded of one
}

// result is how one operation goes.
type result struct {
	err   error
	takes time.Duration
}

func (f *fake) do(ctx context.Context, what string) error {
	f.mu.Lock()
	f.did = append(f.did, what)
	var r result
	if plan := f.plan[what]; len(plan) > 0 {
		r, f.plan[what] = plan[0], plan[1:]
	}
	f.mu.Unlock()
	if r.takes > 0 {
		select {
		case <-time.After(r.takes):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return r.err
}

func (f *fake) Connect(ctx context.Context) (driver.Conn, error) {
	if err := f.do(ctx, "connect"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns++
	if f.old {
		return &oldConn{f}, nil
	}
	return &newConn{oldConn{f}}, nil
}

func (f *fake) Driver() driver.Driver { return nil }

// oldConn has what every connection must.
type oldConn struct{ f *fake }

func (c *oldConn) Prepare(text string) (driver.Stmt, error) {
	return &oldStmt{c.f, text}, c.f.do(context.Background(), "prepare")
}
func (c *oldConn) Begin() (driver.Tx, error) {
	return &fakeTx{c.f}, c.f.do(context.Background(), "begin")
}
func (c *oldConn) Close() error {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.f.conns--
	return nil
}

// newConn has all that one may.
type newConn struct{ oldConn }

func (c *newConn) Ping(ctx context.Context) error { return c.f.do(ctx, "ping") }
func (c *newConn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	return &fakeTx{c.f}, c.f.do(ctx, "begin")
}
func (c *newConn) ExecContext(ctx context.Context, text string, _ []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(1), c.f.do(ctx, text)
}
func (c *newConn) QueryContext(ctx context.Context, text string, _ []driver.NamedValue) (driver.Rows, error) {
	if err := c.f.do(ctx, text); err != nil {
		return nil, err
	}
	return &fakeRows{ctx: ctx, f: c.f}, nil
}
func (c *newConn) PrepareContext(ctx context.Context, text string) (driver.Stmt, error) {
	return &newStmt{oldStmt{c.f, text}}, c.f.do(ctx, "prepare")
}
func (c *newConn) ResetSession(context.Context) error { return nil }
func (c *newConn) IsValid() bool                      { return true }
func (c *newConn) CheckNamedValue(v *driver.NamedValue) error {
	if v.Value == "shout" {
		v.Value = "SHOUT"
		return nil
	}
	return driver.ErrSkip
}

type fakeTx struct{ f *fake }

func (t *fakeTx) Commit() error   { return t.f.do(context.Background(), "commit") }
func (t *fakeTx) Rollback() error { return t.f.do(context.Background(), "rollback") }

type oldStmt struct {
	f    *fake
	text string
}

func (s *oldStmt) Close() error  { return nil }
func (s *oldStmt) NumInput() int { return -1 }
func (s *oldStmt) Exec(args []driver.Value) (driver.Result, error) {
	for _, a := range args {
		if text, ok := a.(string); ok {
			s.f.do(context.Background(), "arg "+text)
		}
	}
	return driver.RowsAffected(1), s.f.do(context.Background(), s.text)
}
func (s *oldStmt) Query([]driver.Value) (driver.Rows, error) {
	return &fakeRows{ctx: context.Background(), f: s.f}, s.f.do(context.Background(), s.text)
}
func (s *oldStmt) ColumnConverter(int) driver.ValueConverter { return driver.String }

type newStmt struct{ oldStmt }

func (s *newStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	for _, a := range args {
		if text, ok := a.Value.(string); ok {
			s.f.do(ctx, "arg "+text)
		}
	}
	return driver.RowsAffected(1), s.f.do(ctx, s.text)
}
func (s *newStmt) QueryContext(ctx context.Context, _ []driver.NamedValue) (driver.Rows, error) {
	if err := s.f.do(ctx, s.text); err != nil {
		return nil, err
	}
	return &fakeRows{ctx: ctx, f: s.f}, nil
}

// fakeRows are three, which cannot be read when their context has ended.
type fakeRows struct {
	ctx context.Context
	f   *fake
	n   int
}

func (r *fakeRows) Columns() []string { return []string{"n"} }
func (r *fakeRows) Close() error      { return nil }
func (r *fakeRows) Next(into []driver.Value) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if r.n++; r.n > 3 {
		return io.EOF
	}
	into[0] = int64(r.n)
	return r.f.do(r.ctx, "row")
}

func open(t testing.TB, f *fake, o Options) *sql.DB {
	t.Helper()
	if f.plan == nil {
		f.plan = map[string][]result{}
	}
	if o.Retry.Budget == nil {
		o.Retry.Budget = resilience.NewBudget(resilience.BudgetOptions{Min: 100})
	}
	connector, err := Wrap(f, o)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if f.conns != 0 {
			t.Errorf("%d connections stay open", f.conns)
		}
	})
	return db
}

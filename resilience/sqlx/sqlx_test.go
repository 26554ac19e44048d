package sqlx

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/resilience"
)

// stateError is one of the database's own.
type stateError string

func (e stateError) Error() string    { return "database: " + string(e) }
func (e stateError) SQLState() string { return string(e) }

var reset error = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}

func TestWhatIsTriedAgain(t *testing.T) {
	marked := Idempotent(context.Background())
	exec := func(ctx context.Context, db *sql.DB) error { _, err := db.ExecContext(ctx, "write"); return err }
	query := func(text string) func(context.Context, *sql.DB) error {
		return func(ctx context.Context, db *sql.DB) error {
			var n int
			return db.QueryRowContext(ctx, text).Scan(&n)
		}
	}
	prepared := func(ctx context.Context, db *sql.DB) error {
		s, err := db.PrepareContext(ctx, "write")
		if err != nil {
			return err
		}
		defer s.Close()
		_, err = s.ExecContext(ctx)
		return err
	}
	inTx := func(ctx context.Context, db *sql.DB) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "write"); err != nil {
			_ = tx.Rollback()
			return err
		}
		return tx.Commit()
	}
	bad := func(err error, n int) []result {
		all := make([]result, n)
		for i := range all {
			all[i].err = err
		}
		return all
	}
	tests := []struct {
		name string
		ctx  context.Context
		do   func(context.Context, *sql.DB) error
		plan map[string][]result
		want error
		did  string
	}{
		{"all is well", context.Background(), exec, nil, nil, "connect write"},
		{"connecting, until it works", context.Background(), exec, map[string][]result{"connect": bad(reset, 2)}, nil, "connect connect connect write"},
		{"connecting, in vain", context.Background(), exec, map[string][]result{"connect": bad(reset, 9)}, reset, "connect connect connect"},
		{"connecting with a wrong password", context.Background(), exec, map[string][]result{"connect": bad(stateError("28P01"), 9)}, stateError("28P01"), "connect"},
		{"connecting while it starts", context.Background(), exec, map[string][]result{"connect": bad(stateError("57P03"), 1)}, nil, "connect connect write"},
		{"a write that may have been done", context.Background(), exec, map[string][]result{"write": bad(reset, 1)}, reset, "connect write"},
		{"a write that was not done, says the driver", context.Background(), exec, map[string][]result{"write": bad(driver.ErrBadConn, 1)}, nil, "connect write connect write"},
		{"a write that may be made twice", marked, exec, map[string][]result{"write": bad(reset, 1)}, nil, "connect write connect write"},
		{"the same in vain", marked, exec, map[string][]result{"write": bad(reset, 9)}, reset, "connect write connect write connect write"},
		{"the same in an outer retry", resilience.WithAttempt(marked, 2), exec, map[string][]result{"write": bad(reset, 9)}, reset, "connect write"},
		{"a wrong write", marked, exec, map[string][]result{"write": bad(stateError("23505"), 1)}, stateError("23505"), "connect write"},
		{"a read", context.Background(), query("select 1"), map[string][]result{"select 1": bad(io.ErrUnexpectedEOF, 1)}, nil, "connect select 1 connect select 1 row"},
		{"a read that locks", context.Background(), query("select 1 for update"), map[string][]result{"select 1 for update": bad(reset, 1)}, reset, "connect select 1 for update"},
		{"prepared", marked, prepared, map[string][]result{"write": bad(reset, 1)}, nil, "connect prepare write connect prepare write"},
		{"a transaction's beginning", context.Background(), inTx, map[string][]result{"begin": bad(reset, 1)}, nil, "connect begin connect begin write commit"},
		{"a transaction's middle", marked, inTx, map[string][]result{"write": bad(reset, 1)}, reset, "connect begin write rollback"},
		{"the same, says the driver", marked, inTx, map[string][]result{"write": bad(driver.ErrBadConn, 1)}, driver.ErrBadConn, "connect begin write rollback"},
		{"a transaction's end", marked, inTx, map[string][]result{"commit": bad(reset, 1)}, reset, "connect begin write commit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{plan: tt.plan}
				limit := resilience.NewLimit(resilience.LimitOptions{Concurrency: 1})
				db := open(t, f, Options{ReadOnly: Selects, Gates: []resilience.Gate{limit}})
				err := tt.do(tt.ctx, db)
				did := strings.Join(f.did, " ")
				if !errors.Is(err, tt.want) || did != tt.did {
					t.Errorf("%v after %s; want %v after %s", err, did, tt.want, tt.did)
				}
				if s := limit.Snapshot(); s.InUse != 0 {
					t.Errorf("left as %+v", s)
				}
				if err := db.Ping(); err != nil && !strings.Contains(tt.name, "connecting") {
					t.Errorf("a ping afterwards: %v", err)
				}
			})
		})
	}
}

func TestRetriesKeepToTheBudget(t *testing.T) {
	f := &fake{plan: map[string][]result{}}
	budget := resilience.NewBudget(resilience.BudgetOptions{Ratio: 0.1, Min: 1})
	db := open(t, f, Options{Retry: resilience.RetryOptions{Budget: budget}})
	for range 100 {
		f.plan["write"] = []result{{err: reset}, {err: reset}, {err: reset}}
		_, _ = db.ExecContext(Idempotent(t.Context()), "write")
	}
	writes := 0
	for _, what := range f.did {
		writes += strings.Count(what, "write")
	}
	// Every connection and statement counts as a request, and what database/sql makes again as one more.
	if retries := writes - 100; retries < 10 || retries > 40 {
		t.Errorf("%d retries for 100 statements: %+v", retries, budget.Snapshot())
	}
}

// TestTransactionIsOneUnit: it is let in or refused as a whole, stays inside until it ends, and tells the breaker once.
func TestTransactionIsOneUnit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{plan: map[string][]result{}}
		limit := resilience.NewLimit(resilience.LimitOptions{Concurrency: 1})
		breaker := resilience.NewBreaker(resilience.BreakerOptions{Consecutive: 1})
		var told []string
		db := open(t, f, Options{Gates: []resilience.Gate{limit, breaker}, Name: "db", Observer: func(_ context.Context, e resilience.Event) {
			told = append(told, fmt.Sprint(e.Kind, " ", e.Reason(), " ", e.Took))
		}})
		ctx := t.Context()
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if s := limit.Snapshot(); s.InUse != 1 {
			t.Errorf("a transaction that is on: %+v", s)
		}
		if _, err := db.BeginTx(ctx, nil); !errors.Is(err, resilience.ErrLimited) {
			t.Errorf("another one: %v", err)
		}
		breaker.Isolate()
		for range 3 {
			if _, err := tx.ExecContext(ctx, "write"); err != nil {
				t.Errorf("refused in the middle: %v", err)
			}
		}
		breaker.Reset()
		time.Sleep(time.Minute)
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		if limit.Snapshot().InUse != 0 || breaker.State() != resilience.Closed {
			t.Error("left", limit.Snapshot(), breaker.State())
		}
		f.plan["write"] = []result{{err: stateError("23505")}, {err: reset}}
		for _, want := range []resilience.BreakerState{resilience.Closed, resilience.Open} {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = tx.ExecContext(ctx, "write")
			_ = tx.Rollback()
			if breaker.State() != want {
				t.Errorf("%v, want %v", breaker.State(), want)
			}
		}
		if limit.Snapshot().InUse != 0 || told[len(told)-1] != "call failed 0s" || !strings.Contains(fmt.Sprint(told), "call ok 1m0.") {
			t.Errorf("left %+v, told %q", limit.Snapshot(), told)
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := []result{{takes: time.Hour}, {takes: time.Hour}, {takes: time.Hour}}
		f := &fake{plan: map[string][]result{"write": slow, "select": slow, "ping": slow, "prepare": slow, "row": {{takes: time.Minute}}}}
		db := open(t, f, Options{Timeout: time.Second})
		ctx := t.Context()
		ops := map[string]func() error{
			"exec":    func() error { _, err := db.ExecContext(ctx, "write"); return err },
			"query":   func() error { _, err := db.QueryContext(ctx, "select"); return err },
			"ping":    func() error { return db.PingContext(ctx) },
			"prepare": func() error { _, err := db.PrepareContext(ctx, "x"); return err },
		}
		for name, op := range ops {
			begun := time.Now()
			if err := op(); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
				t.Errorf("%s: %v after %v", name, err, time.Since(begun))
			}
		}
		result, err := db.QueryContext(ctx, "rows") // the first answer is there at once; reading may take its time
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for result.Next() {
			n++
		}
		if err := result.Close(); n != 3 || err != nil || result.Err() != nil {
			t.Errorf("%d rows, %v, %v", n, err, result.Err())
		}
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		f.plan["write"] = slow
		if _, err := db.ExecContext(short, "write"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller's own deadline: %v", err)
		}
		f.plan["connect"] = slow
		db.SetMaxIdleConns(0)
		if err := db.PingContext(ctx); !errors.Is(err, context.DeadlineExceeded) || !resilience.GaveUp(err) {
			t.Errorf("connecting: %v", err)
		}
	})
}

// TestOldAndNewDrivers: a driver with only what is demanded works as it does without a wrapper, and one with everything has all of it used.
func TestOldAndNewDrivers(t *testing.T) {
	for _, old := range []bool{true, false} {
		f := &fake{old: old}
		db := open(t, f, Options{})
		bare := sql.OpenDB(f)
		var did []string
		for _, d := range []*sql.DB{db, bare} {
			f.did = nil
			if err := d.Ping(); err != nil {
				t.Error(err)
			}
			if _, err := d.Exec("write", "shout"); err != nil {
				t.Error(err)
			}
			result, err := d.Query("read")
			if err != nil {
				t.Fatal(err)
			}
			types, err := result.ColumnTypes()
			if err != nil || len(types) != 1 || types[0].ScanType().String() != "interface {}" || result.NextResultSet() {
				t.Errorf("%v, %v", types, err)
			}
			if _, ok := types[0].Length(); ok {
				t.Error("knows a length")
			}
			if _, ok := types[0].Nullable(); ok {
				t.Error("knows what may be null")
			}
			if _, _, ok := types[0].DecimalSize(); ok || types[0].DatabaseTypeName() != "" {
				t.Error("knows more than the driver")
			}
			_ = result.Close()
			s, err := d.Prepare("prepared")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Exec("shout"); err != nil {
				t.Error(err)
			}
			if result, err := s.Query(); err != nil {
				t.Error(err)
			} else {
				_ = result.Close()
			}
			_ = s.Close()
			tx, err := d.BeginTx(context.Background(), &sql.TxOptions{ReadOnly: true})
			if (err != nil) != old {
				t.Errorf("a read-only transaction: %v", err)
			}
			if tx != nil {
				_ = tx.Rollback()
			}
			if tx, err := d.Begin(); err != nil {
				t.Error(err)
			} else if err := tx.Rollback(); err != nil {
				t.Error(err)
			}
			did = append(did, strings.Join(f.did, ", "))
		}
		if did[0] != did[1] {
			t.Errorf("old %v: with the policies %s, without %s", old, did[0], did[1])
		}
		_ = bare.Close()
	}
}

func TestUnwrap(t *testing.T) {
	f := &fake{}
	db := open(t, f, Options{})
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.Raw(func(own any) error {
		if _, ok := own.(interface{ Unwrap() driver.Conn }).Unwrap().(*newConn); !ok {
			return errors.New("not the driver's own")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestClassification(t *testing.T) {
	tests := []struct {
		err                     error
		lost, broken, retryable bool
	}{
		{nil, false, false, false},
		{driver.ErrBadConn, true, true, true},
		{io.EOF, true, true, true},
		{reset, true, true, true},
		{context.DeadlineExceeded, true, false, true},
		{context.Canceled, false, false, false},
		{sql.ErrNoRows, false, false, true},
		{stateError("23505"), false, false, false},
		{stateError("28P01"), false, false, false},
		{stateError("57P01"), true, true, true},
		{stateError("57014"), false, false, false},
		{stateError("53300"), true, false, true},
		{stateError("25006"), true, false, true},
		{stateError("XX000"), true, false, true},
		{fmt.Errorf("wrapped: %w", stateError("08006")), true, true, true},
	}
	for _, tt := range tests {
		if l, b, r := Lost(tt.err), broken(tt.err), Retryable(tt.err); l != tt.lost || b != tt.broken || r != tt.retryable {
			t.Errorf("%v: lost %v, broken %v, retryable %v; want %v, %v, %v", tt.err, l, b, r, tt.lost, tt.broken, tt.retryable)
		}
	}
}

func TestSelects(t *testing.T) {
	tests := map[string]bool{
		"SELECT 1":                                              true,
		"  select *\n\tfrom t where a = $1;":                    true,
		"(select 1) union (select 2)":                           true,
		"values (1)":                                            true,
		"SHOW server_version":                                   true,
		"select * from t for update":                            false,
		"select * from t FOR\nSHARE":                            false,
		"select 1; delete from t":                               false,
		"select a into b from t":                                false,
		"select nextval('s')":                                   false,
		"select pg_advisory_lock(1)":                            false,
		"select 1 -- for update":                                false,
		"with x as (delete from t returning *) select * from x": false,
		"insert into t values (1)":                              false,
		"update t set a = 1":                                    false,
		"":                                                      false,
	}
	for statement, want := range tests {
		if got := Selects(statement); got != want {
			t.Errorf("%q only reads: %v", statement, got)
		}
	}
}

func TestWrapRefuses(t *testing.T) {
	if _, err := Wrap(&fake{}, Options{Retry: resilience.RetryOptions{Attempts: -1}}); err == nil {
		t.Error("took negative attempts")
	}
}

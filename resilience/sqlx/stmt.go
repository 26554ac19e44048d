package sqlx

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"reflect"
)

// stmt is a prepared statement.
type stmt struct {
	inner driver.Stmt
	conn  *conn
	text  string
}

// convertingStmt is one whose driver converts arguments in the old way, which database/sql takes another path for.
type convertingStmt struct {
	*stmt
	driver.ColumnConverter
}

func wrapStmt(s *stmt) driver.Stmt {
	if c, ok := s.inner.(driver.ColumnConverter); ok { //nolint:staticcheck // for drivers that have nothing newer
		return &convertingStmt{s, c}
	}
	return s
}

// Close closes the statement.
func (s *stmt) Close() error { return s.inner.Close() }

// NumInput is how many arguments it takes.
func (s *stmt) NumInput() int { return s.inner.NumInput() }

// CheckNamedValue is the driver's, of the statement or of the connection.
func (s *stmt) CheckNamedValue(v *driver.NamedValue) error {
	if inner, ok := s.inner.(driver.NamedValueChecker); ok {
		return inner.CheckNamedValue(v)
	}
	return s.conn.CheckNamedValue(v)
}

// ExecContext makes the statement.
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (result driver.Result, err error) {
	err = s.conn.statement(ctx, s.text, func(ctx context.Context) (err error) {
		ctx, answered, done := s.conn.within(ctx)
		defer done()
		if inner, ok := s.inner.(driver.StmtExecContext); ok {
			result, err = inner.ExecContext(ctx, args)
			return answered(err)
		}
		values, err := plain(args)
		if err == nil {
			result, err = s.inner.Exec(values) //nolint:staticcheck // for drivers that have nothing newer
		}
		return answered(err)
	})
	return result, err
}

// QueryContext makes the statement, which gives rows.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (result driver.Rows, err error) {
	err = s.conn.statement(ctx, s.text, func(ctx context.Context) (err error) {
		result, err = s.conn.query(ctx, func(ctx context.Context) (driver.Rows, error) {
			if inner, ok := s.inner.(driver.StmtQueryContext); ok {
				return inner.QueryContext(ctx, args)
			}
			values, err := plain(args)
			if err != nil {
				return nil, err
			}
			return s.inner.Query(values) //nolint:staticcheck // for drivers that have nothing newer
		})
		return err
	})
	return result, err
}

// Exec is ExecContext without one.
func (s *stmt) Exec(args []driver.Value) (driver.Result, error) {
	return s.ExecContext(context.Background(), named(args))
}

// Query is QueryContext without one.
func (s *stmt) Query(args []driver.Value) (driver.Rows, error) {
	return s.QueryContext(context.Background(), named(args))
}

func named(args []driver.Value) []driver.NamedValue {
	values := make([]driver.NamedValue, len(args))
	for i, v := range args {
		values[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return values
}

func plain(args []driver.NamedValue) ([]driver.Value, error) {
	values := make([]driver.Value, len(args))
	for i, v := range args {
		if v.Name != "" {
			return nil, errors.New("sql: driver does not support the use of Named Parameters")
		}
		values[i] = v.Value
	}
	return values, nil
}

// rows ends the time of its statement when it is closed.
type rows struct {
	driver.Rows
	conn *conn
	done context.CancelFunc
}

// Close closes the rows.
func (r *rows) Close() error {
	defer r.done()
	return r.Rows.Close()
}

// Next reads a row.
func (r *rows) Next(into []driver.Value) error {
	err := r.Rows.Next(into)
	if !errors.Is(err, io.EOF) {
		r.conn.note(err)
	}
	return err
}

// HasNextResultSet and the others are the driver's, or what database/sql takes a driver without them for.
func (r *rows) HasNextResultSet() bool {
	inner, ok := r.Rows.(driver.RowsNextResultSet)
	return ok && inner.HasNextResultSet()
}

// NextResultSet goes on to the next set of rows.
func (r *rows) NextResultSet() error {
	if inner, ok := r.Rows.(driver.RowsNextResultSet); ok {
		return inner.NextResultSet()
	}
	return io.EOF
}

// ColumnTypeScanType is the Go type of a column.
func (r *rows) ColumnTypeScanType(i int) reflect.Type {
	if inner, ok := r.Rows.(driver.RowsColumnTypeScanType); ok {
		return inner.ColumnTypeScanType(i)
	}
	return reflect.TypeFor[any]()
}

// ColumnTypeDatabaseTypeName is the database's name of a column's type.
func (r *rows) ColumnTypeDatabaseTypeName(i int) string {
	if inner, ok := r.Rows.(driver.RowsColumnTypeDatabaseTypeName); ok {
		return inner.ColumnTypeDatabaseTypeName(i)
	}
	return ""
}

// ColumnTypeLength is the length of a column's type.
func (r *rows) ColumnTypeLength(i int) (int64, bool) {
	if inner, ok := r.Rows.(driver.RowsColumnTypeLength); ok {
		return inner.ColumnTypeLength(i)
	}
	return 0, false
}

// ColumnTypeNullable is whether a column may be null.
func (r *rows) ColumnTypeNullable(i int) (nullable, ok bool) {
	if inner, ok := r.Rows.(driver.RowsColumnTypeNullable); ok {
		return inner.ColumnTypeNullable(i)
	}
	return false, false
}

// ColumnTypePrecisionScale is a decimal column's.
func (r *rows) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	if inner, ok := r.Rows.(driver.RowsColumnTypePrecisionScale); ok {
		return inner.ColumnTypePrecisionScale(i)
	}
	return 0, 0, false
}

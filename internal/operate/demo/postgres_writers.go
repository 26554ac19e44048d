package demo

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// writersPerNode times the number of nodes is how many clients write at once; each commits one row every writeEvery.
const (
	writersPerNode = 1
	writeEvery     = 15 * time.Millisecond
)

// The table that the writers fill. It has no key, so that a row that came to be twice shows. Each row says which server
// took it, and on which timeline: every promotion begins a new one.
const writesTable = `CREATE TABLE IF NOT EXISTS demo_writes (
	writer   int    NOT NULL,
	seq      bigint NOT NULL,
	node     text   NOT NULL DEFAULT host(inet_server_addr()),
	timeline bigint NOT NULL DEFAULT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint,
	at       timestamptz NOT NULL DEFAULT clock_timestamp())`

// rowID names a row; no other attempt to write ever uses it again.
type rowID struct {
	writer int
	seq    int64
}

// acknowledged is a row whose commit a client was told of.
type acknowledged struct {
	rowID
	begun, at time.Time // when the client sent it, and when it knew
	node      string    // address of the server that took it
	timeline  int64
}

// unknown is a row of which the client does not know: its connection broke, or an error came. An attempt to connect that
// failed has no row, and sequence 0.
type unknown struct {
	rowID
	at      time.Time
	problem string
}

// writers write rows through the nodes' listeners, and remember what they were told.
type writers struct {
	addresses []string // of the listeners
	password  string
	wg        sync.WaitGroup

	mu       sync.Mutex
	acks     []acknowledged
	unknowns []unknown
}

func newWriters(addresses []string, password string) *writers {
	return &writers{addresses: addresses, password: password}
}

// postgresConfig is how the demonstration connects: as the superuser, without a statement cache.
func postgresConfig(address, password string, timeout time.Duration) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=disable", address))
	if err != nil {
		return nil, err
	}
	c.Password, c.ConnectTimeout = password, timeout
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	return c, nil
}

// connect opens a session through a listener. It waits as long as a node holds clients while there is no primary.
func (w *writers) connect(ctx context.Context, address string) (*pgx.Conn, error) {
	c, err := postgresConfig(address, w.password, 35*time.Second)
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, c)
}

// prepare makes the table.
func (w *writers) prepare(ctx context.Context) error {
	conn, err := w.connect(ctx, w.addresses[0])
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // it has done its work
	_, err = conn.Exec(ctx, writesTable)
	return err
}

// start writes until ctx ends.
func (w *writers) start(ctx context.Context) {
	for i := range writersPerNode * len(w.addresses) {
		w.wg.Go(func() { w.write(ctx, i) })
	}
}

func (w *writers) wait() { w.wg.Wait() }

// lastWrite is how long a statement may still take when the writers are told to end: cut off it would leave it open whether
// its row is there.
const lastWrite = 3 * time.Second

// write is one client: it keeps one session, and opens another through the next listener when that breaks.
func (w *writers) write(until context.Context, id int) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(until))
	defer cancel()
	defer context.AfterFunc(until, func() { time.AfterFunc(lastWrite, cancel) })()
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}()
	seq, at := int64(0), id
	for due := time.Now(); sleepUntil(until, due); due = later(due.Add(writeEvery), time.Now()) {
		if conn == nil {
			var err error
			if conn, err = w.connect(ctx, w.addresses[at%len(w.addresses)]); err != nil {
				at++
				w.fail(ctx, unknown{rowID: rowID{id, 0}, at: time.Now(), problem: "connect: " + err.Error()})
				due = due.Add(100 * time.Millisecond)
				continue
			}
		}
		seq++
		a := acknowledged{rowID: rowID{id, seq}, begun: time.Now()}
		err := conn.QueryRow(ctx, "INSERT INTO demo_writes (writer, seq) VALUES ($1, $2) RETURNING node, timeline", id, seq).Scan(&a.node, &a.timeline)
		if a.at = time.Now(); err == nil {
			w.mu.Lock()
			w.acks = append(w.acks, a)
			w.mu.Unlock()
			continue
		}
		w.fail(ctx, unknown{rowID: a.rowID, at: a.at, problem: err.Error()})
		_ = conn.Close(context.WithoutCancel(ctx)) // it is broken, or on an instance that takes no writes
		conn = nil
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// fail remembers what went wrong, unless the demonstration's own end was it.
func (w *writers) fail(ctx context.Context, u unknown) {
	if ctx.Err() != nil {
		if u.seq > 0 {
			u.problem = ""
		} else {
			return
		}
	}
	w.mu.Lock()
	w.unknowns = append(w.unknowns, u)
	w.mu.Unlock()
}

// tally is what the writers did so far.
type tally struct {
	acknowledged, errors int
	last                 time.Time // the newest acknowledgement
	gap                  time.Duration
}

// tally sums up; the longest gap counts from the given time.
func (w *writers) tally(from time.Time) tally {
	acks, unknowns := w.records()
	t := tally{acknowledged: len(acks), errors: countErrors(unknowns, time.Time{}, time.Now())}
	if len(acks) > 0 {
		t.last = acks[len(acks)-1].at
		t.gap = longestGap(acks, from, time.Now())
	}
	return t
}

// records are the acknowledgements, in the order of their times, and the failures.
func (w *writers) records() ([]acknowledged, []unknown) {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortStableFunc(w.acks, func(a, b acknowledged) int { return a.at.Compare(b.at) })
	return slices.Clone(w.acks), slices.Clone(w.unknowns)
}

// row is a row as it was read back.
type row struct {
	rowID
	node     string
	timeline int64
}

// readBack reads all rows that there are, through any of the listeners.
func (w *writers) readBack(ctx context.Context) ([]row, error) {
	var err error
	for deadline, i := time.Now().Add(40*time.Second), 0; time.Now().Before(deadline) && ctx.Err() == nil; i++ {
		var rows []row
		if rows, err = w.readFrom(ctx, w.addresses[i%len(w.addresses)]); err == nil {
			return rows, nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return nil, fmt.Errorf("the rows could not be read back: %w", err)
}

func (w *writers) readFrom(ctx context.Context, address string) ([]row, error) {
	conn, err := w.connect(ctx, address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // it has done its work
	rows, err := conn.Query(ctx, "SELECT writer, seq, node, timeline FROM demo_writes")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (row, error) {
		var x row
		return x, r.Scan(&x.writer, &x.seq, &x.node, &x.timeline)
	})
}

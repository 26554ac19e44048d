package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// A door is one address at which clients are let in, and the machine it is on.
type door struct {
	node    string
	address string
}

// An acknowledgement is a row of which the server said that it is committed.
type acknowledgement struct {
	id    int64
	at    time.Time // when the client heard of it
	sent  time.Time
	node  string // that wrote it
	epoch int64  // in which
	wrote time.Time
}

// A failure is an error that a client saw.
type failure struct {
	at   time.Time
	via  string
	what string // connect, new, flight, idle
	err  error
}

// client writes through all doors at once and remembers what it was told.
type client struct {
	from  *machine
	user  string
	doors []door

	mu       sync.Mutex
	acks     []acknowledgement
	failures []failure
	unsure   []int64                  // rows of which it was not told what became of them
	slowest  map[string]time.Duration // new connections by door since the last reset
	idle     []idler
	stop     context.CancelFunc
	parts    sync.WaitGroup
}

type idler struct {
	via  string
	conn *pgx.Conn
}

const createSQL = `CREATE TABLE IF NOT EXISTS rows (id bigint PRIMARY KEY, node text NOT NULL, epoch bigint NOT NULL, wrote timestamptz NOT NULL)`

// The row says which instance wrote it, on which timeline (each promotion has its own), and when.
const insertSQL = `INSERT INTO rows SELECT $1, host(inet_server_addr()), ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint, clock_timestamp() RETURNING node, epoch, wrote`

func (c *client) connect(ctx context.Context, address string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(fmt.Sprintf("postgres://%s@%s/postgres?sslmode=disable", c.user, address))
	if err != nil {
		return nil, err
	}
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		return c.from.dial(ctx, network, address)
	}
	return pgx.ConnectConfig(ctx, cfg)
}

// ask runs a query that returns one value, through the first door that answers.
func (c *client) ask(ctx context.Context, dest any, query string) error {
	var all error
	for _, d := range c.doors {
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			conn, err := c.connect(ctx, d.address)
			if err != nil {
				return err
			}
			defer closeSoon(conn)
			if dest == nil {
				_, err := conn.Exec(ctx, query)
				return err
			}
			return conn.QueryRow(ctx, query).Scan(dest)
		}()
		if err == nil {
			return nil
		}
		all = errors.Join(all, err)
	}
	return all
}

func closeSoon(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = conn.Close(ctx)
}

// start begins to write, a worker through each door, and to open new sessions through each.
func (c *client) start(writers int) {
	ctx, stop := context.WithCancel(context.Background())
	c.stop, c.slowest = stop, map[string]time.Duration{}
	for i := range writers {
		d := c.doors[i%len(c.doors)]
		c.parts.Go(func() { c.write(ctx, d, int64(i+1)<<40) })
	}
	for _, d := range c.doors {
		c.parts.Go(func() { c.knock(ctx, d) })
	}
}

func (c *client) close() {
	if c.stop != nil {
		c.stop()
		c.parts.Wait()
	}
	c.dropIdle()
}

// write inserts a row after the other. A session that fails is replaced; a row that failed is not sent again.
func (c *client) write(ctx context.Context, d door, id int64) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			closeSoon(conn)
		}
	}()
	for ; ctx.Err() == nil; id++ {
		if conn == nil {
			try, cancel := context.WithTimeout(ctx, 20*time.Second)
			next, err := c.connect(try, d.address)
			cancel()
			if err != nil {
				c.failed(ctx, d, "connect", err)
				pause(ctx, 50*time.Millisecond)
				continue
			}
			conn = next
		}
		a := acknowledgement{id: id, sent: time.Now()}
		try, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := conn.QueryRow(try, insertSQL, id).Scan(&a.node, &a.epoch, &a.wrote)
		cancel()
		if err != nil {
			c.failed(ctx, d, "flight", err)
			c.mu.Lock()
			c.unsure = append(c.unsure, id)
			c.mu.Unlock()
			closeSoon(conn)
			conn = nil
			pause(ctx, 5*time.Millisecond)
			continue
		}
		a.at = time.Now()
		c.mu.Lock()
		c.acks = append(c.acks, a)
		c.mu.Unlock()
		pause(ctx, 5*time.Millisecond)
	}
}

// knock opens a new session now and then.
func (c *client) knock(ctx context.Context, d door) {
	for ctx.Err() == nil {
		began := time.Now()
		try, cancel := context.WithTimeout(ctx, 20*time.Second)
		conn, err := c.connect(try, d.address)
		cancel()
		if err != nil {
			c.failed(ctx, d, "new", err)
		} else {
			closeSoon(conn)
			c.mu.Lock()
			c.slowest[d.node] = max(c.slowest[d.node], time.Since(began))
			c.mu.Unlock()
		}
		pause(ctx, 200*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (c *client) failed(ctx context.Context, d door, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = append(c.failures, failure{time.Now(), d.node, what, err})
}

// rest opens sessions that do nothing until wakeIdle.
func (c *client) rest(each int) {
	c.dropIdle()
	for _, d := range c.doors {
		for range each {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			conn, err := c.connect(ctx, d.address)
			cancel()
			if err == nil {
				c.idle = append(c.idle, idler{d.node, conn})
			}
		}
	}
}

func (c *client) dropIdle() {
	for _, i := range c.idle {
		closeSoon(i.conn)
	}
	c.idle = nil
}

// wakeIdle uses the sessions that were idle over the fault, and counts those that fail.
func (c *client) wakeIdle() {
	for _, i := range c.idle {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		_, err := i.conn.Exec(ctx, "SELECT 1")
		cancel()
		if err != nil {
			c.failed(context.Background(), door{node: i.via}, "idle", err)
		}
	}
}

// since returns what was acknowledged and what failed after a time.
func (c *client) since(t time.Time) ([]acknowledgement, []failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := len(c.acks)
	for i > 0 && c.acks[i-1].at.After(t) {
		i--
	}
	j := len(c.failures)
	for j > 0 && c.failures[j-1].at.After(t) {
		j--
	}
	return slices.Clone(c.acks[i:]), slices.Clone(c.failures[j:])
}

// gap is the longest time without an acknowledgement, and when it began; until now counts.
func gap(acks []acknowledgement, from, to time.Time) (time.Duration, time.Time) {
	longest, began, last := time.Duration(0), from, from
	for _, a := range acks {
		if d := a.at.Sub(last); d > longest {
			longest, began = d, last
		}
		last = a.at
	}
	if d := to.Sub(last); d > longest {
		longest, began = d, last
	}
	return longest, began
}

// two is for how long two instances wrote rows that were acknowledged: the last of an earlier reign after the first of a
// later one. Times are the servers', which share a clock here.
func two(acks []acknowledgement) time.Duration {
	type reign struct {
		node  string
		epoch int64
	}
	type span struct{ first, last time.Time }
	reigns := map[reign]span{}
	for _, a := range acks {
		r := reign{a.node, a.epoch}
		s, ok := reigns[r]
		if !ok || a.wrote.Before(s.first) {
			s.first = a.wrote
		}
		if a.wrote.After(s.last) {
			s.last = a.wrote
		}
		reigns[r] = s
	}
	var spans []span
	for _, s := range reigns {
		spans = append(spans, s)
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first.UnixNano(), b.first.UnixNano()) })
	var worst time.Duration
	for i := 1; i < len(spans); i++ {
		for _, earlier := range spans[:i] {
			worst = max(worst, earlier.last.Sub(spans[i].first))
		}
	}
	return worst
}

// verify reads everything back: rows acknowledged and absent, and rows present although their statement failed.
func (c *client) verify(ctx context.Context) (lost, extra int, err error) {
	var conn *pgx.Conn
	for _, d := range c.doors {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		conn, err = c.connect(try, d.address)
		cancel()
		if err == nil {
			break
		}
	}
	if err != nil {
		return 0, 0, err
	}
	defer closeSoon(conn)
	c.mu.Lock()
	told := make(map[int64]bool, len(c.acks))
	for _, a := range c.acks {
		told[a.id] = true
	}
	unsure := slices.Clone(c.unsure)
	c.mu.Unlock()
	rows, err := conn.Query(ctx, "SELECT id FROM rows WHERE id < $1", int64(math.MaxInt64))
	if err != nil {
		return 0, 0, err
	}
	present, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return 0, 0, err
	}
	for _, id := range present {
		delete(told, id)
		if slices.Contains(unsure, id) {
			extra++
		}
	}
	return len(told), extra, nil
}

// briefly shortens an error to what distinguishes it.
func briefly(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i > 0 && len(text) > 80 {
		text = text[i+2:]
	}
	return text
}

package main

import (
	"context"
	"errors"
	"fmt"
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
	sent  time.Time // when the client asked, and
	at    time.Time // when it heard of the commit
	node  string    // that wrote it
	epoch int64     // in which
	wrote time.Time // by that machine's clock
}

// What a client was about when it saw an error.
type doing string

const (
	atWork     doing = "at work"        // a statement or a transaction
	idling     doing = "idle"           // the next query of a session that had nothing to do
	opening    doing = "opening"        // a new session
	reopening  doing = "reopening"      // one of those above after its error, again and again; not counted
	patienceOf       = 20 * time.Second // every client's, with everything
)

// A failure is an error that a client saw.
type failure struct {
	at   time.Time
	via  string
	what doing
	err  error
}

// client has sessions through all doors at once and remembers what they were told.
type client struct {
	from  *machine
	doors []door
	crew  crew

	next     int64 // of the writers' ranges of ids
	mu       sync.Mutex
	acks     []acknowledgement
	failures []failure
	acked    map[int64]string         // rows since forget that were acknowledged, and by whom
	unsure   map[int64]bool           // and those of which it was not told what became of them
	slowest  map[string]time.Duration // until a new session was open, by door
	opened   map[string]int           // new sessions tried, by door
	resting  map[string]int           // idle sessions, by door
	stop     context.CancelFunc
	parts    sync.WaitGroup
}

// crew is how many sessions of each kind there are through each door, beside one that comes and goes.
type crew struct {
	statements   int // commit row after row, a statement each
	transactions int // the same in BEGIN … COMMIT
	idle         int // send a query now and then
}

const createSQL = `CREATE TABLE IF NOT EXISTS rows (id bigint PRIMARY KEY, node text NOT NULL, epoch bigint NOT NULL, wrote timestamptz NOT NULL)`

// The row says which instance wrote it, on which timeline (each promotion has its own), and when.
const insertSQL = `INSERT INTO rows SELECT $1, host(inet_server_addr()), ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint, clock_timestamp() RETURNING node, epoch, wrote`

// Pauses between what the sessions do.
const (
	writePause = 10 * time.Millisecond
	openPause  = 200 * time.Millisecond
	idlePause  = 1500 * time.Millisecond
	retryPause = 50 * time.Millisecond
)

func newClient(from *machine, doors []door, crew crew) *client {
	return &client{from: from, doors: doors, crew: crew}
}

func (c *client) connect(ctx context.Context, address string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(fmt.Sprintf("postgres://%s@%s/postgres?sslmode=disable", clientUser, address))
	if err != nil {
		return nil, err
	}
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		return c.from.dial(ctx, network, address)
	}
	ctx, cancel := context.WithTimeout(ctx, patienceOf)
	defer cancel()
	return pgx.ConnectConfig(ctx, cfg)
}

// askAt runs a query that returns one value through one door.
func (c *client) askAt(ctx context.Context, d door, dest any, query string) error {
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
}

// ask does so through the first door that answers.
func (c *client) ask(ctx context.Context, dest any, query string) error {
	var all error
	for _, d := range c.doors {
		err := c.askAt(ctx, d, dest, query)
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

// start begins to work, and returns when every session has begun.
func (c *client) start(ctx context.Context) error {
	work, stop := context.WithCancel(context.Background())
	c.mu.Lock()
	c.acks, c.failures = nil, nil
	c.stop, c.slowest, c.opened, c.resting = stop, map[string]time.Duration{}, map[string]int{}, map[string]int{}
	c.mu.Unlock()
	for _, d := range c.doors {
		for i := range c.crew.statements + c.crew.transactions {
			insert := insertAlone
			if i >= c.crew.statements {
				insert = insertInTransaction
			}
			c.next++
			first := c.next << 32
			c.parts.Go(func() { c.write(work, d, first, insert) })
		}
		for i := range c.crew.idle {
			phase := idlePause * time.Duration(i+1) / time.Duration(c.crew.idle+1)
			c.parts.Go(func() { c.idle(work, d, phase) })
		}
		c.parts.Go(func() { c.open(work, d) })
	}
	return until(ctx, time.Minute, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, d := range c.doors {
			if c.resting[d.node] < c.crew.idle || c.opened[d.node] == 0 {
				return fmt.Errorf("not all sessions through %s are open", d.node)
			}
		}
		if want := 20 * len(c.doors); len(c.acks) < want {
			return fmt.Errorf("%d rows of %d are acknowledged", len(c.acks), want)
		}
		return nil
	})
}

// halt ends all sessions; those that are idle show first that they are still good.
func (c *client) halt() {
	if c.stop != nil {
		c.stop()
		c.parts.Wait()
	}
}

func (c *client) failed(ctx context.Context, d door, what doing, err error) {
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = append(c.failures, failure{time.Now(), d.node, what, err})
}

// told returns what was acknowledged and what failed after a time.
func (c *client) told(since time.Time) ([]acknowledgement, []failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := len(c.acks)
	for i > 0 && c.acks[i-1].at.After(since) {
		i--
	}
	j := len(c.failures)
	for j > 0 && c.failures[j-1].at.After(since) {
		j--
	}
	return slices.Clone(c.acks[i:]), slices.Clone(c.failures[j:])
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// briefly shortens an error to what distinguishes it.
func briefly(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i > 0 && len(text) > 80 {
		text = text[i+2:]
	}
	return text
}

package demo

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/operate/api"
)

// sight is what an instance itself says, asked past Backstay.
type sight struct {
	node     string
	answers  bool
	primary  bool
	position uint64   // how far it wrote, or received, its WAL, in bytes
	epoch    int64    // the newest that it knows
	standbys []string // that stream from it and count for acknowledgement
}

// observer looks at all instances ten times a second.
type observer struct {
	mu     sync.Mutex
	sights []sight
	turns  []turn
}

// turn is a moment at which redundancy was lost, or whole again.
type turn struct {
	at    time.Time
	whole bool
}

const (
	lookEvery = 100 * time.Millisecond
	lookFor   = 500 * time.Millisecond // after which an instance counts as not answering
)

// sightQuery asks an instance for all of it at once. Rows of pg_stat_replication are those of a primary.
const sightQuery = `SELECT NOT pg_is_in_recovery(),
	(CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) ELSE pg_current_wal_lsn() END - '0/0'::pg_lsn)::bigint,
	coalesce((SELECT max(epoch) FROM backstay.epoch), 0),
	coalesce((SELECT string_agg(application_name, ',' ORDER BY application_name) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('quorum', 'sync')), '')`

// observe looks until ctx ends.
func observe(ctx context.Context, nodes []*postgresNode, password string) *observer {
	o := &observer{sights: make([]sight, len(nodes))}
	for i, n := range nodes {
		o.sights[i].node = n.name
		go func() {
			var conn *pgx.Conn
			for due := time.Now(); sleepUntil(ctx, due); due = later(due.Add(lookEvery), time.Now()) {
				var s sight
				conn, s = look(ctx, conn, n, password)
				o.note(i, s, time.Now())
			}
			if conn != nil {
				_ = conn.Close(context.WithoutCancel(ctx))
			}
		}()
	}
	return o
}

// look asks one instance, over the session there is or a new one; it returns the session to use next, if any.
func look(ctx context.Context, conn *pgx.Conn, n *postgresNode, password string) (*pgx.Conn, sight) {
	s := sight{node: n.name}
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	if conn == nil {
		c, err := postgresConfig(n.instance, password, lookFor)
		if err != nil {
			return nil, s
		}
		if conn, err = pgx.ConnectConfig(ctx, c); err != nil {
			return nil, s
		}
	}
	var standbys string
	var position *int64
	if err := conn.QueryRow(ctx, sightQuery).Scan(&s.primary, &position, &s.epoch, &standbys); err != nil {
		_ = conn.Close(ctx)
		return nil, sight{node: n.name}
	}
	s.answers = true
	if position != nil {
		s.position = uint64(*position)
	}
	if standbys != "" {
		s.standbys = strings.Split(standbys, ",")
	}
	return conn, s
}

func (o *observer) note(i int, s sight, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sights[i] = s
	if now := whole(o.sights); len(o.turns) == 0 || o.turns[len(o.turns)-1].whole != now {
		o.turns = append(o.turns, turn{at, now})
	}
}

// whole says whether one instance is the primary, and all others answer and count for acknowledgement.
func whole(sights []sight) bool {
	primaries := 0
	for _, s := range sights {
		if !s.answers {
			return false
		}
		if s.primary {
			primaries++
			for _, other := range sights {
				if other.node != s.node && !slices.Contains(s.standbys, other.node) {
					return false
				}
			}
		}
	}
	return primaries == 1
}

func (o *observer) now() []sight {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.sights)
}

// primary is the node whose instance is the only one to take writes; empty while there is none, or more.
func (o *observer) primary() string {
	found := ""
	for _, s := range o.now() {
		if s.answers && s.primary {
			if found != "" {
				return ""
			}
			found = s.node
		}
	}
	return found
}

// standby is a node whose instance is a standby and answers.
func (o *observer) standby() string {
	for _, s := range o.now() {
		if s.answers && !s.primary {
			return s.node
		}
	}
	return ""
}

func (o *observer) history() []turn {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.turns)
}

// awaitWhole waits until redundancy is whole, and has been for a moment; false where it is not by then.
func (o *observer) awaitWhole(ctx context.Context, until time.Time) bool {
	for {
		turns := o.history()
		if n := len(turns); n > 0 && turns[n-1].whole && time.Since(turns[n-1].at) > 3*lookEvery {
			return true
		}
		if time.Now().After(until) || !sleepUntil(ctx, time.Now().Add(lookEvery)) {
			return false
		}
	}
}

// followAll follows the event logs of all nodes into one watcher, also across the restarts of their processes.
func followAll(ctx context.Context, nodes []*postgresNode) *watcher {
	w := &watcher{}
	for _, n := range nodes {
		go func() {
			client, since := api.Dial(n.socket), uint64(0)
			for due := time.Now(); sleepUntil(ctx, due); due = time.Now().Add(200 * time.Millisecond) {
				_ = client.Events(ctx, api.EventQuery{Follow: true, Since: since}, func(r event.Record) error { // the node may be dead
					since = r.Seq
					if !telling(r, n.name) {
						return nil
					}
					r.Node = n.name
					w.mu.Lock()
					defer w.mu.Unlock()
					w.records = append(w.records, r)
					return nil
				})
			}
		}()
	}
	return w
}

// telling leaves out what every node says of the others: one who tells it is enough.
func telling(r event.Record, node string) bool {
	switch kind, _, _ := strings.Cut(r.Kind, "."); kind {
	case "instance", "failover":
		return true
	case "service":
		return r.Kind == event.ServicePrimary && r.Member == node
	case "node":
		return true
	}
	return false
}

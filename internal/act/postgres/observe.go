package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay/backstay/internal/act/daemon"
	"github.com/backstay/backstay/internal/act/ledger"
	"github.com/backstay/backstay/internal/decide/plan"
)

// facts are what was seen last of a running instance. Position and timeline only grow within a life.
type facts struct {
	known     bool
	recovery  bool
	systemID  string
	position  uint64
	applied   uint64
	timeline  uint32
	streaming bool
	receiver  int // pid of the walreceiver
	syncNames string
	paused    bool
	standbys  []plan.Downstream
	failing   time.Time // since when it does not answer; zero when it does
	failure   string
	started   time.Time
	pending   []string  // settings that need a restart
	parted    time.Time // since when a standby with an upstream has no stream
}

// lookQuery is one look at everything. In recovery some functions must not be called, out of it others.
const cloning = "backstay clone" // what a copy calls itself: it must not count as a standby

const lookQuery = `SELECT json_build_object(
 'recovery', rec,
 'flush', CASE WHEN rec THEN 0 ELSE (pg_current_wal_flush_lsn() - '0/0')::bigint END,
 'timeline', CASE WHEN rec THEN 0 ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint END,
 'checkpoint_timeline', (SELECT timeline_id FROM pg_control_checkpoint()),
 'received', CASE WHEN rec THEN COALESCE((pg_last_wal_receive_lsn() - '0/0')::bigint, 0) ELSE 0 END,
 'replayed', CASE WHEN rec THEN COALESCE((pg_last_wal_replay_lsn() - '0/0')::bigint, 0) ELSE 0 END,
 'paused', CASE WHEN rec THEN pg_is_wal_replay_paused() ELSE false END,
 'receiver', (SELECT json_build_object('pid', pid, 'status', status, 'timeline', received_tli) FROM pg_stat_wal_receiver WHERE pid IS NOT NULL),
 'system', (SELECT system_identifier::text FROM pg_control_system()),
 'started', pg_postmaster_start_time(),
 'sync', current_setting('synchronous_standby_names'),
 'standbys', (SELECT json_agg(json_build_object('node', application_name, 'position', COALESCE((flush_lsn - '0/0')::bigint, 0), 'sync', sync_state IN ('sync','quorum')) ORDER BY application_name)
   FROM pg_stat_replication WHERE state IN ('streaming','catchup') AND application_name <> '` + cloning + `'))
FROM (SELECT pg_is_in_recovery() AS rec OFFSET 0) r`

type looked struct {
	Recovery           bool
	Flush              uint64
	Timeline           uint32
	CheckpointTimeline uint32 `json:"checkpoint_timeline"`
	Received           uint64
	Replayed           uint64
	Paused             bool
	Receiver           *struct {
		PID      int
		Status   string
		Timeline uint32
	}
	System   string
	Started  time.Time
	Sync     string
	Standbys []plan.Downstream
}

// A queryConn is the connection that looks are made on. One look at a time uses it.
type queryConn struct {
	mu   sync.Mutex
	conn *pgx.Conn
}

func (q *queryConn) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drop()
}

func (q *queryConn) drop() {
	if q.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_ = q.conn.Close(ctx)
		q.conn = nil
	}
}

func dialConfig(settings map[string]string, timeout time.Duration) (*pgx.ConnConfig, error) {
	words := make([]string, 0, len(settings))
	for k, v := range settings {
		words = append(words, k+"="+quoteWord(v))
	}
	cfg, err := pgx.ParseConfig(strings.Join(words, " "))
	if err != nil {
		return nil, err
	}
	cfg.ConnectTimeout = timeout
	cfg.RuntimeParams["client_encoding"] = "UTF8" // whatever an adopted database is in
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	return cfg, nil
}

// query runs do on the kept connection, opened when there is none; a broken one is dropped, so that the next has a new one.
func (e *Engine) query(ctx context.Context, timeout time.Duration, do func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	e.look.mu.Lock()
	defer e.look.mu.Unlock()
	if e.look.conn == nil || e.look.conn.IsClosed() {
		cfg, err := e.local(timeout)
		if e.look.conn, err = connect(ctx, cfg, err); err != nil {
			e.look.conn = nil
			return err
		}
	}
	err := do(ctx, e.look.conn)
	if err != nil && e.look.conn.IsClosed() {
		e.look.conn = nil
	}
	return err
}

// Observe says what the instance looks like now. It costs one query, or a few files of a stopped instance once.
func (e *Engine) Observe(ctx context.Context) (plan.Observation, error) {
	if err := e.init(); err != nil {
		return plan.Observation{Node: e.o.Node, Time: time.Now(), Role: plan.None, Problem: err.Error()}, err
	}
	p := e.process()
	var err error
	if p != nil {
		if s := statusOf(*p); s == ready || s == stopping {
			err = e.refresh(ctx)
		}
	}
	if e.process() == nil {
		return e.observeDown(), nil
	}
	return e.observeUp(p, err), nil
}

// refresh looks at the running instance and keeps what it sees.
func (e *Engine) refresh(ctx context.Context) error {
	e.mu.Lock()
	life := e.life
	e.mu.Unlock()
	var text string
	err := e.query(ctx, e.o.QueryTimeout, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, lookQuery, pgx.QueryExecModeCacheStatement).Scan(&text)
	})
	var l looked
	if err == nil {
		err = json.Unmarshal([]byte(text), &l)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.life != life {
		return errors.New("the instance was started anew meanwhile")
	}
	f := &e.seen
	if err != nil {
		if f.failing.IsZero() {
			f.failing = time.Now()
		}
		f.failure = plainError(err)
		return err
	}
	f.known, f.recovery, f.systemID, f.paused, f.syncNames = true, l.Recovery, l.System, l.Paused, l.Sync
	f.started = l.Started
	f.failing, f.failure = time.Time{}, ""
	f.position = max(f.position, l.Flush, l.Received, l.Replayed)
	f.timeline = max(f.timeline, l.Timeline, l.CheckpointTimeline)
	f.applied, f.standbys, f.streaming, f.receiver = l.Replayed, l.Standbys, false, 0
	if r := l.Receiver; r != nil {
		f.receiver = r.PID
		if f.streaming = r.Status == "streaming"; f.streaming {
			f.timeline = max(f.timeline, r.Timeline)
		}
	}
	switch {
	case f.streaming || !l.Recovery || e.state().Upstream == "":
		f.parted = time.Time{}
	case f.parted.IsZero():
		f.parted = time.Now()
	}
	return nil
}

// lookPending finds the settings that were changed and wait for a restart. It is asked for seldom: the server goes through
// all of its settings for it.
func (e *Engine) lookPending(ctx context.Context) {
	if !e.answers() {
		return
	}
	e.mu.Lock()
	life := e.life
	e.mu.Unlock()
	var names []string
	err := e.query(ctx, e.o.ProbeTimeout, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, "SELECT COALESCE(array_agg(name ORDER BY name), '{}') FROM pg_settings WHERE pending_restart").Scan(&names)
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil && e.life == life {
		e.seen.pending = names
	}
}

// observeUp is the observation of an instance that has a process.
func (e *Engine) observeUp(p *daemon.Process, failed error) plan.Observation {
	standby, st := exists(e.data("standby.signal")), e.state()
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.seen
	if f.known {
		standby = f.recovery
	}
	o := plan.Observation{
		Node: e.o.Node, Time: time.Now(), Running: true, Role: plan.Primary, SystemID: f.systemID, Timeline: f.timeline,
		Started: f.started, PendingRestart: f.pending, Position: f.position, Epoch: st.Held, Busy: e.ledger.Busy(),
	}
	if now := e.process(); now == nil || *now != *p {
		failed = errors.New("it was started anew")
	}
	answers := f.known && failed == nil
	if standby {
		o.Role, o.Applied, o.Upstream = plan.Standby, f.applied, st.Upstream
		if st.Fenced || st.Unaligned {
			o.Upstream = ""
		}
		o.Streaming = answers && f.streaming
	} else {
		o.Standbys, o.LastWrite = slices.Clone(f.standbys), e.probe.last
		o.SyncNames, o.SyncQuorum = parseSyncNames(f.syncNames)
		o.Writable = answers && e.probe.problem == ""
	}
	if o.Problem = e.problem(o, f); o.Problem == "" {
		o.Problem = fullDisk(e.o.DataPath, e.data("pg_wal"))
	}
	return o
}

// observeDown is the observation of an instance without a process.
func (e *Engine) observeDown() plan.Observation {
	e.mu.Lock()
	d, reading := e.down, e.reading
	e.mu.Unlock()
	st, busy, ending := e.state(), e.ledger.Busy(), e.sup.Ending()
	empty := !exists(e.data("PG_VERSION"))
	if d == nil {
		d = &downFacts{}
		if !empty && busy == "" { // a step at work may be replacing the files
			*d = e.readDown()
			e.mu.Lock()
			if e.reading == reading && e.process() == nil && e.ledger.Busy() == "" {
				e.down = d
			}
			e.mu.Unlock()
		}
	}
	o := plan.Observation{
		Node: e.o.Node, Time: time.Now(), Role: plan.None, Empty: empty, SystemID: d.systemID, Timeline: d.timeline, Position: d.position,
		Epoch: st.Held, Busy: busy, Problem: d.problem,
	}
	if !st.Fenced && !st.Unaligned {
		o.Upstream = st.Upstream
	}
	if st.Copying {
		o.Position, o.Problem = 0, ledger.ErrCopying.Error()
	}
	if o.Problem == "" && ending != "" {
		o.Problem = "PostgreSQL ended: " + ending
	}
	return o
}

// watching tells at once of a walreceiver that is gone, and keeps the log within its bound.
func (e *Engine) watching(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	slow := time.NewTicker(time.Minute)
	defer slow.Stop()
	down := time.NewTicker(time.Second)
	defer down.Stop()
	told := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-slow.C:
			if err := daemon.Rotate(e.logPath(), 64<<20); err != nil {
				e.log.Warn("cannot rotate the instance's log", "error", err)
			}
		case <-down.C: // one that was being started when the node process before this one was killed
			if e.process() == nil && e.ledger.Busy() == "" && e.sup.Adopt(false) {
				e.tell.Notify()
			}
		case <-tick.C:
			e.mu.Lock()
			pid := e.seen.receiver
			e.mu.Unlock()
			if pid != 0 && pid != told && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
				told = pid
				e.tell.Notify()
			}
		}
	}
}

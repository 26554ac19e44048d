package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/daemon"
	"github.com/backstay/backstay/internal/act/ledger"
)

// A status is what a postmaster says of itself in its lock file.
type status string

// Statuses.
const (
	recovering status = "standby" // recovers, and does not answer yet
	ready      status = "ready"   // answers
	stopping   status = "stopping"
)

// statusOf reads what the postmaster says of itself; empty where it has not said anything yet.
func statusOf(p daemon.Process) status {
	text, err := os.ReadFile(filepath.Join(p.Dir, "postmaster.pid"))
	lines := strings.Split(string(text), "\n")
	if err != nil || len(lines) < 8 || strings.TrimSpace(lines[0]) != strconv.Itoa(p.PID) {
		return ""
	}
	return status(strings.TrimSpace(lines[7]))
}

// Run lives as long as the node: it takes over a postmaster that still runs, probes, keeps slots in step, and stops the
// instance (fast) when ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	if err := ledger.Patiently(ctx, e.init); err != nil {
		return fmt.Errorf("postgres on %s: %w", e.o.Node, err)
	}
	e.tell.Notify()
	var loops sync.WaitGroup
	for _, loop := range []func(context.Context){e.probing, e.watching, e.keeping} {
		loops.Go(func() { loop(ctx) })
	}
	<-ctx.Done()
	loops.Wait()
	e.ledger.Close(func() { e.stopFast(context.WithoutCancel(ctx), e.o.StopTimeout) })
	e.look.close()
	return nil
}

// begun is told of a new postmaster.
func (e *Engine) begun() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = nil
	e.reading++
	e.life++
	e.proven = false
	e.seen = facts{systemID: e.seen.systemID, position: e.floor, timeline: e.seen.timeline}
	e.floor, e.probe = 0, probe{}
}

// ended is told that the postmaster is gone.
func (e *Engine) ended() {
	e.forget()
	e.mu.Lock()
	e.endedAt = time.Now()
	e.mu.Unlock()
	e.look.close()
}

// ours says whether it is a postmaster that launch has started. Its children call themselves otherwise.
func (e *Engine) ours(s daemon.Seen) bool {
	return s.Program == "postgres" && slices.Contains(s.Args, "config_file="+e.conf("postgresql.conf")) && !slices.Contains(s.Args, "--single")
}

// tools are the programs that work on files for the engine, and go on where its process is killed.
var tools = []string{"initdb", "pg_basebackup", "pg_rewind"}

// reap ends what an earlier node process has left at work on the files, which must not write to them behind our back, and
// the children of a postmaster that was killed, which keep a new one from starting.
func (e *Engine) reap(ctx context.Context) {
	_, err := daemon.Find(e.o.DataPath)
	alone := err != nil
	var left []daemon.Process
	for _, s := range daemon.Around(e.o.DataPath) {
		on := slices.ContainsFunc(s.Args, func(a string) bool { return a == e.o.DataPath || a == e.o.DataPath+".new" })
		tool := on && (slices.Contains(tools, s.Program) || s.Program == "postgres" && (slices.Contains(s.Args, "--single") || slices.Contains(s.Args, "--boot")))
		if tool || alone && s.Program == "postgres" && s.Dir != "" && !e.ours(s) {
			left = append(left, s.Process)
		}
	}
	if pids := daemon.Reap(ctx, left); len(pids) > 0 {
		e.tell.Record(act.EventForced, fmt.Sprintf("what a process that was killed had left at work on the data of %s was ended", e.o.Node), fmt.Sprintf("processes %v", pids), nil)
	}
}

// launch starts the postmaster and returns as soon as there is one; ready waits for it to answer.
func (e *Engine) launch() error {
	if e.process() != nil {
		return nil
	}
	if !exists(e.data("PG_VERSION")) {
		return fmt.Errorf("there is no data in %s to start: create or clone it", e.o.DataPath)
	}
	if e.sup.Adopt(false) {
		return nil
	}
	if err := e.sup.Foreign(); err != nil {
		return err
	}
	e.reap(context.Background())
	// Nobody works on the data: lock files are of the dead, even where another process has their pid by now, for which
	// PostgreSQL would take it and refuse to start.
	if err := errors.Join(e.removeData("postmaster.pid"), remove(filepath.Join(e.SocketDir(), fmt.Sprintf(".s.PGSQL.%d.lock", e.o.Port)))); err != nil {
		return err
	}
	if e.state().Copying {
		return ledger.ErrCopying
	}
	if err := errors.Join(e.wantsRoom(), e.configure(), e.scrub()); err != nil {
		return err
	}
	position, timeline := e.recoverable()
	e.mu.Lock()
	e.floor, e.seen.timeline = position, max(e.seen.timeline, timeline)
	e.mu.Unlock()
	cmd := e.command(context.Background(), "postgres", "-D", e.o.DataPath, "-c", "config_file="+e.conf("postgresql.conf"))
	if err := e.sup.Start(cmd, e.acc.Own); err != nil {
		return err
	}
	e.mu.Lock()
	e.proven = true // a new server begins with the set that is written
	e.mu.Unlock()
	return nil
}

// ready waits until the postmaster answers. Where it recovers for long it is left to that: a standby may need its
// upstream before it can answer.
func (e *Engine) ready(ctx context.Context) error {
	const recovery = 5 * time.Second
	const beginning = 2 * time.Minute // to find where to recover from; a standby whose files do not say waits for ever
	began := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		p := e.process()
		if p == nil {
			return fmt.Errorf("PostgreSQL ended while it started: %s", e.sup.Ending())
		}
		switch s := statusOf(*p); {
		case s == ready:
			return nil
		case s == recovering && time.Since(began) > recovery:
			return nil
		case s != recovering && time.Since(began) > beginning && exists(e.data("standby.signal")):
			return fmt.Errorf("the standby has not begun to recover in %v: %s", beginning, e.sup.LastWords())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer yet (%s): %w", statusOf(*p), ctx.Err())
		}
	}
}

// start runs the instance as it is on disk, and waits until it answers.
func (e *Engine) start(ctx context.Context) error {
	if err := e.launch(); err != nil {
		return err
	}
	return e.ready(ctx)
}

// stopFast ends the sessions and has all that is committed written out, for as long as the patience lasts.
func (e *Engine) stopFast(ctx context.Context, patience time.Duration) {
	e.look.close()
	e.sup.Stop(ctx, patience, func(_ context.Context, p daemon.Process) error { return p.Signal(syscall.SIGINT) })
}

// stopNow ends it as if the power went.
func (e *Engine) stopNow(ctx context.Context) {
	e.look.close()
	e.sup.Kill(ctx)
}

// reload writes the configuration and has the postmaster read it.
func (e *Engine) reload() error {
	if err := e.configure(); err != nil {
		return err
	}
	p := e.process()
	if p == nil {
		return act.ErrNotRunning
	}
	return p.Signal(syscall.SIGHUP)
}

var weighty = regexp.MustCompile(`(PANIC|FATAL): +.*`)

// lastWords returns the last fatal line of a log, which says why a server ended or does not stream.
func lastWords(log string) string {
	var best string
	for l := range strings.Lines(log) {
		m := weighty.FindString(l)
		if m == "" || strings.HasPrefix(best, "PANIC") && !strings.HasPrefix(m, "PANIC") {
			continue
		}
		best = strings.TrimSpace(m)
	}
	return best
}

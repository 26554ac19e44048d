package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/postgres/postmaster"
)

var errClosed = errors.New("the node is stopping")

// Run lives as long as the node: it takes over a postmaster that still runs, probes, keeps slots in step, and stops the
// instance (fast) when ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	if err := e.init(); err != nil {
		return fmt.Errorf("postgres on %s: %w", e.o.Node, err)
	}
	e.adopt()
	e.notify()
	done := make(chan struct{}, 3)
	for _, loop := range []func(context.Context){e.probing, e.watching, e.keeping} {
		go func() { loop(ctx); done <- struct{}{} }()
	}
	<-ctx.Done()
	for range 3 {
		<-done
	}
	e.mu.Lock()
	e.closed = true
	if e.step != nil {
		e.step.cancel(errClosed)
	}
	e.mu.Unlock()
	e.turn <- struct{}{}
	defer func() { <-e.turn }()
	e.stopProcess(context.WithoutCancel(ctx), syscall.SIGINT, e.o.StopTimeout)
	e.look.close()
	return nil
}

// adopt takes over a postmaster that an earlier node process left running.
func (e *Engine) adopt() {
	p, err := postmaster.Find(e.o.DataPath)
	if err != nil || e.process() != nil {
		return
	}
	gone := make(chan struct{})
	e.begin(p, gone, 0)
	e.record(EventStarted, fmt.Sprintf("%s was running already and was taken over", e.o.Node), fmt.Sprintf("postmaster %d", p.PID), nil)
	go func() { // it is not our child: look, do not wait
		for p.Alive() {
			time.Sleep(10 * time.Millisecond)
		}
		e.ended(p, gone, "")
	}()
}

// begin notes a new postmaster.
func (e *Engine) begin(p postmaster.Process, gone chan struct{}, recoverable uint64) {
	e.mu.Lock()
	e.proc, e.exited, e.stopped, e.ending, e.down = &p, gone, false, "", nil
	e.life++
	e.proven = false
	e.seen = facts{systemID: e.seen.systemID, position: recoverable, timeline: e.seen.timeline}
	e.probe = probe{}
	e.mu.Unlock()
}

// ended notes that the postmaster is gone.
func (e *Engine) ended(p postmaster.Process, gone chan struct{}, how string) {
	e.mu.Lock()
	ordered := e.stopped
	if e.proc != nil && *e.proc == p {
		e.proc, e.down = nil, nil
	}
	if !ordered {
		e.ending = endingWords(how, lastWords(e.logPath()))
	}
	ending := e.ending
	e.mu.Unlock()
	e.look.close()
	close(gone)
	if !ordered {
		e.record(EventEnded, fmt.Sprintf("PostgreSQL on %s ended by itself", e.o.Node), ending, nil)
	}
	e.notify()
}

// launch starts the postmaster and returns as soon as there is one; ready waits for it to answer.
func (e *Engine) launch() error {
	if e.process() != nil {
		return nil
	}
	if !exists(e.data("PG_VERSION")) {
		return fmt.Errorf("there is no data in %s to start: create or clone it", e.o.DataPath)
	}
	if p, err := postmaster.Find(e.o.DataPath); err == nil {
		return fmt.Errorf("postmaster %d, which Backstay did not start, runs on %s: stop it and disable its service", p.PID, e.o.DataPath)
	}
	if e.state().Torn {
		return errTorn
	}
	if err := errors.Join(e.configure(), e.scrub()); err != nil {
		return err
	}
	position, timeline := e.recoverable()
	if err := rotate(e.logPath(), 0); err != nil {
		return err
	}
	out, err := os.OpenFile(e.logPath(), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("log of the instance: %w", err)
	}
	defer out.Close()
	e.mu.Lock()
	acc := e.acc
	e.mu.Unlock()
	cmd := acc.command(context.Background(), e.tool("postgres"), "-D", e.o.DataPath, "-c", "config_file="+e.conf("postgresql.conf"))
	cmd.Cancel = nil
	cmd.Dir = e.o.DataPath // by which it is known from the first moment
	cmd.Stdout, cmd.Stderr = out, out
	if err := errors.Join(acc.own(e.logPath()), cmd.Start()); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	p, err := postmaster.Identify(cmd.Process.Pid, e.o.DataPath)
	if err != nil { // it is gone already
		return fmt.Errorf("PostgreSQL ended at once: %s", endingWords(exitWords(cmd.Wait()), lastWords(e.logPath())))
	}
	gone := make(chan struct{})
	e.begin(p, gone, position)
	e.mu.Lock()
	e.seen.timeline = max(e.seen.timeline, timeline)
	e.proven = true // a new server begins with the set that is written
	e.mu.Unlock()
	go func() { e.ended(p, gone, exitWords(cmd.Wait())) }()
	e.record(EventStarted, fmt.Sprintf("PostgreSQL on %s was started", e.o.Node), fmt.Sprintf("postmaster %d", p.PID), nil)
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
			e.mu.Lock()
			defer e.mu.Unlock()
			return fmt.Errorf("PostgreSQL ended while it started: %s", e.ending)
		}
		switch s := p.Status(); {
		case s == postmaster.Ready:
			return nil
		case s == postmaster.Standby && time.Since(began) > recovery:
			return nil
		case s != postmaster.Standby && time.Since(began) > beginning && exists(e.data("standby.signal")):
			return fmt.Errorf("the standby has not begun to recover in %v: %s", beginning, lastWords(e.logPath()))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer yet (%s): %w", p.Status(), ctx.Err())
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

// stopProcess ends the postmaster with the signal, or harder where that takes longer than the patience. What is gone is
// gone when it returns.
func (e *Engine) stopProcess(ctx context.Context, first syscall.Signal, patience time.Duration) {
	e.mu.Lock()
	p, gone := e.proc, e.exited
	if p != nil {
		e.stopped = true
	}
	e.mu.Unlock()
	if p == nil {
		return
	}
	e.look.close()
	if first == syscall.SIGINT { // fast, then immediate, then by force
		if err := p.Signal(first); err == nil && waitFor(ctx, gone, patience) {
			return
		}
		e.record(EventForced, fmt.Sprintf("PostgreSQL on %s did not stop within %v and is stopped at once", e.o.Node, patience), "", nil)
	}
	if p.Stop(ctx, syscall.SIGQUIT, time.Second) {
		e.record(EventForced, fmt.Sprintf("PostgreSQL on %s did not end when told and was killed", e.o.Node), fmt.Sprintf("postmaster %d", p.PID), nil)
	}
	<-gone
}

func waitFor(ctx context.Context, c <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
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

func exitWords(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.String()
	}
	if err != nil {
		return err.Error()
	}
	return "exit status 0"
}

func endingWords(how, words string) string {
	switch {
	case how == "":
		return words
	case words == "":
		return how
	}
	return how + "; its last words: " + words
}

var weighty = regexp.MustCompile(`(PANIC|FATAL): +.*`)

// lastWords returns the last fatal lines of a log, which say why a server ended or does not stream.
func lastWords(path string) string {
	var best string
	for _, l := range strings.Split(tailOf(path, 16<<10), "\n") {
		m := weighty.FindString(l)
		if m == "" || strings.HasPrefix(best, "PANIC") && !strings.HasPrefix(m, "PANIC") {
			continue
		}
		best = strings.TrimSpace(m)
	}
	return best
}

func tailOf(path string, n int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	text := make([]byte, min(n, info.Size()))
	if _, err := f.ReadAt(text, info.Size()-int64(len(text))); err != nil {
		return ""
	}
	return string(text)
}

// rotate keeps a log that others append to within its bound: one older file is kept beside it.
func rotate(path string, most int64) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() <= most {
		return nil
	}
	text := tailOf(path, 16<<20)
	if err := os.WriteFile(path+".1", []byte(text), 0o600); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	return os.Truncate(path, 0)
}

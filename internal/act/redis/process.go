package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/decide/plan"
)

// launch starts the server, following nobody, and waits until it has loaded its data. Where ctx ends before it is left to
// go on loading.
func (e *Engine) launch(ctx context.Context) error {
	if e.process() == nil {
		if err := e.start(); err != nil {
			return err
		}
	}
	return e.ready(ctx)
}

func (e *Engine) start() error {
	if s, ok := findServer(e.DataPath()); ok {
		return fmt.Errorf("redis-server %d, which Backstay did not start, runs on %s: stop it and disable its service", s.pid, e.DataPath())
	}
	if err := e.configure(); err != nil {
		return err
	}
	rotate(e.logPath(), 0)
	out, err := os.OpenFile(e.logPath(), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("log of the instance: %w", err)
	}
	defer out.Close()
	cmd := exec.Command(e.program, e.confPath())
	cmd.Dir = e.DataPath() // by which it is known from the first moment
	cmd.SysProcAttr = e.acc.Attributes()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start Redis: %w", err)
	}
	s, ok := identify(cmd.Process.Pid, e.DataPath())
	if !ok { // it is gone already
		return fmt.Errorf("Redis ended at once: %s", e.endingWords(cmd.Wait()))
	}
	gone := e.begin(s)
	go func() { e.ended(s, gone, e.endingWords(cmd.Wait())) }()
	e.record(EventStarted, fmt.Sprintf("Redis on %s was started", e.o.Node), fmt.Sprintf("process %d", s.pid), nil)
	return nil
}

// begin notes a new process.
func (e *Engine) begin(s server) (gone chan struct{}) {
	gone = make(chan struct{})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.proc, e.exited, e.stopped, e.ending = &s, gone, false, ""
	e.life++
	e.seen, e.probe, e.synced, e.loaded, e.failing = facts{}, probe{}, false, false, time.Time{}
	return gone
}

// ended notes that the process is gone.
func (e *Engine) ended(s server, gone chan struct{}, how string) {
	e.jot()
	e.mu.Lock()
	ordered := e.stopped
	if e.proc != nil && *e.proc == s {
		e.proc = nil
	}
	if !ordered {
		e.ending = how
	}
	e.mu.Unlock()
	e.look.drop()
	close(gone)
	if !ordered {
		e.record(EventEnded, fmt.Sprintf("Redis on %s ended by itself", e.o.Node), how, nil)
	}
	e.notify()
}

// adopt takes over a server that an earlier node process left running. One that is primary and should not be is told so
// before anything else.
func (e *Engine) adopt(ctx context.Context) {
	s, ok := findServer(e.DataPath())
	if !ok || e.process() != nil {
		return
	}
	gone := e.begin(s)
	e.record(EventStarted, fmt.Sprintf("Redis on %s was running already and was taken over", e.o.Node), fmt.Sprintf("process %d", s.pid), nil)
	go func() { // it is not our child: look, do not wait
		for s.alive() {
			time.Sleep(10 * time.Millisecond)
		}
		e.ended(s, gone, lastWords(e.logPath()))
	}()
	if err := e.refresh(ctx); err == nil && e.facts().master && e.ledger.State().Standby {
		if err := e.detach(ctx); err != nil {
			e.kill()
		}
	}
}

func (e *Engine) facts() facts {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seen
}

// ready waits until the server has loaded its data and keeps its append-only file.
func (e *Engine) ready(ctx context.Context) error {
	return poll(ctx, func() (bool, error) {
		if e.process() == nil {
			e.mu.Lock()
			defer e.mu.Unlock()
			return false, fmt.Errorf("Redis ended while it started: %s", e.ending)
		}
		if err := e.refresh(ctx); err != nil {
			if refused(err, "WRONGPASS") || refused(err, "NOAUTH") || refused(err, "ERR AUTH") {
				return false, err
			}
			return false, nil
		}
		f := e.facts()
		if f.loading && !f.syncing {
			return false, nil
		}
		if !f.logOn && !f.syncing && f.detached() {
			return false, e.command(ctx, "CONFIG", "SET", "appendonly", "yes")
		}
		return true, nil
	})
}

// orderTimeout is how long an instance may take to do what it is told, none of which takes it long. A fence depends on it.
const orderTimeout = time.Second

// command has the own instance do something.
func (e *Engine) command(ctx context.Context, words ...string) error {
	if e.process() == nil {
		return act.ErrNotRunning
	}
	return e.ask(ctx, orderTimeout, func(ctx context.Context, k *conn) error {
		_, err := k.do(ctx, words...)
		return err
	})
}

// kill ends the process at once.
func (e *Engine) kill() {
	e.mu.Lock()
	s, gone := e.proc, e.exited
	if s != nil {
		e.stopped = true
	}
	e.mu.Unlock()
	if s == nil {
		return
	}
	s.signal(syscall.SIGKILL)
	<-gone
}

// stop ends the process in good order, so that its position is known afterwards. A primary takes no more writes first, and
// its standbys get all there is.
func (e *Engine) stop(ctx context.Context) {
	e.mu.Lock()
	s, gone := e.proc, e.exited
	if s != nil {
		e.stopped = true
	}
	e.mu.Unlock()
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, e.o.StopTimeout)
	defer cancel()
	err := e.stepDown(ctx)
	if err == nil {
		err = e.settleAt()
	}
	if err == nil { // the connection is closed without an answer where it works
		// Redis would wait for its standbys to confirm, which they do once a second; they were asked already.
		err = e.command(ctx, "SHUTDOWN", "NOSAVE", "NOW")
		var r refusal
		if !errors.As(err, &r) {
			err = nil
		}
	}
	if err == nil {
		select {
		case <-gone:
			return
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	e.record(EventForced, fmt.Sprintf("Redis on %s could not be stopped in good order and was killed", e.o.Node), err.Error(), nil)
	s.signal(syscall.SIGKILL)
	<-gone
}

// settleAt notes where the instance, which takes nothing any more, is for good.
func (e *Engine) settleAt() error {
	e.mu.Lock()
	at, exact := e.whereabouts()
	r := rest{Origin: e.seen.originText, Position: at, Exact: exact}
	known := e.seen.known && e.loaded
	e.mu.Unlock()
	if !known {
		return nil
	}
	return e.note(r)
}

func (e *Engine) endingWords(err error) string {
	how := "exit status 0"
	if err != nil {
		how = err.Error()
	}
	if words := lastWords(e.logPath()); words != "" {
		how += "; its last words: " + words
	}
	return how
}

// weighty are Redis' warnings, which it marks with #, and errors of its configuration.
var weighty = regexp.MustCompile(`(?m)^(?:\d+:[A-Z] .*? # |\*\*\* )(.*)$`)

// lastWords returns the last warning of a log.
func lastWords(path string) string {
	all := weighty.FindAllStringSubmatch(tailOf(path, 8<<10), -1)
	for _, m := range slices.Backward(all) {
		if !strings.Contains(m[1], "Connection refused") && !strings.HasPrefix(m[1], "WARNING") {
			return strings.TrimSpace(m[1])
		}
	}
	return ""
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

// rotate keeps a log that Redis appends to within its bound: one older file is kept beside it.
func rotate(path string, most int64) {
	info, err := os.Stat(path)
	if err != nil || info.Size() <= most {
		return
	}
	if os.WriteFile(path+".1", []byte(tailOf(path, 16<<20)), 0o600) == nil {
		_ = os.Truncate(path, 0) // a log that cannot be shortened is still a log
	}
}

// poll looks until ok, often: what it waits for mostly takes milliseconds.
func poll(ctx context.Context, ok func() (bool, error)) error {
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func sortDownstreams(all []plan.Downstream) {
	slices.SortFunc(all, func(a, b plan.Downstream) int { return cmp.Compare(a.Node, b.Node) })
}

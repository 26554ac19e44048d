package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/daemon"
	"github.com/backstay/backstay/internal/decide/plan"
)

// pidFile is in Redis' folder; a guard looks for it there.
const pidFile = "redis.pid"

// launch starts the server, following nobody, and waits until it has loaded its data. Where ctx ends before it is left to
// go on loading.
func (e *Engine) launch(ctx context.Context) error {
	if !e.running() {
		if e.takeOver(ctx, false) {
			return e.ready(ctx)
		}
		if err := errors.Join(e.sup.Foreign(), e.configure()); err != nil {
			return err
		}
		if err := e.sup.Start(e.acc.Command(context.Background(), e.program, e.confPath()), func(string) error { return nil }); err != nil {
			return err
		}
	}
	return e.ready(ctx)
}

// begun is told of a new process.
func (e *Engine) begun() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.life++
	e.seen, e.probe, e.synced, e.loaded, e.failing = facts{}, probe{}, false, false, time.Time{}
}

// ended is told that the process is gone.
func (e *Engine) ended() {
	e.jot()
	e.look.drop()
}

// ours says whether it is a server, and not its child that writes a file.
func ours(s daemon.Seen) bool {
	return strings.HasPrefix(s.Program, "redis-") && strings.HasPrefix(filepath.Base(s.Args[0]), "redis-server")
}

// takeOver adopts a server that an earlier node process left running. One that is primary and should not be is told so
// before anything else.
func (e *Engine) takeOver(ctx context.Context, anyone bool) bool {
	if !e.sup.Adopt(anyone) {
		return false
	}
	if err := e.refresh(ctx); err == nil && e.facts().master && e.ledger.State().Standby {
		if err := e.detach(ctx); err != nil {
			e.sup.Kill(ctx)
		}
	}
	return true
}

func (e *Engine) facts() facts {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seen
}

// ready waits until the server has loaded its data and keeps its append-only file.
func (e *Engine) ready(ctx context.Context) error {
	return act.Poll(ctx, func() (bool, error) {
		if !e.running() {
			return false, fmt.Errorf("Redis ended while it started: %s", e.sup.Ending())
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
	if !e.running() {
		return act.ErrNotRunning
	}
	return e.ask(ctx, orderTimeout, func(ctx context.Context, k *conn) error {
		_, err := k.do(ctx, words...)
		return err
	})
}

// stop ends the process in good order, so that its position is known afterwards. A primary takes no more writes first, and
// its standbys get all there is.
func (e *Engine) stop(ctx context.Context) {
	e.sup.Stop(ctx, e.o.StopTimeout, func(ctx context.Context, _ daemon.Process) error {
		if err := e.stepDown(ctx); err != nil {
			return err
		}
		if err := e.settleAt(); err != nil {
			return err
		}
		// Redis would wait for its standbys to confirm, which they do once a second; they were asked already.
		err := e.command(ctx, "SHUTDOWN", "NOSAVE", "NOW")
		var r refusal
		if errors.As(err, &r) {
			return err
		}
		return nil // the connection is closed without an answer where it works
	})
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

// weighty are Redis' warnings, which it marks with #, and errors of its configuration.
var weighty = regexp.MustCompile(`(?m)^(?:\d+:[A-Z] .*? # |\*\*\* )(.*)$`)

// lastWords returns the last warning of a log.
func lastWords(log string) string {
	all := weighty.FindAllStringSubmatch(log, -1)
	for _, m := range slices.Backward(all) {
		if !strings.Contains(m[1], "Connection refused") && !strings.HasPrefix(m[1], "WARNING") {
			return strings.TrimSpace(m[1])
		}
	}
	return ""
}

func sortDownstreams(all []plan.Downstream) {
	slices.SortFunc(all, func(a, b plan.Downstream) int { return cmp.Compare(a.Node, b.Node) })
}

package redis

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/act/daemon"
	"github.com/backstay/backstay/internal/act/ledger"
)

// A probe is what is known of the probing write.
type probe struct {
	last    time.Time
	problem string
}

// Run lives as long as the node: it takes over a server that still runs, probes, watches, and stops the instance in good
// order when ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	if err := ledger.Patiently(ctx, e.init); err != nil {
		return fmt.Errorf("redis on %s: %w", e.o.Node, err)
	}
	e.tell.Notify()
	done := make(chan struct{}, 2)
	for _, loop := range []func(context.Context){e.probing, e.watching} {
		go func() { loop(ctx); done <- struct{}{} }()
	}
	<-ctx.Done()
	<-done
	<-done
	e.ledger.Close(func() { e.stop(context.WithoutCancel(ctx)) })
	e.look.drop()
	return nil
}

// probing writes once in a while, so that a primary is known to take writes and its data to be of this epoch.
func (e *Engine) probing(ctx context.Context) {
	tick := time.NewTicker(e.o.ProbeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			e.try(ctx)
		}
	}
}

func (e *Engine) try(ctx context.Context) {
	st, f := e.ledger.State(), e.facts()
	if !e.running() || !f.master || st.Standby || f.origin.Life == 0 {
		return
	}
	from := f.origin
	from.At = f.offset
	err := e.ask(ctx, e.o.ProbeTimeout, func(ctx context.Context, k *conn) error {
		return all(k.all(ctx, []string{"MULTI"}, []string{"SET", keyEpoch, fmt.Sprint(st.Reign)}, []string{"SET", keyOrigin, from.String()}, []string{"EXEC"}))
	})
	if err != nil && strings.Contains(err.Error(), "NOREPLICAS") {
		err = nil // it is well, and waits for standbys as it is told to
	}
	e.mu.Lock()
	before := e.probe.problem
	switch {
	case ctx.Err() != nil || refused(err, "READONLY"):
	case err != nil:
		e.probe.problem = "a write fails: " + err.Error()
	default:
		e.probe = probe{last: time.Now()}
	}
	news := e.probe.problem != before
	e.mu.Unlock()
	if news {
		e.tell.Notify()
	}
}

// watching looks often enough that a lost stream is told at once, notes how far the instance is, and tries again what an
// upstream that was away kept from being done.
func (e *Engine) watching(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if n%1200 == 0 {
			if err := e.aside.Tend(time.Now()); err != nil {
				e.log.Warn("what was put aside is not bounded", "error", err)
			}
			_ = daemon.Rotate(e.logPath(), 64<<20) // a log that cannot be shortened is still a log
		}
		if !e.running() {
			if n%20 == 0 && e.ledger.Busy() == "" { // one that was being started when the node process before this one was killed
				e.takeOver(ctx, false)
			}
			continue
		}
		if e.refresh(ctx) != nil {
			continue
		}
		e.tend()
		if n%5 == 0 {
			e.jot()
		}
		if st := e.ledger.State(); n%10 == 0 && st.Upstream != "" && st.Standby && e.facts().detached() && e.ledger.Busy() == "" {
			e.ledger.Beside(ctx, e.again)
		}
	}
}

// again tries what a step has ordered and could not do yet.
func (e *Engine) again(ctx context.Context) {
	st := e.ledger.State()
	if st.Upstream == "" || !st.Standby || !e.running() {
		return
	}
	if err := e.attach(ctx, st.Upstream, false); err != nil && ctx.Err() == nil {
		e.log.Debug("not attached yet", "upstream", st.Upstream, "error", err)
	}
}

package transport

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

// Bounds of the delay after a failed accept.
const (
	minAcceptDelay = 5 * time.Millisecond
	maxAcceptDelay = time.Second
	// limitPoll is how soon a limit that was raised is noticed while no connection ends.
	limitPoll = time.Second
)

// AcceptOptions say how Accept treats the connections of one listener.
type AcceptOptions struct {
	// Limit is asked before each connection how many there may be at once; nil, or a number below 1, is no bound.
	// While there are as many, accepting pauses and the kernel's queue holds the rest.
	Limit func() int
	// Handle serves one connection, in a goroutine of its own. The connection counts until it returns.
	// It must close the connection.
	Handle func(net.Conn)
	// OnPause is told when accepting begins to wait: "limit" or the Reason of the error; may be nil.
	OnPause func(reason string)
	// Log hears about trouble, once for each run of it.
	Log *slog.Logger
}

// Accept takes connections from ln until ctx is done or ln is closed, and returns nil then. It does not close ln, and
// does not wait for the connections it handed out: ln may be accepted from again. Want of descriptors or memory makes it
// wait, longer each time, never give up.
func Accept(ctx context.Context, ln net.Listener, o AcceptOptions) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.OnPause == nil {
		o.OnPause = func(string) {}
	}
	a := acceptor{AcceptOptions: o, ln: ln, freed: make(chan struct{}, 1)}
	interrupted := interrupt(ctx, ln)
	defer interrupted()
	for ctx.Err() == nil {
		if !a.room(ctx) {
			return nil
		}
		conn, err := ln.Accept()
		switch {
		case err == nil:
			a.serve(conn)
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			wait(ctx, minAcceptDelay, nil) // the one that accepted here before was interrupted, and tidies up
		default:
			a.failed(ctx, err)
		}
	}
	return nil
}

// interrupt wakes ln.Accept when ctx is done, and leaves ln usable: another may go on accepting.
func interrupt(ctx context.Context, ln net.Listener) (end func()) {
	d, ok := ln.(interface{ SetDeadline(time.Time) error })
	if !ok {
		return func() {}
	}
	var woken sync.WaitGroup
	woken.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer woken.Done()
		_ = d.SetDeadline(time.Unix(1, 0)) // fails only on a closed listener
	})
	return func() {
		if stop() {
			return
		}
		woken.Wait()
		_ = d.SetDeadline(time.Time{})
	}
}

type acceptor struct {
	AcceptOptions
	ln    net.Listener
	freed chan struct{} // a hint that a connection ended
	delay time.Duration // after the last failure; 0 while all is well
	held  bool          // at the limit, and OnPause was told

	mu   sync.Mutex
	live int
}

func (a *acceptor) serve(conn net.Conn) {
	if a.delay > 0 {
		a.Log.Info("accepting again", "address", a.ln.Addr().String())
		a.delay = 0
	}
	a.mu.Lock()
	a.live++
	a.mu.Unlock()
	go func() {
		defer a.done()
		a.Handle(conn)
	}()
}

func (a *acceptor) done() {
	a.mu.Lock()
	a.live--
	a.mu.Unlock()
	select {
	case a.freed <- struct{}{}:
	default:
	}
}

// room waits until the limit admits one more; false when ctx is done first.
func (a *acceptor) room(ctx context.Context) bool {
	if a.Limit == nil {
		return true
	}
	for {
		limit := a.Limit()
		a.mu.Lock()
		full := limit > 0 && a.live >= limit
		a.mu.Unlock()
		if !full {
			a.held = false
			return true
		}
		if !a.held {
			a.held = true
			a.OnPause("limit")
			a.Log.Debug("connection limit reached, accepting pauses", "address", a.ln.Addr().String(), "limit", limit)
		}
		if !wait(ctx, limitPoll, a.freed) {
			return false
		}
	}
}

// failed waits after a failed accept: doubling, jittered, bounded. The log hears of the first in a row only.
func (a *acceptor) failed(ctx context.Context, err error) {
	if Reason(err) == "reset" {
		return // the client was gone before it was accepted
	}
	if a.delay == 0 {
		a.delay = minAcceptDelay
		a.OnPause(Reason(err))
		a.Log.Warn("accepting failed, trying again", "address", a.ln.Addr().String(), "error", err)
	} else {
		a.delay = min(2*a.delay, maxAcceptDelay)
	}
	wait(ctx, a.delay/2+rand.N(a.delay/2+1), nil)
}

// wait sleeps for d, less when early fires; false when ctx is done.
func wait(ctx context.Context, d time.Duration, early <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-early:
	case <-t.C:
	}
	return ctx.Err() == nil
}

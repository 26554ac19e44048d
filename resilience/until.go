package resilience

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// until is a context with a deadline that makes the real one, with its timer, channel and place among its parent's children,
// only when somebody wants to be told of its end. Calls that are done before they wait for anything are spared most of it, and
// who only asks how much time is left, as what passes deadlines on does, needs none.
type until struct {
	parent   context.Context
	deadline time.Time
	made     atomic.Pointer[ending]

	mu    sync.Mutex
	ended bool // the call has returned
}

type ending struct {
	context.Context
	cancel context.CancelFunc
}

func newUntil(parent context.Context, d time.Duration) *until {
	u := &until{parent: parent, deadline: time.Now().Add(d)}
	if sooner, ok := parent.Deadline(); ok && sooner.Before(u.deadline) {
		u.deadline = sooner
	}
	return u
}

// make makes the real context.
func (u *until) make() *ending {
	if e := u.made.Load(); e != nil {
		return e
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if e := u.made.Load(); e != nil {
		return e
	}
	e := &ending{}
	if u.ended {
		e.Context, e.cancel = context.WithCancel(u.parent)
		e.cancel()
	} else {
		e.Context, e.cancel = context.WithDeadline(u.parent, u.deadline)
	}
	u.made.Store(e)
	return e
}

// end cancels it: the call has returned.
func (u *until) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended = true
	if e := u.made.Load(); e != nil {
		e.cancel()
	}
}

func (u *until) Deadline() (time.Time, bool) { return u.deadline, true }

func (u *until) Done() <-chan struct{} { return u.make().Done() }

func (u *until) Err() error {
	if u.made.Load() == nil && u.parent.Err() == nil && time.Until(u.deadline) > 0 {
		u.mu.Lock()
		ended := u.ended
		u.mu.Unlock()
		if !ended {
			return nil
		}
	}
	return u.make().Err() // has ended: from now on it says the same to all
}

// Value asks the real context, once there is one, so that contexts derived from this one find it among their ancestors and need
// no goroutine to be told of its end.
func (u *until) Value(key any) any {
	if e := u.made.Load(); e != nil {
		return e.Value(key)
	}
	return u.parent.Value(key)
}

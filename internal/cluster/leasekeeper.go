package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// LeaseOptions say which lease, for whom. Store, Key and Holder are required.
type LeaseOptions struct {
	Store  Store
	Key    string
	Holder string        // this node's name
	TTL    time.Duration // 3 s by default; a Profile has coherent ones
	Renew  time.Duration // between renewals; a quarter of TTL by default
	Margin time.Duration // by which the holder stops before TTL; an eighth of TTL by default
	// Sole asserts that no earlier process of this Holder can be alive (this one has the lock of the data directory,
	// and what the earlier one ran is stopped or adopted): a lease left behind by it is taken without waiting.
	Sole bool
	Log  *slog.Logger

	believes func(epoch uint64, deadline time.Time) // tests look here, with the mutex held: what is held, epoch 0: nothing
}

// A Lease is the time-limited right to be the one, with an epoch as fencing token. Take it, Run keeps it. The holder
// must act only while Held says so, and must have stopped by the deadline by itself.
type Lease struct {
	o       LeaseOptions
	changed chan struct{}
	wake    chan struct{}

	mu    sync.Mutex
	s     leaseState
	last  time.Time     // when the newest renewal was sent
	tries int           // renewals on their way
	moved chan struct{} // closed and replaced when the record changes, for Acquire
}

// A LeaseView is what a node knows of a lease at a moment.
type LeaseView struct {
	LeaseRecord
	Known    bool      // false until the store was read
	Since    time.Time // when this node first saw Counter as it is
	FreeAt   time.Time // from when it could take the lease if nothing changes
	Held     bool      // by this process, now
	Deadline time.Time // until when, if held
}

// NewLease returns a lease that nobody has taken yet here.
func NewLease(o LeaseOptions) *Lease {
	if o.TTL == 0 {
		o.TTL = 3 * time.Second
	}
	if o.Renew == 0 {
		o.Renew = o.TTL / 4
	}
	if o.Margin == 0 {
		o.Margin = o.TTL / 8
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Lease{
		o: o, changed: make(chan struct{}, 1), wake: make(chan struct{}, 1), moved: make(chan struct{}),
		s: leaseState{
			holder: o.Holder, session: rand.Text(), ttl: o.TTL, margin: o.Margin, sole: o.Sole,
			sent: map[uint64]time.Time{},
		},
	}
}

// Changed has a signal when the holder or the epoch changed, or the lease was won or lost here; for one reader.
func (l *Lease) Changed() <-chan struct{} { return l.changed }

// Held returns the epoch and the deadline if this process holds the lease now.
func (l *Lease) Held() (epoch uint64, deadline time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.s.held(time.Now()) {
		return 0, time.Time{}, false
	}
	return l.s.epoch, l.s.deadline, true
}

// View returns what is known now.
func (l *Lease) View() LeaseView {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := LeaseView{LeaseRecord: l.s.record, Known: l.s.known, Since: l.s.since}
	if v.Known {
		v.FreeAt = l.s.freeAt()
	}
	if v.Held = l.s.held(time.Now()); v.Held {
		v.Deadline = l.s.deadline
	}
	return v
}

// Take takes the lease and returns its epoch: the next one, or with epoch other than 0 the one that a Revoke opened
// (ErrStale where it is not open any more). ErrHeld where someone else may still hold it. A lease of ours is taken anew.
func (l *Lease) Take(ctx context.Context, epoch uint64) (uint64, error) {
	if err := l.look(ctx, false); err != nil {
		return 0, err
	}
	for fresh := false; ; {
		l.mu.Lock()
		if held := l.s.held(time.Now()); held && epoch != 0 && l.s.epoch == epoch {
			l.mu.Unlock()
			return epoch, nil
		}
		now := time.Now()
		r, err := l.s.take(epoch, now)
		previous := l.s.revision
		l.believe()
		l.last = now
		l.mu.Unlock()
		if err != nil && fresh {
			return 0, fmt.Errorf("lease %s: %w", l.o.Key, err)
		}
		if err != nil { // by what is known here; the store may know better
			if err := l.look(ctx, true); err != nil {
				return 0, err
			}
			fresh = true
			continue
		}
		err = l.put(ctx, r, previous)
		if got, _, ok := l.Held(); ok && got == r.Epoch {
			l.poke(l.wake)
			return got, nil
		}
		switch {
		case errors.Is(err, ErrConflict):
			if err := l.look(ctx, true); err != nil {
				return 0, err
			}
		case err != nil:
			l.drop()
			return 0, err
		default: // written, but the answer came after the deadline, or it was lost again meanwhile
			l.drop()
			return 0, fmt.Errorf("lease %s: %w: it was lost before the store answered", l.o.Key, ErrHeld)
		}
	}
}

// Acquire waits until the lease can be taken and takes it. It needs Run.
func (l *Lease) Acquire(ctx context.Context) (uint64, error) {
	for {
		l.mu.Lock()
		moved := l.moved
		l.mu.Unlock()
		epoch, err := l.Take(ctx, 0)
		if err == nil || ctx.Err() != nil || !errors.Is(err, ErrHeld) && !errors.Is(err, ErrUnavailable) {
			return epoch, err
		}
		wait := time.NewTimer(max(time.Until(l.View().FreeAt), l.o.Margin/8, time.Millisecond))
		select {
		case <-wait.C:
		case <-moved:
		case <-ctx.Done():
		}
		wait.Stop()
		if ctx.Err() != nil {
			return 0, err
		}
	}
}

// Release gives the lease back; from the call on it is not held here any more, whatever becomes of the write.
func (l *Lease) Release(ctx context.Context) error {
	for {
		l.mu.Lock()
		r, ours := l.s.release()
		previous := l.s.revision
		l.believe()
		l.mu.Unlock()
		l.poke(l.changed)
		if !ours {
			return nil
		}
		err := l.put(ctx, r, previous)
		if !errors.Is(err, ErrConflict) {
			return err
		}
		if err := l.look(ctx, true); err != nil {
			return err
		}
	}
}

// Revoke raises the epoch in the store and deposes the holder without waiting for its deadline: the caller's protocol
// must make sure that the old holder can do no harm before anyone takes the new epoch. It returns that epoch, which is
// open for Take. ErrStale where the epoch is not the one the caller has seen.
func (l *Lease) Revoke(ctx context.Context, epoch uint64) (uint64, error) {
	if err := l.look(ctx, true); err != nil {
		return 0, err
	}
	for {
		l.mu.Lock()
		r, err := l.s.revoke(epoch, l.o.Holder)
		previous := l.s.revision
		l.mu.Unlock()
		if err != nil {
			return 0, fmt.Errorf("lease %s: %w", l.o.Key, err)
		}
		err = l.put(ctx, r, previous)
		if err == nil {
			return r.Epoch, nil
		}
		if !errors.Is(err, ErrConflict) {
			return 0, err
		}
		if err := l.look(ctx, true); err != nil {
			return 0, err
		}
	}
}

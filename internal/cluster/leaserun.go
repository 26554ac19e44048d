package cluster

import (
	"context"
	"sync"
	"time"
)

// Run watches the record and renews it while the lease is to be kept. It does not release it at its end: a holder that
// stops in good order calls Release before.
func (l *Lease) Run(ctx context.Context) error {
	var renewals sync.WaitGroup
	defer renewals.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	updates := l.o.Store.Watch(ctx, l.o.Key)
	var fenced bool // the loss at the deadline was told
	for {
		fenced = l.fence(fenced)
		wait := time.NewTimer(l.next(fenced))
		select {
		case u, ok := <-updates:
			if !ok {
				wait.Stop()
				return nil
			}
			l.learn(u)
		case <-l.wake:
		case <-wait.C:
			if l.due() {
				renewals.Go(func() { l.renewOnce(ctx) })
			}
		}
		wait.Stop()
	}
}

// learn takes in what the watch brought.
func (l *Lease) learn(u Update) {
	found := false
	for _, c := range u.Changes {
		if c.Key != l.o.Key {
			continue
		}
		found = true
		if c.Deleted {
			l.see(LeaseRecord{}, Absent, c.Revision)
		} else if err := l.decode(c.KV); err != nil {
			l.o.Log.Error("lease unreadable", "key", l.o.Key, "error", err)
		}
	}
	if u.Reset && !found {
		l.see(LeaseRecord{}, Absent, u.Revision)
	}
}

// fence tells once that the deadline has passed without a renewal.
func (l *Lease) fence(told bool) bool {
	l.mu.Lock()
	lapsed := l.s.epoch != 0 && !l.s.held(time.Now())
	epoch := l.s.epoch
	l.mu.Unlock()
	if lapsed && !told {
		l.o.Log.Warn("lease not renewed in time: authority is given up", "key", l.o.Key, "epoch", epoch)
		l.poke(l.changed)
	}
	return lapsed
}

// next is how long until there is something to do.
func (l *Lease) next(fenced bool) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.s.keeping || !l.s.own() {
		return time.Hour
	}
	now := time.Now()
	at := l.last.Add(l.o.Renew)
	if l.tries > 0 {
		at = l.last.Add(2 * l.o.Renew)
	}
	if l.s.epoch != 0 && !fenced && l.s.deadline.Before(at) {
		at = l.s.deadline
	}
	return max(at.Sub(now), 0)
}

// due says whether a renewal is to be sent now. One whose answer is late is followed by another with a counter, and so
// a sending time, of its own: whichever the store has made, the deadline is counted from that one.
func (l *Lease) due() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.s.keeping || !l.s.own() {
		return false
	}
	wait := l.o.Renew
	if l.tries > 0 {
		wait = 2 * l.o.Renew
	}
	if time.Since(l.last) < wait {
		return false
	}
	l.last = time.Now()
	l.tries++
	return true
}

func (l *Lease) renewOnce(ctx context.Context) {
	l.mu.Lock()
	if !l.s.keeping || !l.s.own() {
		l.tries--
		l.mu.Unlock()
		return
	}
	r := l.s.renew(time.Now())
	previous := l.s.revision
	l.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, l.o.TTL)
	defer cancel()
	if err := l.put(ctx, r, previous); err != nil {
		l.o.Log.Debug("lease not renewed", "key", l.o.Key, "error", err)
		_ = l.look(ctx, true) // a conflict: who has it? No answer: the next renewal asks again
	}
	l.mu.Lock()
	l.tries--
	l.mu.Unlock()
	l.poke(l.wake)
}

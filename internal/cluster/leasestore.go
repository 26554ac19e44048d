package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// put writes a record and takes in the outcome.
func (l *Lease) put(ctx context.Context, r LeaseRecord, previous int64) error {
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	revision, err := l.o.Store.Put(ctx, l.o.Key, value, previous)
	if err == nil {
		l.see(r, revision, revision)
	}
	return err
}

// look reads the record; without again only if nothing is known yet.
func (l *Lease) look(ctx context.Context, again bool) error {
	l.mu.Lock()
	known, asOf := l.s.known, l.s.asOf
	l.mu.Unlock()
	if known && !again {
		return nil
	}
	kv, err := l.o.Store.Get(ctx, l.o.Key)
	if errors.Is(err, ErrNotFound) {
		l.see(LeaseRecord{}, Absent, asOf+1)
		return nil
	}
	if err != nil {
		return err
	}
	return l.decode(kv)
}

func (l *Lease) decode(kv KV) error {
	var r LeaseRecord
	if err := json.Unmarshal(kv.Value, &r); err != nil {
		return fmt.Errorf("lease %s: the record in the store is not one of a lease: %w", l.o.Key, err)
	}
	l.see(r, kv.Revision, kv.Revision)
	return nil
}

// see takes a record in and tells whoever wants to know.
func (l *Lease) see(r LeaseRecord, revision, asOf int64) {
	l.mu.Lock()
	now := time.Now()
	before, held, at := l.s.record, l.s.held(now), l.s.revision
	confirmed := l.s.see(r, revision, asOf, now)
	l.believe()
	tell := l.s.record.Holder != before.Holder || l.s.record.Epoch != before.Epoch || l.s.held(now) != held
	if l.s.revision != at {
		close(l.moved)
		l.moved = make(chan struct{})
	}
	l.mu.Unlock()
	if tell {
		l.poke(l.changed)
	}
	if tell || confirmed {
		l.poke(l.wake)
	}
}

// drop ends the wish to keep what a failed Take may still turn out to have taken; it lapses, or is taken anew.
func (l *Lease) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.s.lose()
	l.believe()
}

// believe shows a test what is held now; the caller holds the mutex.
func (l *Lease) believe() {
	if l.o.believes != nil {
		l.o.believes(l.s.epoch, l.s.deadline)
	}
}

func (l *Lease) poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

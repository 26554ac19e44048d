package event

import (
	"context"
	"fmt"
	"time"
)

// retryFile is how long writing rests after the file failed.
const retryFile = 5 * time.Second

// Open reads the last records of the file back, so that numbering goes on, and makes the file ready for Run. Call it before the
// first Append: records that are there already are numbered anew, after those of the file.
func (l *Log) Open() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opened || l.o.Path == "" {
		return nil
	}
	pending := l.since(0, 0)
	ring, base, last := l.ring, l.base, l.last
	l.ring, l.last = nil, 0
	err := l.file.readBack(l.o.Size, func(r Record) {
		if r.Seq <= l.last {
			return
		}
		if r.Seq != l.last+1 {
			l.ring = nil // after a hole: memory holds only what is without one
		}
		l.keep(bounded(r))
	})
	if err == nil {
		err = l.file.open()
	}
	if err != nil {
		l.ring, l.base, l.last = ring, base, last
		return fmt.Errorf("event log: %w; check that the folder of %s can be written to", err, l.o.Path)
	}
	l.opened, l.written = true, l.last
	for _, r := range pending {
		r.Seq = l.last + 1
		l.keep(r)
	}
	l.tell()
	return nil
}

// Sync waits until everything appended before is written to the file (not to the disk itself), or ctx ends.
func (l *Log) Sync(ctx context.Context) error {
	if l.o.Path == "" {
		return nil
	}
	l.mu.Lock()
	seq := l.last
	for l.written < seq {
		changed := l.wait()
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("event log: record %d is not written to %s: %w", seq, l.o.Path, context.Cause(ctx))
		}
		l.mu.Lock()
	}
	l.mu.Unlock()
	return nil
}

// Run writes records to the file until ctx ends, then writes what is left. Without a path it only waits. Trouble with the
// file does not end it: records stay in memory, as far as there is room, and are written once the file can be.
func (l *Log) Run(ctx context.Context) error {
	if l.o.Path == "" {
		<-ctx.Done()
		return nil
	}
	if err := l.Open(); err != nil {
		return err
	}
	failed := false
	for ctx.Err() == nil {
		changed, err := l.flush()
		if err != nil != failed {
			failed = err != nil
			l.report(err)
		}
		var again <-chan time.Time
		if err != nil {
			changed, again = nil, time.After(retryFile)
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
		}
	}
	if _, err := l.flush(); err != nil {
		l.report(err)
	}
	return l.file.Close()
}

func (l *Log) report(err error) {
	if err != nil {
		l.o.Log.Error("event log cannot be written; records are kept in memory meanwhile", "path", l.o.Path, "error", err)
		return
	}
	l.o.Log.Info("event log can be written again", "path", l.o.Path)
}

// flush writes what the file does not have yet, and returns a channel that is closed when there is more.
func (l *Log) flush() (<-chan struct{}, error) {
	for {
		l.mu.Lock()
		written := l.written
		l.mu.Unlock()
		records, changed := l.next(written, 64)
		if len(records) == 0 {
			return changed, nil
		}
		for _, r := range records {
			if err := l.file.write(r); err != nil {
				return nil, err
			}
			l.mu.Lock()
			l.written = r.Seq
			l.tell()
			l.mu.Unlock()
		}
	}
}

package event

import (
	"context"
	"fmt"
)

// Follow delivers every record with a Seq above seq, first those kept, then new ones as they come, until ctx ends; then
// the channel is closed. A reader slower than the log has room for finds a record of kind Gap in place of what it missed.
func (l *Log) Follow(ctx context.Context, seq uint64) <-chan Record {
	l.mu.Lock()
	seq = min(seq, l.last)
	l.mu.Unlock()
	out := make(chan Record, 16)
	go func() {
		defer close(out)
		l.feed(ctx, seq, out)
	}()
	return out
}

// feed needs no queue of its own: it reads the ring at its reader's pace, and what the ring no longer has is a gap.
func (l *Log) feed(ctx context.Context, seq uint64, out chan<- Record) {
	for {
		records, changed := l.next(seq, 64)
		for _, r := range records {
			select {
			case out <- r:
				seq = r.Seq
			case <-ctx.Done():
				return
			}
		}
		if len(records) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// next returns at most max records after seq, led by a gap record where some were overwritten; where there are none, a
// channel that is closed when that may have changed.
func (l *Log) next(seq uint64, max int) ([]Record, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	records := l.since(seq, max)
	if len(records) == 0 {
		return nil, l.wait()
	}
	if missed := records[0].Seq - seq - 1; missed > 0 {
		gap := Record{
			Seq: records[0].Seq - 1, Time: records[0].Time, Kind: Gap, Node: l.o.Node,
			Message: fmt.Sprintf("%d records before this one are no longer kept.", missed),
			Fields:  map[string]any{"missed": missed},
		}
		records = append([]Record{gap}, records...)
	}
	return records, nil
}

// wait returns a channel that is closed at the next change. The lock is held.
func (l *Log) wait() <-chan struct{} {
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
}

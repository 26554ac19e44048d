package event

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	defaultSize     = 4096
	defaultMaxBytes = 16 << 20
)

// Options configures a Log.
type Options struct {
	// Size is how many records are kept in memory; 4096 where not given.
	Size int
	// Path is a file that records are appended to as JSON lines; none where empty.
	Path string
	// MaxBytes is how large the file grows before it becomes Path + ".1", replacing the one before; 16 MiB where not given.
	MaxBytes int64
	// Node is put into records that name none.
	Node string
	// Log tells of trouble with the file.
	Log *slog.Logger
}

// Log is an append-only log of records. All methods may be called from any goroutine.
type Log struct {
	o Options

	mu      sync.Mutex
	ring    []Record      // grows to o.Size, then wraps: the record numbered seq is at (seq-base) % o.Size
	base    uint64        // Seq of the record that was put into the empty ring
	last    uint64        // Seq of the newest record, 0 before the first
	written uint64        // Seq up to which the file has everything, or tells of a gap
	opened  bool          // the file was read back
	changed chan struct{} // closed and replaced when last or written moves; nil while nobody waits
	file    file          // only Open and Run touch it
}

// NewLog returns an empty log. It touches no file: Open or Run does.
func NewLog(o Options) *Log {
	if o.Size <= 0 {
		o.Size = defaultSize
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Log{o: o, file: file{Lines{Path: o.Path, Max: o.MaxBytes}}}
}

// Append numbers the record, fills in Time and Node where they are empty, and keeps it. It never blocks on a file or a
// subscriber: the file is written by Run.
func (l *Log) Append(r Record) Record {
	r = bounded(r)
	if r.Node == "" {
		r.Node = l.o.Node
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	r.Seq = l.last + 1
	l.keep(r)
	l.tell()
	return r
}

// keep puts a record that follows the last one into the ring. The lock is held.
func (l *Log) keep(r Record) {
	if len(l.ring) == 0 {
		l.base = r.Seq
	}
	if len(l.ring) < l.o.Size {
		l.ring = append(l.ring, r)
	} else {
		l.ring[(r.Seq-l.base)%uint64(l.o.Size)] = r
	}
	l.last = r.Seq
}

// tell wakes everyone who waits for a change. The lock is held.
func (l *Log) tell() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// Since returns at most max records (all where max ≤ 0) with a Seq above seq, oldest first.
func (l *Log) Since(seq uint64, max int) []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since(seq, max)
}

func (l *Log) since(seq uint64, max int) []Record {
	n := l.last - min(seq, l.last)
	if kept := uint64(len(l.ring)); n > kept {
		n = kept
	}
	first := l.last - n + 1
	if max > 0 && n > uint64(max) {
		n = uint64(max)
	}
	if n == 0 {
		return nil
	}
	records := make([]Record, 0, n)
	for s := first; s < first+n; s++ {
		records = append(records, l.ring[(s-l.base)%uint64(l.o.Size)])
	}
	return records
}

// Last returns the newest n records, oldest first.
func (l *Log) Last(n int) []Record {
	if n <= 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since(l.last-min(uint64(n), l.last), 0)
}

// Subscribe delivers every record appended from now on; see Follow.
func (l *Log) Subscribe(ctx context.Context) <-chan Record {
	l.mu.Lock()
	last := l.last
	l.mu.Unlock()
	return l.Follow(ctx, last)
}

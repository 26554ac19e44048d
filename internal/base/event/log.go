package event

import (
	"context"
	"log/slog"
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
type Log struct{}

// NewLog returns an empty log. It touches no file: Open or Run does.
func NewLog(o Options) *Log { panic("not yet") }

// Append numbers the record, fills in Time and Node where they are empty, and keeps it. It never blocks on a file or a
// subscriber: the file is written by Run.
func (l *Log) Append(r Record) Record { panic("not yet") }

// Since returns at most max records (all where max ≤ 0) with a Seq above seq, oldest first.
func (l *Log) Since(seq uint64, max int) []Record { panic("not yet") }

// Last returns the newest n records, oldest first.
func (l *Log) Last(n int) []Record { panic("not yet") }

// Subscribe delivers every record appended from now on; see Follow.
func (l *Log) Subscribe(ctx context.Context) <-chan Record { panic("not yet") }

// Follow delivers every record with a Seq above seq, first those kept, then new ones as they come, until ctx ends; then
// the channel is closed. A reader slower than the log has room for finds a record of kind Gap in place of what it missed.
func (l *Log) Follow(ctx context.Context, seq uint64) <-chan Record { panic("not yet") }

// Open reads the last records of the file back, so that numbering goes on, and makes the file ready for Run. Call it before the
// first Append: records that are there already are numbered anew, after those of the file.
func (l *Log) Open() error { panic("not yet") }

// Sync waits until everything appended before is written to the file (not to the disk itself), or ctx ends.
func (l *Log) Sync(ctx context.Context) error { panic("not yet") }

// Run writes records to the file until ctx ends, then writes what is left. Without a path it only waits.
func (l *Log) Run(ctx context.Context) error { panic("not yet") }

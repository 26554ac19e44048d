package telemetry

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

const (
	batchBytes = 64 << 10        // written at once at most
	retryOpen  = 5 * time.Second // between two tries to open a file that cannot be
)

// Run writes queued lines until ctx ends, then those still queued.
func (a *AccessLog) Run(ctx context.Context) error {
	w := accessWriter{log: a}
	defer w.close()
	for {
		select {
		case <-a.changed:
			w.reopen()
		default:
		}
		select {
		case <-a.changed:
			w.reopen()
		case e := <-a.full:
			w.batch(e)
		case <-ctx.Done():
			for {
				select {
				case e := <-a.full:
					w.batch(e)
				default:
					return nil
				}
			}
		}
	}
}

// CheckAccessLog says whether the file of this configuration can be written, for staging a reload.
func CheckAccessLog(cfg config.AccessLog) error {
	if cfg.Path == "" || cfg.Mode == "" || cfg.Mode == "off" {
		return nil
	}
	f, err := openAccess(cfg.Path)
	if err != nil {
		return err
	}
	return f.Close()
}

func openAccess(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w: make the folder and let this user write there", path, err)
	}
	return f, nil
}

// accessWriter is the writing end; it belongs to Run.
type accessWriter struct {
	log    *AccessLog
	out    io.Writer // nil: not open
	file   *os.File  // what to close; nil for the standard output
	failed time.Time // when opening or writing last failed
	buf    []byte
	lines  uint64
}

// batch encodes an entry and those waiting behind it, and writes them at once.
func (w *accessWriter) batch(e *entry) {
	for e != nil {
		w.buf = e.appendJSON(w.buf)
		w.lines++
		w.log.give(e)
		e = nil
		if len(w.buf) < batchBytes {
			select {
			case e = <-w.log.full:
			default:
			}
		}
	}
	w.flush()
}

func (w *accessWriter) flush() {
	defer func() { w.buf, w.lines = w.buf[:0], 0 }()
	if err := w.open(); err != nil {
		w.lose(err)
		return
	}
	if w.out == nil {
		w.log.dropped.Add(w.lines)
		return
	}
	if _, err := w.out.Write(w.buf); err != nil {
		w.lose(fmt.Errorf("%w: lines are dropped until it can be written again", err))
		w.close()
		return
	}
	w.log.written.Add(w.lines)
}

// open opens what is configured, unless it is open or was tried a moment ago.
func (w *accessWriter) open() error {
	if w.out != nil || !w.failed.IsZero() && time.Since(w.failed) < retryOpen {
		return nil
	}
	path := w.log.cfg.Load().path
	if path == "" {
		w.out = w.log.o.Out
		return nil
	}
	f, err := openAccess(path)
	if err != nil {
		return err
	}
	w.out, w.file, w.failed = f, f, time.Time{}
	return nil
}

// lose counts the batch as dropped and says why.
func (w *accessWriter) lose(err error) {
	w.failed = time.Now()
	w.log.dropped.Add(w.lines)
	w.log.o.Log.Error("access log not written", "error", err)
}

// reopen lets the next line open the file at once, whatever came before.
func (w *accessWriter) reopen() {
	w.close()
	w.failed = time.Time{}
}

// close lets go of the file; the next line opens it again.
func (w *accessWriter) close() {
	if w.file != nil {
		if err := w.file.Close(); err != nil {
			w.log.o.Log.Error("access log not closed", "error", err)
		}
	}
	w.out, w.file = nil, nil
}

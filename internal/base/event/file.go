package event

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// bytesPerRecord is how much of a file is read back for each record that memory has room for.
const bytesPerRecord = 1024

// file is a log's file: JSON lines, and one older file beside it.
type file struct {
	path string
	max  int64
	f    *os.File
	size int64
}

func (f *file) old() string { return f.path + ".1" }

// open makes the file ready for write. A line that a crash left unfinished is ended, so that the next one stays whole.
func (f *file) open() error {
	if f.f != nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o750); err != nil {
		return err
	}
	h, err := os.OpenFile(f.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	size, err := endLine(h)
	if err != nil {
		return errors.Join(err, h.Close())
	}
	f.f, f.size = h, size
	return nil
}

// endLine returns the size of the file after making sure that it ends with a whole line.
func endLine(h *os.File) (int64, error) {
	info, err := h.Stat()
	if err != nil || info.Size() == 0 {
		return 0, err
	}
	last := make([]byte, 1)
	if _, err := h.ReadAt(last, info.Size()-1); err != nil || last[0] == '\n' {
		return info.Size(), err
	}
	_, err = h.Write([]byte{'\n'})
	return info.Size() + 1, err
}

// write appends one record. After an error the file is closed and opened anew by the next write.
func (f *file) write(r Record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err // not possible for a bounded record
	}
	line = append(line, '\n')
	if err := f.open(); err != nil {
		return err
	}
	if f.size > 0 && f.size+int64(len(line)) > f.max {
		if err := f.rotate(); err != nil {
			return err
		}
	}
	n, err := f.f.Write(line)
	f.size += int64(n)
	if err != nil {
		return errors.Join(err, f.close())
	}
	return nil
}

// rotate makes the file the old one and begins a new one.
func (f *file) rotate() error {
	if err := f.close(); err != nil {
		return err
	}
	if err := os.Rename(f.path, f.old()); err != nil {
		return err
	}
	return f.open()
}

func (f *file) close() error {
	if f.f == nil {
		return nil
	}
	h := f.f
	f.f, f.size = nil, 0
	return h.Close()
}

// readBack hands over the newest records of both files in order, about as many as asked for. Lines that are no records are left out.
func (f *file) readBack(records int, each func(Record)) error {
	budget := int64(records) * bytesPerRecord
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		budget -= info.Size()
	}
	if budget > 0 {
		if err := readTail(f.old(), budget, each); err != nil {
			return err
		}
	}
	return readTail(f.path, int64(records)*bytesPerRecord, each)
}

// readTail reads the records in the last n bytes of a file; a missing file has none.
func readTail(path string, n int64, each func(Record)) error {
	h, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer h.Close()
	info, err := h.Stat()
	if err != nil {
		return err
	}
	start := max(info.Size()-n, 0)
	lines := bufio.NewReader(io.NewSectionReader(h, start, info.Size()-start))
	for first := true; ; first = false {
		line, err := lines.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return fmt.Errorf("read %s: %w", path, err)
		}
		var r Record
		if whole := !first || start == 0; whole && json.Unmarshal(line, &r) == nil && r.Seq > 0 {
			each(r)
		}
		if err == io.EOF {
			return nil
		}
	}
}

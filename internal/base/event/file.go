package event

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// bytesPerRecord is how much of a file is read back for each record that memory has room for.
const bytesPerRecord = 1024

// file is a log's file.
type file struct{ Lines }

// write appends one record.
func (f *file) write(r Record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err // not possible for a bounded record
	}
	return f.Append(line)
}

// readBack hands over the newest records of both files in order, about as many as asked for. Lines that are no records are left out.
func (f *file) readBack(records int, each func(Record)) error {
	budget := int64(records) * bytesPerRecord
	info, err := os.Stat(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		budget -= info.Size()
	}
	if budget > 0 {
		if err := readTail(f.Old(), budget, each); err != nil {
			return err
		}
	}
	return readTail(f.Path, int64(records)*bytesPerRecord, each)
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

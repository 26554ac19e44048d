package event

import (
	"errors"
	"os"
	"path/filepath"
)

// Lines is a file of lines that stays bounded: when it is full it becomes the old one, and a new one is begun.
type Lines struct {
	Path string
	Max  int64 // bytes of each of the two files

	f    *os.File
	size int64
}

// Old is the path of the older file.
func (l *Lines) Old() string { return l.Path + ".1" }

// Append writes one line. After an error the file is closed, and opened anew by the next one.
func (l *Lines) Append(line []byte) error {
	if err := l.open(); err != nil {
		return err
	}
	if l.size > 0 && l.size+int64(len(line))+1 > l.Max {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	n, err := l.f.Write(append(line, '\n'))
	l.size += int64(n)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return nil
}

// Close closes the file; the next Append opens it again.
func (l *Lines) Close() error {
	if l.f == nil {
		return nil
	}
	h := l.f
	l.f, l.size = nil, 0
	return h.Close()
}

// open makes the file ready. A line that a crash left unfinished is ended, so that the next one stays whole.
func (l *Lines) open() error {
	if l.f != nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(l.Path), 0o750); err != nil {
		return err
	}
	h, err := os.OpenFile(l.Path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	size, err := endLine(h)
	if err != nil {
		return errors.Join(err, h.Close())
	}
	l.f, l.size = h, size
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

// rotate makes the file the old one and begins a new one.
func (l *Lines) rotate() error {
	if err := l.Close(); err != nil {
		return err
	}
	if err := os.Rename(l.Path, l.Old()); err != nil {
		return err
	}
	return l.open()
}

package cache

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// scan fills the index with what is there, the oldest first, and removes what is no entry.
func (d *disk) scan(ctx context.Context) {
	type found struct {
		file *file
		at   time.Time
	}
	var all []found
	_ = filepath.WalkDir(d.dir, func(path string, entry fs.DirEntry, err error) error { // what cannot be walked is not there
		if err != nil || entry.IsDir() || ctx.Err() != nil {
			return ctx.Err()
		}
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() {
			return nil
		}
		f, err := d.inspect(path, info)
		if err != nil {
			if strings.HasPrefix(entry.Name(), temporary) || len(entry.Name()) == 32 {
				_ = os.Remove(path) // half written, or damaged
			}
			return nil
		}
		all = append(all, found{f, info.ModTime()})
		return nil
	})
	slices.SortFunc(all, func(a, b found) int { return a.at.Compare(b.at) })
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range all {
		_, lostKey := d.lost[a.file.key]
		_, lostID := d.lost[a.file.id]
		switch {
		case d.byID[a.file.id] != nil || d.waiting[a.file.id] != nil: // written anew
		case lostKey || lostID:
			_ = os.Remove(d.path(a.file.id)) // the next scan would find it again
		default:
			d.list(a.file)
		}
	}
	d.lost = nil
	for (d.used > d.limit || len(d.byID) > mostFiles) && len(d.order) > 0 {
		f := d.order[0]
		d.order = d.order[1:]
		if !f.gone {
			d.unlist(f)
			_ = os.Remove(d.path(f.id)) // the next scan would
		}
	}
}

// inspect reads the header of a file, and sees whether the file has the size and the name that follow from it.
func (d *disk) inspect(path string, info fs.FileInfo) (*file, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, min(info.Size(), 4096))
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	n, err := headerLength(b)
	if err != nil {
		return nil, err
	}
	if n > len(b) {
		b = append(b, make([]byte, n-len(b))...)
		if _, err := io.ReadFull(r, b[4096:]); err != nil {
			return nil, err
		}
	}
	h, err := parseHeader(b)
	if err != nil {
		return nil, err
	}
	id := idOf(&Entry{key: h.key, hidden: h.hidden, by: h.by})
	if d.path(id) != path || info.Size() != int64(n)+h.head+h.body+4 {
		return nil, errFile
	}
	size := (info.Size() + block - 1) / block * block
	return &file{id: id, key: h.key, hidden: h.hidden, by: h.by, size: size}, nil
}

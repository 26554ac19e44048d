package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// run finds what is there, then writes what comes until ctx is done; what waits then is still written.
func (d *disk) run(ctx context.Context) error {
	d.scan(ctx)
	for {
		for p := d.next(); p != nil; p = d.next() {
			d.write(p)
		}
		select {
		case <-d.wake:
		case <-ctx.Done():
			for p := d.next(); p != nil; p = d.next() {
				d.write(p)
			}
			return nil
		}
	}
}

// next takes the next entry to be written.
func (d *disk) next() *pending {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.queue) > 0 {
		p := d.queue[0]
		d.queue = d.queue[1:]
		if !p.cancelled {
			return p
		}
		d.held -= p.entry.cost
	}
	d.queue = nil
	return nil
}

func (d *disk) write(p *pending) {
	f := &file{id: p.id, key: p.entry.key, hidden: p.entry.hidden, by: p.entry.by}
	parts := encode(p.entry)
	for _, b := range parts {
		f.size += int64(len(b))
	}
	f.size = (f.size + block - 1) / block * block
	if !d.makeRoom(f.size) {
		d.done(p, f, "", errTooSmall)
		return
	}
	name, err := d.writeFile(parts)
	d.done(p, f, name, err)
}

var errTooSmall = errors.New("the entry is larger than all the files may be")

// done lists a file that was written, unless it was outdated meanwhile.
func (d *disk) done(p *pending, f *file, name string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held -= p.entry.cost
	if !errors.Is(err, errTooSmall) {
		d.used -= f.size // what makeRoom took; list counts it again
	}
	if err == nil && !p.cancelled {
		if err = os.MkdirAll(filepath.Dir(d.path(p.id)), 0o700); err == nil {
			err = os.Rename(name, d.path(p.id)) // under the lock, so that nobody outdates it in between
		}
		if err == nil {
			delete(d.waiting, p.id)
			d.list(f)
			if d.failed {
				d.failed = false
				d.log.Info("cache files are written again", "dir", d.dir)
			}
			return
		}
	}
	if name != "" {
		_ = os.Remove(name) // scan would remove it too
	}
	if d.waiting[p.id] == p {
		delete(d.waiting, p.id)
	}
	if err == nil || errors.Is(err, errTooSmall) {
		return
	}
	d.rest = time.Now().Add(restAfter)
	if !d.failed {
		d.failed = true
		d.log.Warn("cache files cannot be written; answers are kept in memory only until that works again", "dir", d.dir, "error", err)
	}
}

// makeRoom throws files out until one of this size fits, and takes the room.
func (d *disk) makeRoom(size int64) bool {
	d.mu.Lock()
	var old []string
	for size <= d.limit && (d.used+size > d.limit || len(d.byID) >= mostFiles) && len(d.order) > 0 {
		f := d.order[0]
		d.order = d.order[1:]
		switch {
		case f.gone:
		case f.read:
			f.read = false
			d.order = append(d.order, f)
		default:
			old = append(old, f.id)
			d.unlist(f)
		}
	}
	fits := d.used+size <= d.limit
	if fits {
		d.used += size
	}
	d.mu.Unlock()
	d.erase(old)
	return fits
}

// writeFile writes a file under a name of its own.
func (d *disk) writeFile(parts [][]byte) (name string, err error) {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(d.dir, temporary)
	if err != nil {
		return "", err
	}
	for _, p := range parts {
		if err == nil {
			_, err = f.Write(p)
		}
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return f.Name(), err
}

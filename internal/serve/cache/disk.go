package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// disk is the lower tier: a file for each entry, written behind the answer by one goroutine, under a temporary name that is changed when it is
// complete. What is there is found again after a restart.
//
// The index in memory knows enough to tell which file a request needs. A file is thrown out in the order of their coming, but that it is
// spared once if it was read since. Nothing is synced: a checksum tells after a crash what is whole.
type disk struct {
	dir string
	log *slog.Logger

	mu      sync.Mutex
	limit   int64
	used    int64 // with the file that is being written
	byKey   map[string][]*file
	byID    map[string]*file
	order   []*file // by age; those that are gone are passed over
	queue   []*pending
	waiting map[string]*pending // by id: the newest
	held    int64               // bytes of entries in queue, and of the one that is being written
	most    int64               // of held
	wake    chan struct{}
	rest    time.Time // nothing is written before: the disk failed
	failed  bool
	lost    map[string]struct{} // keys and ids that were forgotten before scan had found them; nil after it
	loads   chan struct{}
}

// A file is an entry on disk.
type file struct {
	id     string
	key    string
	hidden string
	by     []selector
	size   int64 // as it counts
	read   bool  // since it was last spared
	gone   bool
}

// pending is an entry that waits to be written.
type pending struct {
	entry     *Entry
	id        string
	cancelled bool
}

const (
	// pendingShare of the memory may wait to be written.
	pendingShare = 16
	// block is what sizes of files are rounded up to, as file systems do.
	block = 4096
	// mostFiles bounds the index.
	mostFiles = 1 << 20
	// restAfter is how long a disk that failed is left alone.
	restAfter = 10 * time.Second
	// mostLoads is how many files are read at once; more are as if they were not there.
	mostLoads = 16
	temporary = "writing-"
)

func newDisk(dir string, limit int64, log *slog.Logger) *disk {
	return &disk{
		dir: dir, limit: limit, log: log, wake: make(chan struct{}, 1),
		byKey: map[string][]*file{}, byID: map[string]*file{}, waiting: map[string]*pending{},
		lost: map[string]struct{}{}, loads: make(chan struct{}, mostLoads),
	}
}

// idOf names the file of an entry: the same variant has the same name.
func idOf(e *Entry) string {
	h := sha256.New()
	b := appendString(appendString(nil, e.key), e.hidden)
	for i := range e.by {
		b = appendString(appendString(b, e.by[i].name), e.by[i].value)
	}
	_, _ = h.Write(b) // never fails
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func (d *disk) path(id string) string { return filepath.Join(d.dir, id[:2], id) }

func (d *disk) resize(limit int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit = limit
	d.signal()
}

func (d *disk) pendingLimit(most int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.most = most
}

func (d *disk) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// put has an entry written some time soon. What was there of its variant is outdated from now on. Where too much waits already, it is not written.
func (d *disk) put(e *Entry) {
	id := idOf(e)
	d.mu.Lock()
	old := d.outdate(id)
	full := d.held+e.cost > d.most || time.Now().Before(d.rest)
	if !full {
		p := &pending{entry: e, id: id}
		d.queue = append(d.queue, p)
		d.waiting[id] = p
		d.held += e.cost
		d.signal()
	}
	d.mu.Unlock()
	if old && full {
		_ = os.Remove(d.path(id)) // it is out of the index: at worst it comes back, outdated, after a restart
	}
}

// drop forgets the entry's variant.
func (d *disk) drop(e *Entry) {
	id := idOf(e)
	d.mu.Lock()
	old := d.outdate(id)
	d.mu.Unlock()
	if old {
		_ = os.Remove(d.path(id)) // as above
	}
}

// lose remembers what must not come back when scan finds it.
func (d *disk) lose(name string) {
	if d.lost != nil {
		d.lost[name] = struct{}{}
	}
}

// outdate takes a variant out of the index and cancels its writing. It reports whether there is a file.
func (d *disk) outdate(id string) bool {
	d.lose(id)
	if p := d.waiting[id]; p != nil {
		p.cancelled = true
		delete(d.waiting, id)
	}
	f := d.byID[id]
	if f != nil {
		d.unlist(f)
	}
	return f != nil
}

// forget removes all variants of a key, from the disk itself too: they must not come back after a crash.
func (d *disk) forget(key string) {
	d.mu.Lock()
	d.lose(key)
	files := slices.Clone(d.byKey[key])
	for _, f := range files {
		d.unlist(f)
	}
	for id, p := range d.waiting {
		if p.entry.key == key {
			p.cancelled = true
			delete(d.waiting, id)
		}
	}
	d.mu.Unlock()
	for _, f := range files {
		_ = os.Remove(d.path(f.id)) // as above
	}
}

func (d *disk) purge() {
	d.mu.Lock()
	keys := make([]string, 0, len(d.byKey))
	for key := range d.byKey {
		keys = append(keys, key)
	}
	for _, p := range d.waiting {
		p.cancelled = true
	}
	clear(d.waiting)
	d.mu.Unlock()
	for _, key := range keys {
		d.forget(key)
	}
}

// list adds a file to the index.
func (d *disk) list(f *file) {
	d.byID[f.id] = f
	d.byKey[f.key] = append(d.byKey[f.key], f)
	d.order = append(d.order, f)
	d.used += f.size
}

func (d *disk) unlist(f *file) {
	f.gone = true
	d.used -= f.size
	delete(d.byID, f.id)
	files := d.byKey[f.key]
	files = slices.DeleteFunc(slices.Clone(files), func(o *file) bool { return o == f })
	if len(files) == 0 {
		delete(d.byKey, f.key)
	} else {
		d.byKey[f.key] = files
	}
	if len(d.order) > 2*len(d.byID)+64 {
		d.order = slices.DeleteFunc(d.order, func(o *file) bool { return o.gone })
	}
}

// find is the file with the answer to the request. others says whether other variants are there.
func (d *disk) find(q *Query) (f *file, others bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	files := d.byKey[string(q.key)]
	for i := len(files) - 1; i >= 0; i-- {
		if q.selects(files[i].hidden, files[i].by) {
			files[i].read = true
			return files[i], false
		}
	}
	return nil, len(files) > 0
}

// load reads an entry. It is nil where the file is gone or damaged, which is forgotten then.
func (d *disk) load(f *file, o *Options) *Entry {
	select {
	case d.loads <- struct{}{}:
		defer func() { <-d.loads }()
	default:
		return nil
	}
	b, err := os.ReadFile(d.path(f.id))
	var e *Entry
	if err == nil {
		e, err = decode(b, o.Heuristic, time.Now())
	}
	if err == nil && (e.key != f.key || e.hidden != f.hidden || !slices.Equal(e.by, f.by)) {
		return nil // it was written anew meanwhile
	}
	if err == nil {
		return e
	}
	d.mu.Lock()
	gone := f.gone
	if !gone {
		d.unlist(f)
	}
	d.mu.Unlock()
	if !gone {
		d.log.Warn("a cache file could not be read and was removed", "file", d.path(f.id), "error", err)
		_ = os.Remove(d.path(f.id)) // it is out of the index
	}
	return nil
}

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
	if err != errTooSmall {
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
	if err == nil || err == errTooSmall {
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
	for _, id := range old {
		_ = os.Remove(d.path(id)) // a file that stays is found by the next start, and removed then
	}
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

func (d *disk) usage(u *Usage) {
	d.mu.Lock()
	defer d.mu.Unlock()
	u.Files, u.Disk, u.DiskMax, u.Pending = len(d.byID), d.used, d.limit, d.held
}

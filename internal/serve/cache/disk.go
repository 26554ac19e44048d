package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
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
// What is returned is to be erased.
func (d *disk) put(e *Entry, id string) (old []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old = d.outdate(id)
	if d.held+e.cost > d.most || time.Now().Before(d.rest) {
		return old
	}
	p := &pending{entry: e, id: id}
	d.queue = append(d.queue, p)
	d.waiting[id] = p
	d.held += e.cost
	d.signal()
	return old
}

// drop forgets a variant. What is returned is to be erased.
func (d *disk) drop(id string) (old []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.outdate(id)
}

// forget forgets all variants of a key. What is returned is to be erased: they must not come back after a crash.
func (d *disk) forget(key string) (old []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lose(key)
	for _, f := range slices.Clone(d.byKey[key]) {
		d.unlist(f)
		old = append(old, f.id)
	}
	for id, p := range d.waiting {
		if p.entry.key == key {
			p.cancelled = true
			delete(d.waiting, id)
		}
	}
	return old
}

// purge forgets everything. What is returned is to be erased.
func (d *disk) purge() (old []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.byID {
		d.unlist(f)
		old = append(old, f.id)
	}
	for _, p := range d.waiting {
		p.cancelled = true
	}
	clear(d.waiting)
	return old
}

// erase removes files that are out of the index, unless they were written anew meanwhile. Where that fails, the next scan finds what is left.
func (d *disk) erase(ids []string) {
	for _, id := range ids {
		d.mu.Lock()
		if d.byID[id] == nil {
			_ = os.Remove(d.path(id))
		}
		d.mu.Unlock()
	}
}

// lose remembers what must not come back when scan finds it.
func (d *disk) lose(name string) {
	if d.lost != nil {
		d.lost[name] = struct{}{}
	}
}

// outdate takes a variant out of the index and cancels its writing.
func (d *disk) outdate(id string) (old []string) {
	d.lose(id)
	if p := d.waiting[id]; p != nil {
		p.cancelled = true
		delete(d.waiting, id)
	}
	if f := d.byID[id]; f != nil {
		d.unlist(f)
		old = []string{id}
	}
	return old
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
		e, err = decode(b, o, time.Now())
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
		d.erase([]string{f.id})
	}
	return nil
}

// keys tells of all that is on disk, or waits to be; false while that is not known yet.
func (d *disk) keys(tell func(key string)) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost != nil {
		return false
	}
	for key := range d.byKey {
		tell(key)
	}
	for _, p := range d.waiting {
		tell(p.entry.key)
	}
	return true
}

func (d *disk) usage(u *Usage) {
	d.mu.Lock()
	defer d.mu.Unlock()
	u.Files, u.Disk, u.DiskMax, u.Pending = len(d.byID), d.used, d.limit, d.held
}

package cache

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/serve/http1"
)

// Options are the bounds of a Cache and what it is for. Zero values take the defaults.
type Options struct {
	Memory    int64         // bytes in memory; 64 MiB when 0
	MaxEntry  int64         // bytes of one answer's body; 1 MiB when 0; at most an eighth of Memory
	Dir       string        // of the files under it, its own alone; empty keeps everything in memory
	Disk      int64         // bytes of files; 1 GiB when 0
	Wait      time.Duration // how long a request waits for another's answer; 5 s when 0, none when negative
	Waiters   int           // how many wait at once; 1024 when 0
	Heuristic float64       // share of the time since its last change for which an answer that says nothing counts as fresh
	SetCookie bool          // answers that set cookies are shared too
	Serve     bool          // answers are given while the service works; false is for a fallback's store
	IfError   time.Duration // how long after its lifetime an answer is given where the service fails
	Log       *slog.Logger
}

func (o Options) withDefaults() *Options {
	if o.Memory <= 0 {
		o.Memory = 64 << 20
	}
	if o.MaxEntry <= 0 {
		o.MaxEntry = 1 << 20
	}
	o.MaxEntry = min(o.MaxEntry, o.Memory/8)
	if o.Disk <= 0 {
		o.Disk = 1 << 30
	}
	if o.Wait == 0 {
		o.Wait = 5 * time.Second
	}
	if o.Waiters <= 0 {
		o.Waiters = 1024
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &o
}

// Cache keeps the answers of one service. It is safe for use by any number of goroutines.
type Cache struct {
	options atomic.Pointer[Options]
	waiting atomic.Int64
	disk    atomic.Pointer[disk] // nil without

	mu      sync.RWMutex
	memory  memory
	flights map[string]*flight
	passes  passes
	epochs  [epochs]uint32 // by the hash of a key: counts its invalidations
}

// epochs is how many invalidations are told apart. Two keys that share a count cost, once in a while, an answer that is not stored.
const epochs = 1 << 14

// New makes an empty Cache. Its files are read and written once Run is called.
func New(o Options) *Cache {
	c := &Cache{flights: map[string]*flight{}}
	c.memory.resources = map[string]*resource{}
	c.Update(o)
	return c
}

// Update puts other options in force; what is stored stays, as far as it fits. Another Dir begins with another Run.
func (c *Cache) Update(o Options) {
	p := o.withDefaults()
	c.options.Store(p)
	d := c.disk.Load()
	switch {
	case p.Dir == "":
		c.disk.Store(nil)
	case d == nil || d.dir != p.Dir:
		c.disk.Store(newDisk(p.Dir, p.Disk, p.Log))
	default:
		d.resize(p.Disk)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.memory.limit = p.Memory
	if p.Dir != "" {
		c.memory.limit -= p.Memory / pendingShare
		c.disk.Load().pendingLimit(p.Memory / pendingShare)
	}
	c.memory.fit(0)
}

// Run keeps the tier of files until ctx is done. It returns at once where there is none.
func (c *Cache) Run(ctx context.Context) error {
	if d := c.disk.Load(); d != nil {
		return d.run(ctx)
	}
	return nil
}

// Serves says whether answers are given while the service works.
func (c *Cache) Serves() bool { return c.options.Load().Serve }

// Usage is what the cache holds.
type Usage struct {
	Entries, Files       int
	Memory, Writing      int64 // bytes
	Pending, Disk        int64 // bytes
	Waiting, Flights     int
	MemoryLimit, DiskMax int64
}

// Usage tells what the cache holds at the moment.
func (c *Cache) Usage() Usage {
	c.mu.RLock()
	u := Usage{
		Entries: c.memory.small.count + c.memory.main.count, Memory: c.memory.used, Writing: c.memory.writing,
		Flights: len(c.flights), MemoryLimit: c.options.Load().Memory, Waiting: int(c.waiting.Load()),
	}
	c.mu.RUnlock()
	if d := c.disk.Load(); d != nil {
		d.usage(&u)
	}
	return u
}

// A Decision is what becomes of a request.
type Decision struct {
	Verdict   Verdict
	Entry     *Entry // with Fresh, Stale and Validate
	Lead      Lead   // to be told how the question ended, where there is one
	Refresh   bool   // with Stale: the holder of the Lead asks the origin meanwhile
	Collapsed bool   // it waited for another's answer
	Why       string // the origin is asked, in a word of RFC 9211
}

// Open says what becomes of a request. It waits, for a bounded time, where another request has just been sent for the same answer. Where Lead.Leads, its
// Done must be called.
func (c *Cache) Open(ctx context.Context, q *Query) Decision {
	o := c.options.Load()
	q.epoch = c.epoch(q.key)
	switch {
	case !q.concerned():
		why := "bypass"
		if q.Request.Verb != http1.GET && q.Request.Verb != http1.HEAD {
			why = "method"
		} else if q.says.has(noStore) {
			why = "request"
		}
		return Decision{Verdict: Bypass, Why: why}
	case !o.Serve:
		return Decision{Verdict: Miss, Why: "bypass"}
	}
	return c.decide(ctx, q, o)
}

func (c *Cache) decide(ctx context.Context, q *Query, o *Options) Decision {
	var until time.Time
	collapsed := false
	for {
		now := time.Now()
		d := c.look(q, now)
		d.Collapsed = collapsed
		if d.Verdict == Fresh || d.Verdict == Refused || d.Verdict == Stale && !d.Refresh {
			return d
		}
		if d.Verdict == Stale {
			d.Lead, _ = c.join(q, true)
			d.Refresh = d.Lead.Leads()
			return d
		}
		if collapsed || !shareable(q, &d) {
			return d
		}
		lead, under := c.join(q, false)
		if under == nil {
			d.Lead = lead
			return d
		}
		if until.IsZero() {
			until = now.Add(o.Wait)
		}
		outcome, ok := c.wait(ctx, under, until.Sub(now))
		switch {
		case !ok || outcome == Passed:
			return d
		case outcome == Failed:
			if d.Entry != nil && d.Entry.OnError(time.Now(), q, o.IfError) {
				d.Verdict, d.Collapsed = Stale, true
			}
			return d
		}
		collapsed = outcome == Stored
		q.epoch = c.epoch(q.key)
	}
}

// shareable says whether others may get the answer to this question: not to one for a part or with a condition, nor where the answer has to be asked for
// each time anyway.
func shareable(q *Query, d *Decision) bool {
	if q.Request.Verb != http1.GET || d.Why == "request" {
		return false
	}
	if d.Verdict == Miss {
		return !q.conditional()
	}
	return !d.Entry.mustAsk && d.Entry.lifetime > 0
}

// look finds what is stored and judges it.
func (c *Cache) look(q *Query, now time.Time) (d Decision) {
	e, others := c.find(q)
	if e == nil {
		d = Decision{Verdict: Miss, Why: "uri-miss"}
		if others {
			d.Why = "vary-miss"
		}
		if q.says.has(onlyIfCached) {
			d.Verdict = Refused
		}
		return d
	}
	d.Entry = e
	d.Verdict, d.Refresh, d.Why = judge(e, q, now)
	return d
}

// find is the newest stored answer for the request, in memory or on disk. others says whether other variants are there.
func (c *Cache) find(q *Query) (e *Entry, others bool) {
	c.mu.RLock()
	s := c.memory.find(q)
	others = c.memory.has(q)
	if s != nil {
		s.hit()
		e = s.entry
	}
	c.mu.RUnlock()
	if e != nil {
		return e, false
	}
	d := c.disk.Load()
	if d == nil {
		return nil, others
	}
	f, more := d.find(q)
	if f == nil {
		return nil, others || more
	}
	if e = d.load(f, c.options.Load()); e == nil {
		return nil, others || more
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epochs[hashOf(q.key)%epochs] != q.epoch {
		return nil, true // invalidated while it was read
	}
	if s := c.memory.find(q); s != nil { // somebody was faster
		return s.entry, false
	}
	c.memory.put(e)
	return e, false
}

// OnError is the stored answer that may be given although the service failed, nil without one.
func (c *Cache) OnError(q *Query) *Entry {
	o := c.options.Load()
	if !q.answerable() {
		return nil
	}
	if e, _ := c.find(q); e != nil && e.OnError(time.Now(), q, o.IfError) {
		return e
	}
	return nil
}

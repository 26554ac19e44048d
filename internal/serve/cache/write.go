package cache

import (
	"time"

	"github.com/backstay/backstay/internal/serve/http1"
)

// A Writer takes an answer's body while it goes to the client. It never waits for anything; where a bound is reached it gives up, which the
// client does not notice.
type Writer struct {
	cache    *Cache
	entry    *Entry
	epoch    uint32
	expected int64 // of the body; negative is not known
	reserved int64
	lost     bool
}

// segment is the size of the pieces in which larger bodies are kept.
const segment = 64 << 10

// Begin starts to store an answer that has just been received. The writer is nil where it may not be stored, and refused says why, in a word.
func (c *Cache) Begin(q *Query, res *http1.Response, requested, received time.Time) (w *Writer, refused string) {
	o := c.options.Load()
	if q.says.has(noStore) || q.Request.Verb != http1.GET {
		return nil, "request"
	}
	says := ParseDirectives(res.Fields)
	by, ok := q.selectors(res.Fields)
	f := facts{q: q, res: res, says: &says, varies: !ok, cookies: o.SetCookie, limit: o.MaxEntry}
	if why := f.refused(); why != "" {
		if why == "no-store" || why == "private" { // from now on, what was public before included
			c.outdate(q)
		}
		return nil, why
	}
	e := &Entry{key: string(q.key), hidden: string(q.Hidden), by: by, Status: res.Status, ageValue: parseAge(res.Fields)}
	e.measure(res.Fields, &says, clock{requested, received}, guess(o, res, q.Request.Query != nil))
	if !useful(e, o) {
		return nil, "no-use"
	}
	if !o.Serve && c.keeps(e, q, received) {
		return nil, "kept"
	}
	e.head = appendHead(nil, res, &says, o.SetCookie)
	if !res.Present.Has(http1.Date) {
		e.head = append(e.head, "Date: "...)
		e.head = append(appendDate(e.head, received), '\r', '\n')
	}
	w = &Writer{cache: c, entry: e, epoch: q.epoch, expected: res.Length}
	if res.Length == http1.ChunkedBody {
		w.expected = -1
	} else if res.Length == 0 && !res.Present.Has(http1.ContentLength) && res.Status == 200 {
		w.expected = 0
	}
	if !w.reserve(2*entryOverhead + int64(len(e.head)+len(e.key)+len(e.hidden)) + max(0, w.expected)) {
		return nil, "full"
	}
	if w.expected > 0 {
		w.allocate(w.expected)
	}
	return w, ""
}

// outdate forgets the answer that is stored for the request.
func (c *Cache) outdate(q *Query) {
	if e, _ := c.find(q); e != nil {
		c.install(e, q.epoch, 0, false)
	}
}

// guess is the share of an answer's age for which it counts as fresh though it says nothing of that. What has a query was made for it, as a
// rule, and gets none.
func guess(o *Options, res *http1.Response, query bool) float64 {
	if query || http1.HasToken(res.Get(http1.Pragma), "no-cache") {
		return 0
	}
	return o.Heuristic
}

// useful says whether the entry will ever be given.
func useful(e *Entry, o *Options) bool {
	onError := !e.mustAsk && (e.ifError > 0 && !e.strict || o.IfError > 0 && !e.strict && !e.shared || e.lifetime > 0)
	if !o.Serve {
		good := e.Status < 400 || e.Status == 404 || e.Status == 410
		return onError && good
	}
	return e.Validatable() || onError || !e.mustAsk && e.whileRevalidate > 0 && !e.strict
}

// keepFor is how long a fallback's store is content with what it has: it need not be copied into with every answer.
const keepFor = time.Second

// keeps says whether what is stored is as good as new.
func (c *Cache) keeps(e *Entry, q *Query, now time.Time) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := c.memory.find(q)
	return s != nil && now.Sub(s.entry.received) < keepFor && s.entry.Status == e.Status
}

// appendHead appends the head as it is stored.
func appendHead(dst []byte, res *http1.Response, says *Directives, cookies bool) []byte {
	dst = http1.AppendStatusLine(dst, res.Status, res.Reason)
	for i := range res.Fields {
		if f := &res.Fields[i]; storedField(f, says, cookies) {
			dst = http1.AppendField(dst, f.Name, f.Value)
		}
	}
	return dst
}

// storedField says whether a field is stored with its answer (RFC 9111, section 3.1).
func storedField(f *http1.Field, says *Directives, cookies bool) bool {
	if f.Drop || f.ID == http1.Age || f.ID == http1.SetCookie && !cookies {
		return false
	}
	if f.ID == http1.Unknown && (is(f.Name, "proxy-authentication-info") || is(f.Name, "authentication-info")) {
		return false
	}
	for _, name := range says.fields {
		if http1.EqualFold(f.Name, name) {
			return f.ID == http1.ContentLength
		}
	}
	return true
}

// reserve sets memory aside. Answers being written get a quarter of it at most.
func (w *Writer) reserve(n int64) bool {
	c := w.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.memory.writing+n > c.memory.limit/4 || !c.memory.fit(n) {
		return false
	}
	c.memory.writing += n
	w.reserved += n
	return true
}

// allocate adds room for n more bytes to the body.
func (w *Writer) allocate(n int64) {
	e := w.entry
	e.body = append(e.body, make([]byte, 0, min(n, 4*segment)))
}

// Write takes the next bytes of the body.
func (w *Writer) Write(p []byte) {
	e := w.entry
	if w.lost || len(p) == 0 {
		return
	}
	e.size += int64(len(p))
	if e.size > w.cache.options.Load().MaxEntry || w.expected >= 0 && e.size > w.expected {
		w.Abort()
		return
	}
	for len(p) > 0 {
		if n := len(e.body); n == 0 || len(e.body[n-1]) == cap(e.body[n-1]) {
			if !w.grow(int64(len(p))) {
				w.Abort()
				return
			}
		}
		last := &e.body[len(e.body)-1]
		n := min(len(p), cap(*last)-len(*last))
		*last = append(*last, p[:n]...)
		p = p[n:]
	}
}

// grow adds a piece: of what is missing, where that is known, else of about what there is.
func (w *Writer) grow(atLeast int64) bool {
	e := w.entry
	if w.expected >= 0 {
		held := int64(0)
		for _, p := range e.body {
			held += int64(cap(p))
		}
		w.allocate(w.expected - held)
		return true
	}
	n := min(max(atLeast, e.size, 512), segment)
	if !w.reserve(n + 24) {
		return false
	}
	w.allocate(n)
	return true
}

// Abort forgets what was written: the answer did not come to its end, or nobody may have it.
func (w *Writer) Abort() {
	if w.lost {
		return
	}
	w.lost = true
	c := w.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	c.memory.writing -= w.reserved
	w.entry = &Entry{}
}

// Lost says whether the writer has given up.
func (w *Writer) Lost() bool { return w.lost }

// Commit stores the answer, whose body has ended. The outcome is what those who wait for it are told.
func (w *Writer) Commit() Outcome {
	e, c := w.entry, w.cache
	if w.lost || w.expected >= 0 && e.size != w.expected {
		w.Abort()
		return Passed
	}
	if w.expected < 0 && e.Status != 204 {
		e.head = http1.AppendIntField(e.head, "Content-Length", e.size)
	}
	w.lost = true
	e.weigh()
	return c.install(e, w.epoch, w.reserved, true)
}

// install stores an entry in both tiers, in the place of what was there of its variant, and gives back what was reserved for it; or only removes what
// was there. The outcome is what those who wait are told.
func (c *Cache) install(e *Entry, epoch uint32, reserved int64, wanted bool) Outcome {
	d, id := c.disk.Load(), ""
	if d != nil {
		id = idOf(e)
	}
	var old []string
	c.mu.Lock()
	c.memory.writing -= reserved
	if s := c.memory.sameVariant(e); wanted && s != nil && s.entry.requested.After(e.requested) {
		c.mu.Unlock() // an answer to a question that was asked later is there already
		return Passed
	}
	stored := wanted && c.epochs[hashOf([]byte(e.key))%epochs] == epoch && c.memory.put(e)
	if !stored {
		c.memory.drop(e)
	}
	switch { // under the lock: a change that comes in between would be undone
	case d == nil:
	case stored:
		old = d.put(e, id)
	default:
		old = d.drop(id)
	}
	c.mu.Unlock()
	if d != nil {
		d.erase(old)
	}
	if !stored || !e.Fresh(time.Now()) {
		return Passed
	}
	return Stored
}

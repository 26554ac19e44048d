package cache

import (
	"bytes"
	"net/url"
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
	e.measure(res.Fields, &says, clock{requested, received}, o.Heuristic, guessable(q, res))
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
	e, _ := c.find(q)
	if e == nil {
		return
	}
	c.mu.Lock()
	c.memory.drop(e)
	c.mu.Unlock()
	if d := c.disk.Load(); d != nil {
		d.drop(e)
	}
}

// guessable says whether a lifetime may be guessed where the answer gives none. What has a query was made for it, as a rule.
func guessable(q *Query, res *http1.Response) bool {
	return q.Request.Query == nil && !http1.HasToken(res.Get(http1.Pragma), "no-cache")
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
	c.mu.Lock()
	c.memory.writing -= w.reserved
	stored := c.epochs[hashOf([]byte(e.key))%epochs] == w.epoch && c.memory.put(e)
	c.mu.Unlock()
	return c.outcome(e, stored)
}

// outcome passes what was stored on to the files, and says what those who wait are told.
func (c *Cache) outcome(e *Entry, stored bool) Outcome {
	if d := c.disk.Load(); d != nil {
		if stored {
			d.put(e)
		} else {
			d.drop(e)
		}
	}
	if !stored || !e.Fresh(time.Now()) {
		return Passed
	}
	return Stored
}

// Freshen takes in a 304 to a question about e, or the head of a 200 to HEAD (RFC 9111, sections 4.3.4 and 4.3.5). It returns the entry as it is
// from now on, which is what the client gets, and is e itself where the answer is not about it.
func (c *Cache) Freshen(q *Query, e *Entry, res *http1.Response, requested, received time.Time) (*Entry, Outcome) {
	if tag := res.Get(http1.ETag); tag != nil && (e.etag == "" || string(bytes.TrimPrefix(tag, []byte("W/"))) != trimWeak(e.etag)) {
		return e, Passed
	}
	o := c.options.Load()
	n := &Entry{key: e.key, hidden: e.hidden, by: e.by, Status: e.Status, body: e.body, size: e.size, ageValue: parseAge(res.Fields)}
	n.head = e.merge(res, o.SetCookie, received)
	var merged http1.Response
	if k, err := merged.Parse(append(bytes.Clone(n.head), '\r', '\n'), storedLimits, http1.HEAD); err != nil || k == 0 {
		return e, Passed
	}
	says := ParseDirectives(merged.Fields)
	n.measure(merged.Fields, &says, clock{requested, received}, o.Heuristic, guessable(q, &merged))
	n.weigh()
	keep := !says.has(noStore|private) && useful(n, o)
	c.mu.Lock()
	stored := keep && c.epochs[hashOf(q.key)%epochs] == q.epoch && c.memory.put(n)
	if !stored {
		c.memory.drop(n)
	}
	c.mu.Unlock()
	return n, c.outcome(n, stored)
}

// storedLimits are for heads that passed narrower ones before.
var storedLimits = http1.Limits{Head: 1 << 24, Fields: 1 << 16}

// notUpdated are the fields that belong to the stored body (RFC 9111, section 3.2).
var notUpdated = http1.SetOf(http1.ContentLength, http1.ContentEncoding, http1.ContentRange, http1.ETag)

// merge is the stored head with the fields of a newer one in place of its own.
func (e *Entry) merge(res *http1.Response, cookies bool, received time.Time) []byte {
	says := ParseDirectives(res.Fields)
	undated := !res.Present.Has(http1.Date)
	newer := func(name []byte) bool {
		if undated && is(name, "date") {
			return true
		}
		for i := range res.Fields {
			if f := &res.Fields[i]; http1.EqualFold(f.Name, name) && updates(f, &says, cookies) {
				return true
			}
		}
		return false
	}
	head := append([]byte(nil), e.head[:len(e.head)-len(e.lines())]...)
	for rest := e.lines(); len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n') + 1
		if name, _, _ := bytes.Cut(rest[:n], []byte{':'}); !newer(name) {
			head = append(head, rest[:n]...)
		}
		rest = rest[n:]
	}
	for i := range res.Fields {
		if f := &res.Fields[i]; updates(f, &says, cookies) {
			head = http1.AppendField(head, f.Name, f.Value)
		}
	}
	if undated {
		head = append(head, "Date: "...)
		head = append(appendDate(head, received), '\r', '\n')
	}
	return head
}

func updates(f *http1.Field, says *Directives, cookies bool) bool {
	return storedField(f, says, cookies) && (f.ID == http1.Unknown || !notUpdated.Has(f.ID)) && !is(f.Name, "content-md5")
}

// SeenHead takes in the answer to a HEAD request that went to the origin: what is stored is freshened by it, or forgotten where it differs.
func (c *Cache) SeenHead(q *Query, res *http1.Response, requested, received time.Time) {
	c.mu.RLock()
	s := c.memory.find(q)
	var e *Entry
	if s != nil {
		e = s.entry
	}
	c.mu.RUnlock()
	switch {
	case e == nil || q.Request.Verb != http1.HEAD:
	case res.Status == 200 && e.sameAs(res, received):
		_, _ = c.Freshen(q, e, res, requested, received)
	case res.Status == 200 || res.Status == 404 || res.Status == 410:
		c.forget(q.key)
	}
}

// sameAs says whether a head can be of the stored answer: whatever tells them apart is equal.
func (e *Entry) sameAs(res *http1.Response, now time.Time) bool {
	if tag := res.Get(http1.ETag); tag != nil && string(tag) != e.etag {
		return false
	}
	if v := res.Get(http1.LastModified); v != nil {
		if t, ok := parseDate(v, now); !ok || !t.Equal(e.modified) {
			return false
		}
	}
	length, ok := parseOffset(res.Get(http1.ContentLength))
	return !ok || length == e.size
}

// resolve is the key of a reference in an answer, nil where it leads to another host.
func (q *Query) resolve(reference []byte) []byte {
	base, err := url.Parse("http://" + string(q.Request.Host) + string(q.Request.Path))
	if err != nil {
		return nil
	}
	ref, err := url.Parse(string(reference))
	if err != nil {
		return nil
	}
	if ref.Scheme == "https" {
		ref.Scheme = "http" // the key has none
	}
	to := base.ResolveReference(ref)
	if to.Scheme != "http" {
		return nil
	}
	path := to.EscapedPath()
	if path == "" {
		path = "/"
	}
	var query []byte
	if to.RawQuery != "" || to.ForceQuery {
		query = []byte(to.RawQuery)
	}
	key := appendKey(nil, []byte(to.Host), []byte(path), query)
	host := appendKey(nil, q.Request.Host, nil, nil)
	if !bytes.HasPrefix(key, host) {
		return nil
	}
	return key
}

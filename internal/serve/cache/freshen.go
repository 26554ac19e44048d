package cache

import (
	"bytes"
	"time"

	"github.com/backstay/backstay/internal/serve/http1"
)

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
	n.measure(merged.Fields, &says, clock{requested, received}, guess(o, &merged, q.Request.Query != nil))
	n.weigh()
	keep := !says.has(noStore|private) && useful(n, o)
	return n, c.install(n, q.epoch, 0, keep)
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

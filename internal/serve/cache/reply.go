package cache

import (
	"bytes"
	"strconv"
	"time"

	"github.com/backstay/backstay/internal/serve/http1"
)

// A Reply is a stored answer as this request gets it.
type Reply struct {
	Status int
	Length int64 // of the body
	body   [][]byte
	piece  []byte // what is left of the piece under way
	from   int64  // where in the body it begins
	skip   int64  // bytes ahead of that which are still to be passed over
	left   int64
}

// Next is the next piece of the body, nil at its end. It is not to be changed. Pieces are small enough for a client's patience to be measured
// by them.
func (r *Reply) Next() []byte {
	for r.left > 0 {
		if len(r.piece) == 0 {
			r.piece, r.body = r.body[0], r.body[1:]
		}
		if r.skip >= int64(len(r.piece)) {
			r.skip -= int64(len(r.piece))
			r.piece = nil
			continue
		}
		p := r.piece[r.skip:]
		n := min(int64(len(p)), r.left, segment)
		r.skip, r.piece = 0, p[n:]
		r.left -= n
		return p[:n]
	}
	return nil
}

// Reply works out what the request gets of the entry: all of it, a part (206, 416), or word that it is unchanged (304). head is dst with the
// whole head appended: status line, fields with Age, and the empty line that ends it.
func (e *Entry) Reply(dst []byte, q *Query, now time.Time) (head []byte, r Reply) {
	r = Reply{Status: e.Status, Length: e.size, body: e.body, left: e.size}
	if e.Status == 200 {
		switch {
		case e.unchanged(q):
			r.Status, r.Length, r.left = 304, 0, 0
		case q.Request.Verb == http1.GET && q.Request.Present.Has(http1.Range) && e.ifRange(q):
			e.part(q, &r)
		}
	}
	switch r.Status {
	case 304:
		dst = e.appendSome(http1.AppendStatusLine(dst, 304, nil), notOf304)
	case 206:
		dst = e.appendSome(http1.AppendStatusLine(dst, 206, nil), http1.SetOf(http1.ContentLength, http1.ContentRange))
		dst = append(dst, "Content-Range: bytes "...)
		dst = append(strconv.AppendInt(dst, r.from, 10), '-')
		dst = append(strconv.AppendInt(dst, r.from+r.Length-1, 10), '/')
		dst = append(strconv.AppendInt(dst, e.size, 10), '\r', '\n')
		dst = http1.AppendIntField(dst, "Content-Length", r.Length)
	case 416:
		dst = e.appendSome(http1.AppendStatusLine(dst, 416, nil), notOf304)
		dst = append(dst, "Content-Range: bytes */"...)
		dst = append(strconv.AppendInt(dst, e.size, 10), '\r', '\n')
		dst = http1.AppendIntField(dst, "Content-Length", 0)
	default:
		dst = append(dst, e.head...)
	}
	dst = http1.AppendIntField(dst, "Age", int64(min(e.Age(now), forever)/time.Second))
	return append(dst, '\r', '\n'), r
}

// notOf304 are the fields about a representation that the answer does not carry (RFC 9110, section 15.4.5).
var notOf304 = http1.SetOf(http1.ContentLength, http1.ContentType, http1.ContentEncoding, http1.ContentLanguage, http1.ContentRange)

// appendSome appends the entry's fields without those in the set.
func (e *Entry) appendSome(dst []byte, without http1.Set) []byte {
	for rest := e.lines(); len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n') + 1
		name, _, _ := bytes.Cut(rest[:n], []byte{':'})
		if id := http1.Identify(name); id == http1.Unknown || !without.Has(id) {
			dst = append(dst, rest[:n]...)
		}
		rest = rest[n:]
	}
	return dst
}

// lines are the field lines of the head.
func (e *Entry) lines() []byte { return e.head[bytes.IndexByte(e.head, '\n')+1:] }

// unchanged says whether the client has this answer already (RFC 9110, section 13.2.2; RFC 9111, section 4.3.2).
func (e *Entry) unchanged(q *Query) bool {
	r := q.Request
	if r.Present.Has(http1.IfNoneMatch) {
		for i := range r.Fields {
			if f := &r.Fields[i]; f.ID == http1.IfNoneMatch && e.matches(f.Value) {
				return true
			}
		}
		return false
	}
	if !r.Present.Has(http1.IfModifiedSince) {
		return false
	}
	since, ok := parseDate(r.Get(http1.IfModifiedSince), e.received)
	if !ok {
		return false
	}
	at := e.modified
	if at.IsZero() {
		at = e.dated.Truncate(time.Second)
	}
	return !at.After(since)
}

// matches compares weakly with a list of entity tags (RFC 9110, section 8.8.3.2).
func (e *Entry) matches(list []byte) bool {
	for len(list) > 0 {
		var tag []byte
		tag, list, _ = cutQuoted(list)
		if string(tag) == "*" || e.etag != "" && string(bytes.TrimPrefix(tag, []byte("W/"))) == trimWeak(e.etag) {
			return true
		}
	}
	return false
}

func trimWeak(etag string) string {
	if len(etag) > 2 && etag[:2] == "W/" {
		return etag[2:]
	}
	return etag
}

// ifRange says whether a part may be given: the client's other parts are of this very answer (RFC 9110, section 13.1.5).
func (e *Entry) ifRange(q *Query) bool {
	value, ok := q.lookup("if-range")
	if !ok {
		return true
	}
	if len(value) > 0 && value[0] == '"' {
		return string(value) == e.etag // strong: what is weak begins with W/
	}
	at, ok := parseDate(value, e.received)
	return ok && !e.modified.IsZero() && at.Equal(e.modified) && e.dated.Sub(e.modified) >= time.Second
}

func (q *Query) lookup(name string) ([]byte, bool) {
	if f := q.Request.Find(name); f != nil {
		return f.Value, true
	}
	return nil, false
}

// part cuts the reply down to the range that is asked for. More than one range, and what cannot be read, gets the whole.
func (e *Entry) part(q *Query, r *Reply) {
	first, last, ok := parseRange(q.Request.Get(http1.Range), e.size)
	switch {
	case !ok:
		return
	case first > last || first >= e.size:
		r.Status, r.Length, r.left = 416, 0, 0
	default:
		r.Status, r.from, r.skip, r.Length = 206, first, first, last-first+1
		r.left = r.Length
	}
}

// parseRange reads a Range field with one range of bytes (RFC 9110, section 14.1.2). first > last is a range that holds nothing.
func parseRange(value []byte, size int64) (first, last int64, ok bool) {
	unit, set, found := bytes.Cut(value, []byte{'='})
	if !found || !is(trim(unit), "bytes") || bytes.IndexByte(set, ',') >= 0 {
		return 0, 0, false
	}
	from, to, found := bytes.Cut(trim(set), []byte{'-'})
	if !found {
		return 0, 0, false
	}
	first, okFirst := parseOffset(from)
	last, okLast := parseOffset(to)
	switch {
	case len(from) == 0 && okLast: // the last so many
		if last == 0 {
			return 1, 0, true
		}
		return max(0, size-last), size - 1, true
	case okFirst && len(to) == 0:
		return first, size - 1, true
	case okFirst && okLast && first <= last:
		return first, min(last, size-1), true
	}
	return 0, 0, false
}

func parseOffset(b []byte) (n int64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' || n > 1<<60/10 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, len(b) > 0
}

// More says whether the body goes on.
func (r *Reply) More() bool { return r.left > 0 }

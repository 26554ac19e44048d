package cache

import (
	"time"

	"github.com/backstay/backstay/internal/serve/http1"
)

// An Entry is one stored answer. Nothing in it changes: an answer that is replaced, freshened or thrown out goes on being given as it was
// to those who have it.
type Entry struct {
	key, hidden string
	by          []selector

	// Status is the code of the answer.
	Status int
	head   []byte   // status line and field lines, each with its CRLF, Content-Length and Date among them, without Age
	body   [][]byte // pieces, none empty
	size   int64    // of the body
	cost   int64    // bytes of memory that it counts for

	etag     string    // as it was sent, empty without
	modified time.Time // Last-Modified, zero without
	dated    time.Time // Date, or when it was received

	requested, received time.Time
	ageValue            time.Duration // of the Age field
	initialAge          time.Duration // when it was received
	lifetime            time.Duration
	whileRevalidate     time.Duration // after its lifetime
	ifError             time.Duration
	mustAsk             bool // never without validation, fresh or not (no-cache)
	strict              bool // never when stale (must-revalidate, proxy-revalidate)
	shared              bool // nor this (s-maxage), but for what the same answer allows by itself, as stale-while-revalidate
}

// entryOverhead is what an entry and its places in the indexes take besides its bytes, roughly.
const entryOverhead = 512

// memory is what the entry takes in memory.
func (e *Entry) weigh() {
	e.cost = entryOverhead + int64(len(e.key)+len(e.hidden)+len(e.head)+len(e.etag))
	for i := range e.by {
		e.cost += int64(len(e.by[i].name)+len(e.by[i].value)) + 32
	}
	for _, p := range e.body {
		e.cost += int64(cap(p)) + 24
	}
}

// Size is the length of the body in bytes.
func (e *Entry) Size() int64 { return e.size }

// Age is how old the answer is (RFC 9111, section 4.2.3).
func (e *Entry) Age(now time.Time) time.Duration {
	return e.initialAge + max(0, now.Sub(e.received))
}

// Left is how long the answer stays fresh; negative is how long it has been stale.
func (e *Entry) Left(now time.Time) time.Duration { return e.lifetime - e.Age(now) }

// Fresh says whether the answer may be given without asking, as far as it says itself.
func (e *Entry) Fresh(now time.Time) bool { return !e.mustAsk && e.Left(now) > 0 }

// Validatable says whether the origin can be asked about it with a condition.
func (e *Entry) Validatable() bool { return e.etag != "" || !e.modified.IsZero() }

// OnError says whether the answer may be given where the origin fails, though it is stale. beyond is how long after its lifetime the operator
// allows it, whatever the origin said about that; what the origin forbids stays forbidden (RFC 9111, section 4.2.4).
func (e *Entry) OnError(now time.Time, q *Query, beyond time.Duration) bool {
	if e.mustAsk || beyond <= 0 && q.says.has(noCache) {
		return false
	}
	limit := e.ifError
	if !e.shared {
		limit = max(limit, beyond, q.says.ifError)
	}
	stale := -e.Left(now)
	return stale < 0 || !e.strict && stale <= limit && limit > 0
}

// staleAllowed says whether the answer, stale for so long, may be given at once: background is set where the origin wants it asked meanwhile.
func (e *Entry) staleAllowed(stale time.Duration, q *Query) (ok, background bool) {
	switch {
	case e.strict || stale < 0:
		return false, false
	case stale < e.whileRevalidate:
		return true, true
	}
	return !e.shared && q.says.has(maxStale) && stale <= q.says.maxStale, false
}

// AppendValidators appends the conditions by which the origin is asked whether the answer still holds (RFC 9111, section 4.3.1).
func (e *Entry) AppendValidators(dst []byte) []byte {
	if e.etag != "" {
		dst = http1.AppendField(dst, "If-None-Match", e.etag)
	}
	if !e.modified.IsZero() {
		dst = append(dst, "If-Modified-Since: "...)
		dst = append(appendDate(dst, e.modified), '\r', '\n')
	}
	return dst
}

// heuristicLimit bounds what is guessed.
const heuristicLimit = 24 * time.Hour

// heuristically are the codes whose answers may be kept though nothing says for how long (RFC 9110, section 15.1). 206 is missing: parts are
// not stored.
func heuristically(status int) bool {
	switch status {
	case 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// A clock is what is known about the times of an answer.
type clock struct{ requested, received time.Time }

// measure works out age and lifetime of an answer from its head. A lifetime is guessed only where guess allows it, as a share of the answer's age.
func (e *Entry) measure(fields []http1.Field, says *Directives, at clock, guess float64) {
	e.requested, e.received = at.requested, at.received
	expires, expiries := e.readDates(fields, at.received)
	delay := max(0, at.received.Sub(at.requested))
	e.initialAge = max(at.received.Sub(e.dated), max(0, e.ageValue)+delay)
	e.mustAsk = says.has(noCache)
	e.strict = e.mustAsk || says.has(mustRevalidate|proxyRevalidate)
	e.shared = says.has(sMaxAge)
	e.whileRevalidate, e.ifError = says.whileRevalidate, says.ifError
	switch {
	case says.Broken || e.ageValue < 0:
		e.lifetime = 0
	case says.has(sMaxAge):
		e.lifetime = says.sMaxAge
	case says.has(maxAge):
		e.lifetime = says.maxAge
	case expiries > 1:
		e.lifetime = 0
	case expiries == 1:
		if t, ok := parseDate(expires, at.received); ok {
			e.lifetime = min(max(0, t.Sub(e.dated)), forever)
		}
	case heuristically(e.Status) || says.has(public):
		if !e.modified.IsZero() && e.modified.Before(e.dated) {
			e.lifetime = min(time.Duration(float64(e.dated.Sub(e.modified))*guess), heuristicLimit)
		}
	}
}

// readDates takes dates and validators off a head. Of a field that may be there once the first counts.
func (e *Entry) readDates(fields []http1.Field, received time.Time) (expires []byte, expiries int) {
	dated := false
	e.dated = received
	for i := range fields {
		f := &fields[i]
		switch f.ID {
		case http1.Date:
			if t, ok := parseDate(f.Value, received); ok && !dated {
				e.dated, dated = t, true
			}
		case http1.Expires:
			expires = f.Value
			expiries++
		case http1.LastModified:
			if t, ok := parseDate(f.Value, received); ok && e.modified.IsZero() {
				e.modified = t
			}
		case http1.ETag:
			if e.etag == "" {
				e.etag = string(f.Value)
			}
		}
	}
	return expires, expiries
}

// parseAge reads the Age fields. An age that cannot be read, or was given twice, says that something on the way is broken: such an answer counts
// as stale, which costs one validation (RFC 9111, section 5.1 would let it pass as new).
func parseAge(fields []http1.Field) time.Duration {
	age, seen := time.Duration(0), false
	for i := range fields {
		if fields[i].ID != http1.Age {
			continue
		}
		t, ok := deltaSeconds(fields[i].Value)
		if !ok || seen {
			return -1
		}
		age, seen = t, true
	}
	return age
}

package cache

import (
	"math"
	"time"

	"github.com/backstay/backstay/internal/serve/http1"
)

// A directive is one that is understood, a bit in a set of them.
type directive uint32

const (
	noStore directive = 1 << iota
	noCache
	private
	public
	mustRevalidate
	proxyRevalidate
	mustUnderstand
	onlyIfCached
	maxAge
	sMaxAge
	minFresh
	maxStale
	staleWhileRevalidate
	staleIfError
	noCacheFields // no-cache with the names of fields
	privateFields // private with the names of fields
)

// Directives are what the Cache-Control fields of a message say (RFC 9111, section 5.2).
type Directives struct {
	set directive
	// Broken is set where freshness information is there that cannot be read: such an answer counts as stale (RFC 9111, section 4.2.1).
	Broken bool

	maxAge, sMaxAge, minFresh, maxStale, whileRevalidate, ifError time.Duration

	fields [][]byte // the names listed by no-cache and private
}

func (d *Directives) has(x directive) bool { return d.set&x != 0 }

// forever stands for lengths of time beyond what can be counted (RFC 9111, section 1.2.2).
const forever = math.MaxInt32 * time.Second

// anyStaleness is max-stale without a value.
const anyStaleness = 100 * 365 * 24 * time.Hour

// ParseDirectives reads all Cache-Control fields of a head as one list. What is unknown is ignored, as HTTP says. A list whose quotes do
// not close could hide anything, so that it counts as no-store.
func ParseDirectives(fields []http1.Field) Directives {
	var d Directives
	for i := range fields {
		if fields[i].ID == http1.CacheControl {
			d.parse(fields[i].Value)
		}
	}
	return d
}

func (d *Directives) parse(list []byte) {
	for len(list) > 0 {
		element, rest, closed := cutQuoted(list)
		if !closed {
			d.set |= noStore
			d.Broken = true
			d.parsePlain(list)
			return
		}
		d.take(element)
		list = rest
	}
}

// parsePlain takes a list without regard to quotes.
func (d *Directives) parsePlain(list []byte) {
	start := 0
	for i := 0; i <= len(list); i++ {
		if i == len(list) || list[i] == ',' {
			d.take(trim(list[start:i]))
			start = i + 1
		}
	}
}

// cutQuoted takes the first element off a comma-separated list whose elements may have quoted strings.
func cutQuoted(list []byte) (element, rest []byte, closed bool) {
	quoted := false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			return trim(list[:i]), list[i+1:], true
		}
	}
	return trim(list), nil, !quoted
}

func (d *Directives) take(element []byte) {
	name, value, valued := element, []byte(nil), false
	for i, c := range element {
		if c == '=' {
			name, value, valued = element[:i], unquote(element[i+1:]), true
			break
		}
	}
	switch {
	case is(name, "no-store"):
		d.set |= noStore
	case is(name, "no-cache"):
		d.restrict(noCache, noCacheFields, value, valued)
	case is(name, "private"):
		d.restrict(private, privateFields, value, valued)
	case is(name, "public"):
		d.set |= public
	case is(name, "must-revalidate"):
		d.set |= mustRevalidate
	case is(name, "proxy-revalidate"):
		d.set |= proxyRevalidate
	case is(name, "must-understand"):
		d.set |= mustUnderstand
	case is(name, "only-if-cached"):
		d.set |= onlyIfCached
	case is(name, "max-age"):
		d.seconds(maxAge, &d.maxAge, value)
	case is(name, "s-maxage"):
		d.seconds(sMaxAge, &d.sMaxAge, value)
	case is(name, "min-fresh"):
		d.seconds(minFresh, &d.minFresh, value)
	case is(name, "max-stale") && !valued:
		d.set |= maxStale
		d.maxStale = anyStaleness
	case is(name, "max-stale"):
		d.allowance(maxStale, &d.maxStale, value)
	case is(name, "stale-while-revalidate"):
		d.allowance(staleWhileRevalidate, &d.whileRevalidate, value)
	case is(name, "stale-if-error"):
		d.allowance(staleIfError, &d.ifError, value)
	case len(name) > 0 && isSpace(name[len(name)-1]) && (is(trim(name), "max-age") || is(trim(name), "s-maxage")):
		d.Broken = true // max-age =60
	}
}

// restrict takes a directive that holds for the whole answer, or only for the fields it lists.
func (d *Directives) restrict(whole, listed directive, value []byte, valued bool) {
	before := len(d.fields)
	for valued && len(value) > 0 {
		name, rest, _ := cutQuoted(value)
		if len(name) > 0 && !http1.ValidToken(name) {
			d.fields = d.fields[:before]
			break // what it lists cannot be told: it holds for everything
		}
		if len(name) > 0 {
			d.fields = append(d.fields, name)
		}
		value = rest
	}
	if len(d.fields) > before {
		d.set |= listed
	} else {
		d.set |= whole
	}
}

// seconds takes a directive with a length of time. What cannot be read is broken; of two that differ the lesser holds.
func (d *Directives) seconds(x directive, at *time.Duration, value []byte) {
	t, ok := deltaSeconds(value)
	if !ok {
		d.Broken = true
	}
	if d.has(x) {
		t = min(t, *at)
	}
	d.set |= x
	*at = t
}

// allowance takes a directive that allows more than HTTP does by itself: the least that is said holds, and nothing where it cannot be read.
func (d *Directives) allowance(x directive, at *time.Duration, value []byte) {
	t, ok := deltaSeconds(value)
	switch {
	case !ok:
		t = 0
	case d.has(x):
		t = min(t, *at)
	}
	d.set |= x
	*at = t
}

// deltaSeconds reads a non-negative number of seconds; larger ones than can be counted are forever (RFC 9111, section 1.2.2).
func deltaSeconds(value []byte) (time.Duration, bool) {
	if len(value) == 0 {
		return 0, false
	}
	var n int64
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + int64(c-'0'); n > math.MaxInt32 {
			n = math.MaxInt32
		}
	}
	return time.Duration(n) * time.Second, true
}

// unquote takes the quotes off a quoted string that has no escapes in it: none of the values that are understood needs any.
func unquote(value []byte) []byte {
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		return value[1 : len(value)-1]
	}
	return value
}

func is(name []byte, lower string) bool { return http1.EqualFold(name, lower) }

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

func trim(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

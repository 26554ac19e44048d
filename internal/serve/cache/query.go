package cache

import (
	"bytes"
	"slices"

	"github.com/backstay/backstay/internal/serve/http1"
)

// Query is a request as the cache sees it. A value serves any number of requests, one after the other.
type Query struct {
	// Request is what the client asks. Fields with Drop set are not seen by members, and so do not select variants.
	Request *http1.Request
	// Hidden is all else that the answer may depend on though no Vary can name it: the scheme, what the path and the host were
	// rewritten to. Requests that differ in it never share an answer, though one invalidation reaches all.
	Hidden []byte
	// Extra are the field lines, each with its CRLF, that members see besides the request's own.
	Extra []byte

	says  Directives
	key   []byte
	text  []byte // scratch
	epoch uint32 // of the key, when the request was looked at
}

// Reset makes the query one for this request.
func (q *Query) Reset(r *http1.Request, hidden, extra []byte) {
	q.Request, q.Hidden, q.Extra = r, hidden, extra
	q.says = Directives{}
	if r.Present.Has(http1.CacheControl) {
		q.says = ParseDirectives(r.Fields)
	}
	q.key = appendKey(q.key[:0], r.Host, r.Path, r.Query)
}

// Keep makes k a query of its own for the same thing, to be answered after the request is gone. r is the request as members see it.
func (q *Query) Keep(k *Query, r *http1.Request) {
	*k = Query{Request: r, Hidden: bytes.Clone(q.Hidden), key: bytes.Clone(q.key), epoch: q.epoch}
}

// appendKey appends what all variants of a resource have in common: the authority, whose default ports say nothing, the path and the
// query, byte for byte. A nil query differs from an empty one.
func appendKey(dst, host, path, query []byte) []byte {
	from := len(dst)
	dst = append(dst, host...)
	for i, c := range dst[from:] {
		if 'A' <= c && c <= 'Z' {
			dst[from+i] = c | 0x20
		}
	}
	for _, port := range []string{":80", ":443"} {
		if bytes.HasSuffix(dst[from:], []byte(port)) {
			dst = dst[:len(dst)-len(port)]
			break
		}
	}
	dst = append(dst, ' ')
	dst = append(dst, path...)
	if query != nil {
		dst = append(append(dst, '?'), query...)
	}
	return dst
}

// answerable says whether a stored answer can be one to this request. Conditions of the kind If-Match are the origin's to judge, and a
// body of a GET may mean anything.
func (q *Query) answerable() bool {
	r := q.Request
	return (r.Verb == http1.GET || r.Verb == http1.HEAD) && r.Length == 0 && r.Upgrade == nil &&
		r.Present&(http1.SetOf(http1.IfMatch, http1.IfUnmodifiedSince)) == 0
}

// concerned says whether a stored answer is looked for while the service works.
func (q *Query) concerned() bool { return q.answerable() && !q.says.has(noStore) }

// conditional says whether an answer of the origin to this request may be other than the whole representation.
func (q *Query) conditional() bool {
	return q.Request.Present&http1.SetOf(http1.IfNoneMatch, http1.IfModifiedSince, http1.Range) != 0
}

// A selector is a request field by which the origin selects a variant, and the value that an answer was selected by: empty without the field,
// else "=" and the normalised value.
type selector struct{ name, value string }

// selects says whether the request asks for the variant (RFC 9111, section 4.1).
func (q *Query) selects(hidden string, by []selector) bool {
	if string(q.Hidden) != hidden {
		return false
	}
	for i := range by {
		q.text = q.appendSelecting(q.text[:0], by[i].name)
		if string(q.text) != by[i].value {
			return false
		}
	}
	return true
}

// appendSelecting appends the normalised value of a field as members see it.
func (q *Query) appendSelecting(dst []byte, name string) []byte {
	from := len(dst)
	for i := range q.Request.Fields {
		if f := &q.Request.Fields[i]; !f.Drop && http1.EqualFold(f.Name, name) {
			dst = appendValue(dst, from, f.Value)
		}
	}
	for rest := q.Extra; len(rest) > 0; {
		line := rest
		if n := bytes.IndexByte(rest, '\n'); n >= 0 {
			line, rest = rest[:n], rest[n+1:]
		} else {
			rest = nil
		}
		if field, value, ok := bytes.Cut(line, []byte{':'}); ok && http1.EqualFold(field, name) {
			dst = appendValue(dst, from, bytes.TrimSpace(value))
		}
	}
	if len(dst) == from {
		return dst
	}
	if negotiates(name) {
		return normaliseList(dst, from+1)
	}
	return dst
}

// appendValue appends one line's value: several are one list (RFC 9110, section 5.3), and white space around commas outside of
// quotes means nothing.
func appendValue(dst []byte, from int, value []byte) []byte {
	if len(dst) == from {
		dst = append(dst, '=')
	} else {
		dst = append(dst, ',')
	}
	for first := true; len(value) > 0; first = false {
		element, rest, _ := cutQuoted(value)
		if !first {
			dst = append(dst, ',')
		}
		dst = append(dst, element...)
		value = rest
	}
	return dst
}

// negotiates says whether a field is a list of preferences, in which neither case nor order means anything (RFC 9110, section 12.5).
func negotiates(name string) bool {
	switch name {
	case "accept", "accept-encoding", "accept-language", "accept-charset":
		return true
	}
	return false
}

// normaliseList sorts the elements of dst[from:], in lower case, without white space and the weight that means nothing.
func normaliseList(dst []byte, from int) []byte {
	list := bytes.ToLower(dst[from:])
	var elements [][]byte
	for len(list) > 0 {
		element, rest, _ := cutQuoted(list)
		if bytes.IndexByte(element, '"') < 0 {
			element = bytes.ReplaceAll(bytes.ReplaceAll(element, []byte(" "), nil), []byte("\t"), nil)
		}
		for _, full := range []string{";q=1.000", ";q=1.00", ";q=1.0", ";q=1."} {
			element = bytes.TrimSuffix(element, []byte(full))
		}
		if element = bytes.TrimSuffix(element, []byte(";q=1")); len(element) > 0 {
			elements = append(elements, element)
		}
		list = rest
	}
	slices.SortFunc(elements, bytes.Compare)
	return append(dst[:from], bytes.Join(slices.CompactFunc(elements, bytes.Equal), []byte{','})...)
}

// perRequest are fields that differ with every request, because they are made here.
var perRequest = http1.SetOf(http1.XRequestID, http1.Traceparent, http1.Tracestate)

// selectors reads the Vary fields of an answer to this request. ok is false where no other request can be known to get the same.
func (q *Query) selectors(fields []http1.Field) (by []selector, ok bool) {
	for i := range fields {
		if fields[i].ID != http1.Vary {
			continue
		}
		for list := fields[i].Value; len(list) > 0; {
			var name []byte
			name, list, _ = cutQuoted(list)
			if len(name) == 0 {
				continue
			}
			if !http1.ValidToken(name) || string(name) == "*" || perRequest.Has(http1.Identify(name)) && http1.Identify(name) != http1.Unknown {
				return nil, false
			}
			lower := string(bytes.ToLower(name))
			if slices.ContainsFunc(by, func(s selector) bool { return s.name == lower }) {
				continue
			}
			q.text = q.appendSelecting(q.text[:0], lower)
			by = append(by, selector{lower, string(q.text)})
		}
	}
	return by, true
}

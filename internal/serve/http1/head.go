package http1

import "bytes"

// head is what requests and responses have in common.
type head struct {
	// Fields are the field lines, in order.
	Fields []Field
	// Present has the well-known names among the fields.
	Present Set

	raw      []byte // the bytes Fields' lines are in, once the head is complete
	fieldsAt uint32 // where in raw the first field line begins

	scan    scan
	framing framing
}

// scan is how far the parser got. A line is judged when its line feed is there, never before, so that the verdict does not depend on how the
// bytes happened to arrive.
type scan struct {
	base    *byte // where the buffer stood
	next    int   // where the next line to parse begins
	seen    int   // no line feed in buf[next:seen]
	started bool  // the start line is parsed
}

// framing is what the fields say about where the message ends and who else may see it.
type framing struct {
	length     int64 // of Content-Length, valid if that is present
	close      bool  // Connection: close
	keepAlive  bool  // Connection: keep-alive
	upgrade    bool  // Connection: upgrade
	lists      bool  // Connection lists other fields
	chunked    bool  // Transfer-Encoding: chunked
	continues  bool  // Expect: 100-continue
	trailers   bool  // TE: trailers
	inResponse bool
}

// begin forgets the last head. It keeps the memory of Fields.
func (h *head) begin() {
	h.Fields, h.Present, h.raw, h.fieldsAt = h.Fields[:0], 0, nil, 0
	h.scan, h.framing = scan{}, framing{}
}

// forget drops the references to the caller's buffer as well.
func (h *head) forget() {
	clear(h.Fields[:cap(h.Fields)])
	h.begin()
}

// resume tells whether there is a new line to parse in buf. It begins anew where the head is new or the buffer has moved. The first bytes are always
// looked at, so that what is no HTTP is told at once.
func (h *head) resume(buf []byte) bool {
	s := &h.scan
	if s.base == nil || len(buf) < s.seen || s.base != &buf[0] {
		h.begin()
		s.base = &buf[0]
		return true
	}
	if s.seen > 2 && bytes.IndexByte(buf[s.seen:], '\n') < 0 {
		s.seen = len(buf)
		return false
	}
	return true
}

// judge settles what is to be said of a line that begins at from and was found wrong: err, if the line is complete, else nothing yet.
func judge(buf []byte, from int, err *Error) *Error {
	if err == nil || bytes.IndexByte(buf[from:], '\n') < 0 {
		return nil
	}
	return err
}

// fields parses field lines from scan.next on. It returns where the head ends, 0 while that is not known.
func (h *head) fields(buf []byte, most int) (end int, err *Error) {
	pos := h.scan.next
	for {
		if pos+1 < len(buf) && buf[pos] == '\r' && buf[pos+1] == '\n' {
			return pos + 2, nil
		}
		if len(h.Fields) >= most && pos+1 < len(buf) {
			h.scan.next = pos
			return 0, judge(buf, pos, errTooManyFields)
		}
		colon, from, to, next, err := line(buf, pos)
		if next == 0 {
			h.scan.next = pos
			if bytes.IndexByte(buf[pos:max(pos, colon)], '\n') >= 0 { // the colon is not this line's
				return 0, nameError(buf[pos:colon])
			}
			return 0, judge(buf, pos, err)
		}
		id, drop := identify(buf, pos, colon), false
		if id == Unknown {
			if !ValidToken(buf[pos:colon]) {
				return 0, nameError(buf[pos:colon])
			}
			drop = disguised(buf[pos:colon])
		}
		if len(h.Fields) == cap(h.Fields) {
			h.Fields = append(h.Fields, Field{})
		} else {
			h.Fields = h.Fields[:len(h.Fields)+1]
		}
		f := &h.Fields[len(h.Fields)-1]
		f.Name, f.Value = buf[pos:colon:colon], buf[from:to:to]
		f.start, f.end, f.ID, f.Drop = uint32(pos), uint32(next), id, drop
		if special.Has(id) {
			if err := h.note(f); err != nil {
				return 0, err
			}
		}
		h.Present |= 1 << id
		pos = next
	}
}

// disguised tells whether a name is a well-known one but for underscores in place of hyphens. CGI and what follows it cannot tell the two apart, so
// that X_Forwarded_For would be believed where X-Forwarded-For was replaced.
func disguised(name []byte) bool {
	if bytes.IndexByte(name, '_') < 0 || len(name) > longestName {
		return false
	}
	var plain [longestName]byte
	for i, c := range name {
		if c == '_' {
			c = '-'
		}
		plain[i] = c
	}
	return Identify(plain[:len(name)]) != Unknown
}

// line finds the parts of a field line: buf[pos:colon] is the name, buf[from:to] the value, next where the line after it begins, 0 where
// the line is not complete or wrong. The name is not looked at but for being there.
func line(buf []byte, pos int) (colon, from, to, next int, err *Error) {
	for colon = pos; ; colon += 8 {
		if mask := equal(load(buf, colon), ':'); mask != 0 {
			colon += first(mask)
			break
		}
		if colon >= len(buf) {
			return 0, 0, 0, 0, noColon(buf, pos)
		}
	}
	if colon == pos {
		return 0, 0, 0, 0, errEmptyName
	}
	from = colon + 1
	for from < len(buf) && isSpace(buf[from]) {
		from++
	}
	for i := from; ; i += 8 {
		mask := controls(load(buf, i))
		if mask == 0 {
			continue
		}
		i += first(mask)
		switch {
		case i >= len(buf):
			return colon, 0, 0, 0, nil
		case buf[i] == '\t':
			i -= 7
			continue
		case buf[i] != '\r':
			return colon, 0, 0, 0, valueError(buf[i])
		case i+1 == len(buf):
			return colon, 0, 0, 0, nil
		case buf[i+1] != '\n':
			return colon, 0, 0, 0, errBareCR
		}
		for to = i; to > from && isSpace(buf[to-1]); to-- {
		}
		return colon, from, to, i + 2, nil
	}
}

// noColon says what is wrong with a line in which no colon was found up to the end of buf.
func noColon(buf []byte, pos int) *Error {
	n := bytes.IndexByte(buf[pos:], '\n')
	if n < 0 {
		return nil
	}
	return nameError(buf[pos : pos+n+1])
}

// nameError says what is wrong with a field name, or with a line without one.
func nameError(name []byte) *Error {
	if isSpace(name[0]) {
		return errFolded
	}
	for i, c := range name {
		switch {
		case c == '\n':
			if i > 0 && name[i-1] == '\r' {
				return errNoColon
			}
			return errBareLF
		case c == '\r' && (i+1 == len(name) || name[i+1] != '\n'):
			return errBareCR
		case isSpace(c) && i+1 == len(name):
			return errSpaceBeforeColon
		}
	}
	return errName
}

func valueError(c byte) *Error {
	switch c {
	case '\n':
		return errBareLF
	case 0:
		return errNUL
	}
	return errControl
}

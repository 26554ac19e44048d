package http1

import (
	"bytes"
	"encoding/binary"
)

// requestLine parses the request line (RFC 9112, section 3) and returns where the fields begin, 0 while it is not complete. One empty line ahead
// of it is skipped (section 2.2).
func (r *Request) requestLine(buf []byte) (next int, err *Error) {
	pos := 0
	if buf[0] == '\r' {
		if len(buf) < 3 {
			if len(buf) == 2 && buf[1] != '\n' {
				return 0, errBareCR
			}
			return 0, nil
		}
		if buf[1] != '\n' {
			return 0, errBareCR
		}
		pos = 2
	}
	if class[buf[pos]]&isToken == 0 { // so that what is no HTTP at all is told at once
		return 0, errMethod
	}
	next, err = r.startLine(buf, pos)
	if err != nil {
		return 0, judge(buf, pos, err)
	}
	if next == 0 {
		return 0, nil
	}
	if err := r.resolve(); err != nil {
		return 0, err
	}
	r.lineAt, r.fieldsAt = uint32(pos), uint32(next)
	r.scan.next, r.scan.started = next, true
	return next, nil
}

const (
	http11 = 'H' | 'T'<<8 | 'T'<<16 | 'P'<<24 | '/'<<32 | '1'<<40 | '.'<<48 | '1'<<56
	get    = 'G' | 'E'<<8 | 'T'<<16 | ' '<<24
)

// startLine splits the line into method, target and version.
func (r *Request) startLine(buf []byte, pos int) (next int, err *Error) {
	i := pos
	if word := load(buf, pos); uint32(word) == get {
		r.Verb, i = GET, pos+3
	} else {
		for i < len(buf) && class[buf[i]]&isToken != 0 {
			i++
		}
		if i == len(buf) {
			return 0, nil
		}
		if buf[i] != ' ' {
			return 0, lineError(buf[i], errMethod)
		}
		r.Verb = VerbOf(buf[pos:i])
	}
	r.Method = buf[pos:i:i]
	from := i + 1
	to, query, err := target(buf, from)
	if to == 0 {
		return 0, err
	}
	r.Target, r.Path, r.Query, r.Scheme, r.Host = buf[from:to:to], buf[from:to:to], nil, nil, nil
	if query > 0 {
		r.Path, r.Query = buf[from:query:query], buf[query+1:to:to]
	}
	return r.version(buf, to+1)
}

// version takes the rest of the line: HTTP/1.0 or HTTP/1.1 and CRLF.
func (r *Request) version(buf []byte, pos int) (next int, err *Error) {
	if pos+10 <= len(buf) && binary.LittleEndian.Uint64(buf[pos:]) == http11 && buf[pos+8] == '\r' && buf[pos+9] == '\n' {
		r.Minor, r.verbatim = 1, true
		return pos + 10, nil
	}
	end := bytes.IndexByte(buf[pos:], '\n')
	if end < 0 {
		return 0, nil
	}
	r.verbatim = false
	word := buf[pos : pos+end]
	if end == 0 || word[end-1] != '\r' {
		return 0, errBareLF
	}
	if r.Minor, err = minor(word[:end-1], errRequestLine); err != nil {
		return 0, err
	}
	return pos + end + 1, nil
}

// minor reads a protocol version (RFC 9112, section 2.3).
func minor(version []byte, malformed *Error) (byte, *Error) {
	if len(version) != 8 || string(version[:5]) != "HTTP/" || version[6] != '.' ||
		class[version[5]]&class[version[7]]&isDigit == 0 {
		return 0, malformed
	}
	if version[5] != '1' {
		return 0, errVersion
	}
	return min(version[7]-'0', 1), nil
}

// target finds the space that ends the request target, 0 while it is not there, and its first question mark.
func target(buf []byte, from int) (to, query int, err *Error) {
	for i := from; ; i += 8 {
		mask := targetStops(load(buf, i))
		if mask == 0 {
			continue
		}
		i += first(mask)
		if i >= len(buf) {
			return 0, 0, nil
		}
		switch c := buf[i]; c {
		case ' ':
			if i == from {
				return 0, 0, errRequestLine
			}
			return i, query, nil
		case '?':
			if query == 0 {
				query = i
			}
		case '%':
			if query == 0 && (i+2 >= len(buf) || class[buf[i+1]]&class[buf[i+2]]&isHex == 0) {
				return 0, 0, errTargetEscape
			}
		default:
			return 0, 0, lineError(c, errTargetByte)
		}
		i -= 7
	}
}

// lineError says what is wrong with a byte of the request line.
func lineError(c byte, otherwise *Error) *Error {
	switch c {
	case '\r', '\n':
		return errRequestLine
	case 0:
		return errNUL
	case '#':
		return errTargetFragment
	}
	return otherwise
}

// resolve finds out which form the target has (RFC 9112, section 3.2).
func (r *Request) resolve() *Error {
	switch {
	case r.Verb == CONNECT:
		if !ValidHost(r.Target) || bytes.LastIndexByte(r.Target, ':') <= bytes.LastIndexByte(r.Target, ']') {
			return errTargetForm
		}
		r.Host, r.Path, r.Query, r.verbatim = r.Target, nil, nil, false
	case r.Target[0] == '/':
	case len(r.Target) == 1 && r.Target[0] == '*':
		if r.Verb != OPTIONS {
			return errTargetForm
		}
	default:
		return r.absolute()
	}
	return nil
}

var slash, asterisk = []byte("/"), []byte("*")

// absolute takes a target in absolute form apart (RFC 9112, section 3.2.2).
func (r *Request) absolute() *Error {
	colon := bytes.IndexByte(r.Path, ':')
	if colon < 0 || !bytes.HasPrefix(r.Path[colon:], []byte("://")) {
		return errTargetForm
	}
	r.Scheme = r.Path[:colon:colon]
	if !EqualFold(r.Scheme, "http") && !EqualFold(r.Scheme, "https") {
		return errTargetForm
	}
	r.Host, r.Path, r.verbatim = r.Path[colon+3:], nil, false
	if i := bytes.IndexByte(r.Host, '/'); i >= 0 {
		r.Host, r.Path = r.Host[:i:i], r.Host[i:]
	}
	if bytes.IndexByte(r.Host, '@') >= 0 {
		return errTargetUser
	}
	if !ValidHost(r.Host) {
		return errHost
	}
	switch {
	case len(r.Path) > 0:
	case r.Verb == OPTIONS && r.Query == nil:
		r.Path = asterisk // section 3.2.4
	default:
		r.Path = slash
	}
	return nil
}

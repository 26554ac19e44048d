package http1

import (
	"bytes"
	"encoding/binary"
)

// Response is the head of a response. The zero value is ready for use, and one value serves any number of responses, one after the other.
// Its slices refer to the buffer given to Parse.
type Response struct {
	// Status is the code, 100 to 999.
	Status int
	// Reason is the phrase, often empty.
	Reason []byte
	// Minor is the version's: 0 or 1.
	Minor byte
	head
	// Length is how long the body is in bytes, 0 without one, ChunkedBody or UntilClose. It is 0 for answers to HEAD, 1xx, 204 and 304 whatever their fields say.
	Length int64
	// Close is set where the connection cannot be used again after this response.
	Close bool
	// Upgrade is the protocol changed to by a 101 response, nil otherwise.
	Upgrade []byte

	verbatim bool // the status line can be forwarded as it came
}

// Parse reads the head at the beginning of buf, the answer to a request with this method. Results are as for Request.Parse; refusals have Status 502.
// Interim responses (1xx) are returned like others: the final one follows.
func (r *Response) Parse(buf []byte, lim Limits, verb Verb) (n int, err error) {
	limit := lim.head()
	full := len(buf) > limit
	if full {
		buf = buf[:limit]
	}
	if len(buf) == 0 {
		return 0, nil
	}
	n, refused := r.parse(buf, lim.fields(), verb)
	if n == 0 && refused == nil {
		if !full {
			return 0, nil
		}
		refused = errResponseTooLarge
	}
	r.scan.base = nil // the next call begins anew
	if refused != nil {
		return 0, &Error{502, refused.Reason}
	}
	return n, nil
}

func (r *Response) parse(buf []byte, maxFields int, verb Verb) (n int, err *Error) {
	if !r.resume(buf) {
		return 0, nil
	}
	r.framing.inResponse = true
	if !r.scan.started {
		next, err := r.statusLine(buf)
		if next == 0 {
			r.scan.seen = len(buf)
			return 0, err
		}
		r.fieldsAt = uint32(next)
		r.scan.next, r.scan.started = next, true
	}
	n, err = r.fields(buf, maxFields)
	if n == 0 {
		r.scan.seen = len(buf)
		return 0, err
	}
	r.raw = buf[:n:n]
	return n, r.settle(verb)
}

// statusLine parses the status line (RFC 9112, section 4) and returns where the fields begin, 0 while it is not complete. The space ahead of an
// empty reason may be missing, as it often is.
func (r *Response) statusLine(buf []byte) (next int, err *Error) {
	if buf[0] != 'H' { // so that what is no HTTP at all is told at once
		return 0, errStatusLine
	}
	end := bytes.IndexByte(buf, '\n')
	if end < 0 {
		return 0, nil
	}
	if buf[end-1] != '\r' {
		return 0, errBareLF
	}
	line := buf[:end-1]
	if len(line) < 12 || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return 0, errStatusLine
	}
	r.verbatim = binary.LittleEndian.Uint64(line) == http11
	if r.Minor = 1; !r.verbatim {
		if r.Minor, err = minor(line[:8], errStatusLine); err != nil {
			return 0, err
		}
	}
	if class[line[9]]&class[line[10]]&class[line[11]]&isDigit == 0 || line[9] == '0' {
		return 0, errStatusLine
	}
	r.Status = int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
	r.Reason = line[12:]
	if len(r.Reason) > 0 {
		r.Reason = r.Reason[1:]
	}
	for i := 0; i < len(r.Reason); i++ {
		if c := r.Reason[i]; c < ' ' && c != '\t' || c == 0x7f {
			return 0, valueError(c)
		}
	}
	return end + 1, nil
}

// settle judges the head as a whole (RFC 9112, section 6.3).
func (r *Response) settle(verb Verb) (err *Error) {
	if r.Length, err = r.frame(r.Minor); err != nil {
		return err
	}
	r.Close = r.last(r.Minor)
	r.Upgrade = nil
	switch {
	case r.Status < 200 || r.Status == 204:
		r.Length = 0
		r.Drop(1 << ContentLength) // section 8.6 of RFC 9110: it must not be there, and some clients would wait for the body
		if r.Status == 101 {
			r.Upgrade = r.protocols(r.Minor)
		}
	case verb == HEAD || r.Status == 304:
		r.Length = 0
	case verb == CONNECT && r.Status < 300: // a tunnel, which has no end but the connection's
		r.Length, r.Close = UntilClose, true
	case r.Length == 0 && !r.Present.Has(ContentLength):
		r.Length, r.Close = UntilClose, true
	}
	return r.dropListed()
}

// AppendHead appends the head to forward, without the empty line that ends it: status line with HTTP/1.1, and AppendFields.
func (r *Response) AppendHead(dst []byte) []byte {
	if r.verbatim {
		return r.appendFrom(dst, 0, r.fieldsAt)
	}
	return r.AppendFields(AppendStatusLine(dst, r.Status, r.Reason))
}

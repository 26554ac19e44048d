package http1

// special are the fields whose meaning Parse needs.
const special = hopByHop | 1<<Host | 1<<ContentLength | 1<<Expect | 1<<Trailer

// note takes in what a special field means. It is called before the field counts as present.
func (h *head) note(f *Field) *Error {
	f.Drop = hopByHop.Has(f.ID)
	switch f.ID {
	case Host:
		return h.noteHost(f)
	case ContentLength:
		return h.noteLength(f)
	case TransferEncoding:
		return h.noteCoding(f)
	case Connection:
		return h.noteConnection(f.Value)
	case Expect:
		return h.noteExpect(f.Value)
	case TE:
		h.framing.trailers = h.framing.trailers || HasToken(f.Value, "trailers")
	case Trailer:
		return announced(f.Value)
	}
	return nil
}

// noteHost: exactly one, and valid (RFC 9112, section 3.2).
func (h *head) noteHost(f *Field) *Error {
	switch {
	case h.framing.inResponse:
		return nil
	case h.Present.Has(Host):
		return errManyHosts
	case !ValidHost(f.Value):
		return errHost
	}
	return nil
}

// noteLength: one number (RFC 9112, section 6.3). Repeating it is allowed to members only, if it is the same, and it is forwarded once.
func (h *head) noteLength(f *Field) *Error {
	length, ok := parseLength(f.Value)
	switch {
	case !ok:
		return errLength
	case !h.Present.Has(ContentLength):
		h.framing.length = length
	case !h.framing.inResponse || length != h.framing.length:
		return errManyLengths
	default:
		f.Drop = true
	}
	return nil
}

// parseLength takes plain digits without a leading zero, fewer than would overflow.
func parseLength(value []byte) (n int64, ok bool) {
	if len(value) == 0 || len(value) > 18 || value[0] == '0' && len(value) > 1 {
		return 0, false
	}
	for _, c := range value {
		if class[c]&isDigit == 0 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// noteCoding: chunked, once, and nothing else (RFC 9112, section 6.1).
func (h *head) noteCoding(f *Field) *Error {
	if h.Present.Has(TransferEncoding) {
		return errManyCodings
	}
	if EqualFold(f.Value, "chunked") {
		h.framing.chunked = true
		return nil
	}
	return codingError(f.Value)
}

// codingError tells a coding that is only unknown (501) from a list that leaves the body's end open (400).
func codingError(list []byte) *Error {
	var chunked int
	var last, element []byte
	for len(list) > 0 {
		if element, list = cutElement(list); !ValidToken(element) {
			return errCoding
		}
		if last = element; EqualFold(element, "chunked") {
			chunked++
		}
	}
	switch {
	case len(last) == 0, chunked > 1, chunked == 1 && !EqualFold(last, "chunked"), EqualFold(last, "identity"):
		return errCoding
	}
	return errUnknownCoding
}

// noteConnection takes the options close, keep-alive and upgrade (RFC 9110, section 7.6.1), and remembers whether there are others, which are names of fields.
func (h *head) noteConnection(list []byte) *Error {
	for len(list) > 0 {
		var option []byte
		option, list = cutElement(list)
		switch {
		case len(option) == 0:
		case EqualFold(option, "keep-alive"):
			h.framing.keepAlive = true
		case EqualFold(option, "close"):
			h.framing.close = true
		case EqualFold(option, "upgrade"):
			h.framing.upgrade = true
		case !ValidToken(option):
			return errConnection
		default:
			h.framing.lists = true
		}
	}
	return nil
}

// noteExpect: 100-continue is the only expectation there is (RFC 9110, section 10.1.1).
func (h *head) noteExpect(value []byte) *Error {
	if h.framing.inResponse {
		return nil
	}
	if !EqualFold(value, "100-continue") {
		return errExpectation
	}
	h.framing.continues = true
	return nil
}

// announced looks at what a Trailer field promises.
func announced(list []byte) *Error {
	for len(list) > 0 {
		var name []byte
		name, list = cutElement(list)
		if id := Identify(name); id != Unknown && reframing.Has(id) {
			return errTrailer
		}
	}
	return nil
}

// needed are the fields that no Connection field may take away: without them the next recipient would understand another message.
const needed = Set(1)<<Host | 1<<ContentLength | 1<<Trailer | 1<<ContentType | 1<<ContentEncoding | 1<<ContentRange

// dropListed marks the fields that the Connection fields list as hop-by-hop.
func (h *head) dropListed() *Error {
	if !h.framing.lists {
		return nil
	}
	for i := range h.Fields {
		if h.Fields[i].ID != Connection {
			continue
		}
		for list := h.Fields[i].Value; len(list) > 0; {
			var option []byte
			option, list = cutElement(list)
			switch id := Identify(option); {
			case id != Unknown && needed.Has(id):
				return errConnectionLists
			case id != Unknown:
				h.Drop(1 << id)
			default:
				dropName(h.Fields, option)
			}
		}
	}
	return nil
}

// frame settles what the framing fields mean together (RFC 9112, sections 6.1 and 6.3).
func (h *head) frame(minor byte) (length int64, err *Error) {
	switch {
	case h.Present.Has(TransferEncoding) && h.Present.Has(ContentLength):
		return 0, errCodingAndLength
	case h.framing.chunked && minor == 0:
		return 0, errCodingVersion
	case h.framing.chunked:
		return ChunkedBody, nil
	}
	return h.framing.length, nil // 0 without the field
}

// last tells whether the connection ends after this message (RFC 9112, section 9.3).
func (h *head) last(minor byte) bool {
	return h.framing.close || minor == 0 && !h.framing.keepAlive
}

// protocols are what the Upgrade field lists, if Connection says so and the version knows of it.
func (h *head) protocols(minor byte) []byte {
	if !h.framing.upgrade || minor == 0 {
		return nil
	}
	return h.Get(Upgrade)
}

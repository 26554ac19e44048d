package http1

// Verb is a method that is told apart while parsing.
type Verb uint8

// The methods of RFC 9110 and RFC 5789. Other methods are allowed, and OtherVerb.
const (
	OtherVerb Verb = iota
	GET
	HEAD
	POST
	PUT
	DELETE
	OPTIONS
	PATCH
	TRACE
	CONNECT
)

// Idempotent tells whether a request may be sent again although it may have been processed (RFC 9110, section 9.2.2).
func (v Verb) Idempotent() bool {
	switch v {
	case GET, HEAD, PUT, DELETE, OPTIONS, TRACE:
		return true
	}
	return false
}

// Safe tells whether a request asks for no change (RFC 9110, section 9.2.1).
func (v Verb) Safe() bool { return v == GET || v == HEAD || v == OPTIONS || v == TRACE }

// VerbOf is the verb of a method. Methods are case-sensitive.
func VerbOf[M ~string | ~[]byte](method M) Verb {
	switch string(method) {
	case "GET":
		return GET
	case "HEAD":
		return HEAD
	case "POST":
		return POST
	case "PUT":
		return PUT
	case "DELETE":
		return DELETE
	case "OPTIONS":
		return OPTIONS
	case "PATCH":
		return PATCH
	case "TRACE":
		return TRACE
	case "CONNECT":
		return CONNECT
	}
	return OtherVerb
}

// Request is the head of a request. The zero value is ready for use, and one value serves any number of requests, one after
// the other. Its slices refer to the buffer given to Parse.
type Request struct {
	// Method is the token sent, Verb what it means.
	Method []byte
	Verb   Verb
	// Target is the request target as it was sent (RFC 9112, section 3.2).
	Target []byte
	// Scheme is http or https as sent where the target was in absolute form, nil otherwise.
	Scheme []byte
	// Host is the authority asked for, with its port if it has one: of the target, else of the Host field. It is empty only in HTTP/1.0.
	Host []byte
	// Path is the path of the target: "/" where an absolute one has none, "*" for a server-wide OPTIONS, empty for CONNECT.
	Path []byte
	// Query is what follows the question mark, nil without one.
	Query []byte
	// Minor is the version's: 0 or 1 (higher ones count as 1: RFC 9110, section 2.5).
	Minor byte
	head
	// Length is how long the body is in bytes, 0 without one, or ChunkedBody.
	Length int64
	// Close is set where the client wants the connection to end after the response.
	Close bool
	// Expect is set where the client waits for 100 Continue before it sends the body.
	Expect bool
	// Upgrade lists the protocols the client offers to change to, nil where it does not, or not properly (RFC 9110, section 7.8).
	Upgrade []byte
	// Trailers is set where the client says it understands trailers (TE: trailers).
	Trailers bool

	lineAt   uint32 // where in raw the request line begins
	verbatim bool   // the request line can be forwarded as it came
}

// Parse reads the head at the beginning of buf. It returns how many bytes the head has (an empty line ahead of it included), 0 and nil
// while it is not complete, or an *Error. After a complete head, an error or Reset the next call begins a new head.
//
// While a head is incomplete, call again with the same bytes and those that have come since: only the new ones are looked at,
// as long as the buffer stays in place. Where it has moved (grown), what was parsed is parsed again.
func (r *Request) Parse(buf []byte, lim Limits) (n int, err error) {
	limit := lim.head()
	full := len(buf) > limit
	if full {
		buf = buf[:limit]
	}
	if len(buf) == 0 {
		return 0, nil
	}
	n, refused := r.parse(buf, lim.fields())
	if n == 0 && refused == nil {
		if !full {
			return 0, nil
		}
		if refused = errTargetTooLong; r.scan.started {
			refused = errHeadTooLarge
		}
	}
	r.scan.base = nil // the next call begins anew
	if refused != nil {
		return 0, refused
	}
	return n, nil
}

func (r *Request) parse(buf []byte, maxFields int) (n int, err *Error) {
	if !r.resume(buf) {
		return 0, nil
	}
	if !r.scan.started {
		if next, err := r.requestLine(buf); next == 0 {
			r.scan.seen = len(buf)
			return 0, err
		}
	}
	n, err = r.fields(buf, maxFields)
	if n == 0 {
		r.scan.seen = len(buf)
		return 0, err
	}
	r.raw = buf[:n:n]
	return n, r.settle()
}

// settle judges the head as a whole.
func (r *Request) settle() (err *Error) {
	if r.Length, err = r.frame(r.Minor); err != nil {
		return err
	}
	host := r.Get(Host)
	switch {
	case host == nil && r.Minor > 0:
		return errNoHost
	case r.Host == nil:
		r.Host = host
	case host != nil && !EqualFold(r.Host, host):
		return errTargetHost
	}
	r.Close = r.last(r.Minor)
	r.Expect = r.framing.continues && r.Minor > 0
	r.Upgrade = r.protocols(r.Minor)
	r.Trailers = r.framing.trailers
	return r.dropListed()
}

// Reset forgets everything, the references to the caller's buffer included.
func (r *Request) Reset() {
	r.forget()
	*r = Request{head: r.head}
}

// AppendHead appends the head to forward, without the empty line that ends it: request line in origin form with HTTP/1.1, and AppendFields.
// For another path use AppendRequestLine and AppendFields.
func (r *Request) AppendHead(dst []byte) []byte {
	if r.verbatim {
		return r.appendFrom(dst, r.lineAt, r.fieldsAt)
	}
	return r.AppendFields(AppendRequestLine(dst, r.Method, r.Path, r.Query))
}

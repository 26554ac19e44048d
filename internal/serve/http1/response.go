package http1

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
}

// Parse reads the head at the beginning of buf, the answer to a request with this method. Results are as for Request.Parse; refusals have Status 502.
// Interim responses (1xx) are returned like others: the final one follows.
func (r *Response) Parse(buf []byte, lim Limits, verb Verb) (n int, err error) {
	panic("http1: not written yet")
}

// Reset forgets everything, the references to the caller's buffer included.
func (r *Response) Reset() { panic("http1: not written yet") }

// AppendHead appends the head to forward, without the empty line that ends it: status line with HTTP/1.1, and AppendFields.
func (r *Response) AppendHead(dst []byte) []byte { panic("http1: not written yet") }

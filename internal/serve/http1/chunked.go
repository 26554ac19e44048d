package http1

// Chunked decodes the chunked transfer coding (RFC 9112, section 7.1). The zero value is ready for a body; so is one after Reset.
type Chunked struct {
	// Trailers are the trailer fields, once Next has returned done. Those that must not be trailers (RFC 9110, section 6.5.1) have
	// Drop set. They refer to the buffer given to that call.
	Trailers []Field
	// Limits bound the trailer section.
	Limits Limits
}

// Next takes the next piece. It consumed n bytes of buf and found data among them, which refers to buf and may be empty. Call it
// again with the rest of buf until done (the body and its trailers are complete; what follows in buf is not the body's)
// or until n is 0, which means that more bytes are needed. The trailer section must fit into the buffer as a whole.
// An *Error has Status 400; on the way from a member the caller turns it into 502.
func (c *Chunked) Next(buf []byte) (data []byte, n int, done bool, err error) {
	panic("http1: not written yet")
}

// Reset makes c ready for another body; Limits stay.
func (c *Chunked) Reset() { panic("http1: not written yet") }

// AppendTrailers appends the trailer lines that may be forwarded, each with its CRLF, without the final empty line.
func (c *Chunked) AppendTrailers(dst []byte) []byte { panic("http1: not written yet") }

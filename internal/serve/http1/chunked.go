package http1

// Bounds on the framing of a chunked body, which carries no data.
const (
	maxChunkLine = 256      // size and extensions of one chunk
	maxOverhead  = 16 << 10 // framing over 16 bytes a chunk and twice the data
)

// Chunked decodes the chunked transfer coding (RFC 9112, section 7.1). The zero value is ready for a body; so is one after Reset.
// Chunk extensions are read over.
type Chunked struct {
	// Trailers are the trailer fields, once Next has returned done. Those that must not be trailers (RFC 9110, section 6.5.1) have
	// Drop set. They refer to the buffer given to that call.
	Trailers []Field
	// Limits bound the trailer section.
	Limits Limits

	state    chunkState
	size     uint64 // of the chunk, as far as it is read; then what is left of its data
	digits   int    // of the size
	line     int    // bytes of the chunk's first line
	overhead int    // bytes of framing that count against maxOverhead
	section  head   // the trailer section
}

// chunkState is what the decoder expects next.
type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExtension
	chunkLineFeed
	chunkData
	chunkReturn
	chunkFeed
	chunkTrailers
	chunkDone
)

// Next takes the next piece. It consumed n bytes of buf and found data among them, which refers to buf and may be empty. Call it
// again with the rest of buf until done (the body and its trailers are complete; what follows in buf is not the body's)
// or until n is 0, which means that more bytes are needed. The trailer section must fit into the buffer as a whole.
// An *Error has Status 400 or 431; on the way from a member the caller turns it into 502.
func (c *Chunked) Next(buf []byte) (data []byte, n int, done bool, err error) {
	for n < len(buf) {
		switch c.state {
		case chunkData:
			if data != nil {
				return data, n, false, nil
			}
			take := len(buf) - n
			if uint64(take) >= c.size {
				take, c.state = int(c.size), chunkReturn
			}
			c.size -= uint64(take)
			data = buf[n : n+take : n+take]
			n += take
		case chunkTrailers:
			end, refused := c.trailers(buf[n:])
			if refused != nil {
				return data, n, false, refused
			}
			if end == 0 {
				return data, n, false, nil
			}
			c.state = chunkDone
			return data, n + end, true, nil
		case chunkDone:
			return data, n, true, nil
		default:
			if refused := c.step(buf[n]); refused != nil {
				return data, n, false, refused
			}
			n++
		}
	}
	return data, n, c.state == chunkDone, nil
}

// step takes one byte of framing.
func (c *Chunked) step(b byte) *Error {
	switch c.state {
	case chunkReturn:
		if b != '\r' {
			return errChunkEnd
		}
		c.state = chunkFeed
	case chunkFeed:
		if b != '\n' {
			return errChunkEnd
		}
		c.state, c.digits, c.line = chunkSize, 0, 0
	case chunkSize:
		return c.sizeByte(b)
	case chunkExtension:
		c.line++
		switch {
		case c.line > maxChunkLine:
			return errChunkExtension
		case b == '\r':
			c.state = chunkLineFeed
		case b < ' ' && b != '\t' || b == 0x7f:
			return errChunkLine
		}
	case chunkLineFeed:
		if b != '\n' {
			return errChunkLine
		}
		return c.begin()
	}
	return nil
}

func (c *Chunked) sizeByte(b byte) *Error {
	c.line++
	switch {
	case class[b]&isHex != 0:
		if c.digits++; c.digits > 16 {
			return errChunkTooLarge
		}
		c.size = c.size<<4 | uint64(hexValue(b))
	case c.digits == 0:
		return errChunkSize
	case b == ';':
		c.state = chunkExtension
	case b == '\r':
		c.state = chunkLineFeed
	case b == '\n':
		return errChunkLine
	default:
		return errChunkSize
	}
	return nil
}

func hexValue(b byte) byte {
	if b <= '9' {
		return b - '0'
	}
	return b | 0x20 - 'a' + 10
}

// begin is called after the first line of a chunk.
func (c *Chunked) begin() *Error {
	if c.size == 0 {
		c.state = chunkTrailers
		return nil
	}
	if c.size >= 1<<62 {
		return errChunkTooLarge
	}
	c.overhead += c.line + 2 - 16
	if c.size < maxOverhead {
		c.overhead = max(0, c.overhead-2*int(c.size))
	} else {
		c.overhead = 0
	}
	if c.overhead > maxOverhead {
		return errChunkOverhead
	}
	c.state = chunkData
	return nil
}

// trailers parses the trailer section and returns its length, 0 while it is not complete.
func (c *Chunked) trailers(buf []byte) (n int, err *Error) {
	if len(buf) >= 2 && buf[0] == '\r' && buf[1] == '\n' {
		c.Trailers = c.section.Fields[:0]
		return 2, nil
	}
	limit := c.Limits.head()
	full := len(buf) > limit
	if full {
		buf = buf[:limit]
	}
	if c.section.resume(buf) {
		c.section.framing.inResponse = true
		if n, err = c.section.fields(buf, c.Limits.fields()); err != nil {
			return 0, err
		}
	}
	if n == 0 {
		if c.section.scan.seen = len(buf); full {
			return 0, errTrailersTooLarge
		}
		return 0, nil
	}
	c.section.raw, c.section.scan.base = buf[:n:n], nil
	if c.section.Present&reframing != 0 {
		return 0, errTrailer
	}
	c.section.Drop(^trailing)
	c.Trailers = c.section.Fields
	return n, nil
}

// reframing are the fields that nobody sends as trailers but to have the message understood in two ways; trailing are the
// well-known ones whose definition lets them be trailers. Of the others none is forwarded (RFC 9110, section 6.5.1).
const (
	reframing = Set(1)<<ContentLength | 1<<TransferEncoding | 1<<Host | 1<<Trailer
	trailing  = Set(1)<<ETag | 1<<Date
)

// Reset makes c ready for another body; Limits stay.
func (c *Chunked) Reset() {
	c.section.begin()
	*c = Chunked{Limits: c.Limits, section: c.section}
}

// AppendTrailers appends the trailer lines that may be forwarded, each with its CRLF, without the final empty line.
func (c *Chunked) AppendTrailers(dst []byte) []byte {
	if c.section.raw == nil {
		return dst
	}
	return c.section.AppendFields(dst)
}

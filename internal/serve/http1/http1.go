// Package http1 is HTTP/1.1 (RFC 9110, RFC 9112) on byte slices: it parses heads, frames bodies and serialises.
//
// It is sans I/O: the caller owns the buffers, the connections and the clock, and hands over the bytes it has. Nothing
// here blocks, starts a goroutine, or allocates once a Request or Response has been used a few times. What is parsed refers to
// the caller's buffer and is valid as long as those bytes stay where they are.
//
// It is strict, because what two parsers understand differently is how requests are smuggled: a message whose end
// or whose target could be read in more than one way is refused, never repaired. Of the liberties RFC 9112 leaves to a
// recipient these are taken, none of which moves where a message ends: one empty line ahead of a request line is skipped (section
// 2.2); HTTP/1.2 to 1.9 count as 1.1 (section 2.3); the space ahead of an empty reason may be missing; members may repeat
// the same Content-Length (section 6.3), which is forwarded once. Fields that are a well-known one but for underscores in place of
// hyphens are not forwarded: behind CGI nobody could tell them apart.
//
// The package must not know about proxying policy: which fields are added, who is trusted and where a request goes are
// its callers' business.
package http1

import "strconv"

// Lengths of a body that are not a number of bytes (RFC 9112, section 6.3).
const (
	// ChunkedBody is the Length of a body in the chunked transfer coding.
	ChunkedBody int64 = -1
	// UntilClose is the Length of a response that ends with the connection.
	UntilClose int64 = -2
)

// Limits bound the head of a message. Zero values take the defaults.
type Limits struct {
	// Head is how many bytes the head may have, start line and final empty line included; 64 KiB when 0.
	Head int
	// Fields is how many field lines it may have; 100 when 0.
	Fields int
}

func (l Limits) head() int {
	if l.Head <= 0 {
		return 64 << 10
	}
	return min(l.Head, 1<<30)
}

func (l Limits) fields() int {
	if l.Fields <= 0 {
		return 100
	}
	return l.Fields
}

// An Error refuses a message. The connection it came on must be closed: nobody can say where the next message begins.
type Error struct {
	// Status is the code to answer a client with: 400, 414, 417, 431, 501 or 505; 502 where a member's response is refused.
	Status int
	// Reason is a short sentence for people, without the offending bytes.
	Reason string
}

// Error is the code and the reason.
func (e *Error) Error() string { return strconv.Itoa(e.Status) + ": " + e.Reason }

// HTTP2Preface begins a connection of HTTP/2 with prior knowledge (RFC 9113, section 3.4).
const HTTP2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// IsHTTP2Preface tells whether buf begins with HTTP2Preface; undecided means that more bytes are needed to tell.
func IsHTTP2Preface(buf []byte) (is, undecided bool) {
	if len(buf) >= len(HTTP2Preface) {
		return string(buf[:len(HTTP2Preface)]) == HTTP2Preface, false
	}
	return false, string(buf) == HTTP2Preface[:len(buf)]
}

package http1

// LastChunk ends a chunked body without trailers. With trailers: "0\r\n", the trailer lines, "\r\n".
const LastChunk = "0\r\n\r\n"

// AppendRequestLine appends a request line in origin form with HTTP/1.1 and its CRLF. A nil query has no question mark.
func AppendRequestLine(dst, method, path, query []byte) []byte { panic("http1: not written yet") }

// AppendStatusLine appends a status line with HTTP/1.1 and its CRLF. An empty reason takes the usual one.
func AppendStatusLine(dst []byte, status int, reason []byte) []byte { panic("http1: not written yet") }

// AppendField appends a field line with its CRLF. Value bytes that would end the line or hide in it (CR, LF, NUL and other controls) become spaces.
func AppendField[N, V ~string | ~[]byte](dst []byte, name N, value V) []byte {
	panic("http1: not written yet")
}

// AppendIntField appends a field line whose value is a decimal number.
func AppendIntField(dst []byte, name string, value int64) []byte { panic("http1: not written yet") }

// AppendChunkHead appends the line ahead of a chunk of size bytes, which must be over 0. The data and "\r\n" follow it.
func AppendChunkHead(dst []byte, size int) []byte { panic("http1: not written yet") }

// StatusText is the usual reason phrase of a status code, empty for unknown ones.
func StatusText(status int) string { panic("http1: not written yet") }

// EqualFold tells whether a and b are equal but for the case of ASCII letters.
func EqualFold[A, B ~string | ~[]byte](a A, b B) bool { panic("http1: not written yet") }

// HopByHop tells whether a field of this name is for one connection only and must not be forwarded (RFC 9110, section 7.6.1).
func HopByHop(id ID) bool { panic("http1: not written yet") }

// HasToken tells whether the comma-separated list has this token, whatever its case.
func HasToken(list []byte, token string) bool { panic("http1: not written yet") }

// ValidHost tells whether host is a host name, an IPv4 address or an IPv6 address in brackets, with an optional port.
func ValidHost(host []byte) bool { panic("http1: not written yet") }

// ValidToken tells whether b may be a field name or a method (RFC 9110, section 5.6.2).
func ValidToken[B ~string | ~[]byte](b B) bool { panic("http1: not written yet") }

// ValidValue tells whether b may be a field value: no control bytes but HTAB, no white space around it (RFC 9110, section 5.5).
func ValidValue[B ~string | ~[]byte](b B) bool { panic("http1: not written yet") }

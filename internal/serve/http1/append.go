package http1

import (
	"math/bits"
	"strconv"
)

// LastChunk ends a chunked body without trailers. With trailers: "0\r\n", the trailer lines, "\r\n".
const LastChunk = "0\r\n\r\n"

// AppendRequestLine appends a request line in origin form with HTTP/1.1 and its CRLF. A nil query has no question mark.
func AppendRequestLine(dst, method, path, query []byte) []byte {
	dst = append(dst, method...)
	dst = append(dst, ' ')
	dst = append(dst, path...)
	if query != nil {
		dst = append(dst, '?')
		dst = append(dst, query...)
	}
	return append(dst, " HTTP/1.1\r\n"...)
}

// AppendStatusLine appends a status line with HTTP/1.1 and its CRLF. An empty reason takes the usual one.
func AppendStatusLine(dst []byte, status int, reason []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	if len(reason) > 0 {
		dst = append(dst, reason...)
	} else {
		dst = append(dst, StatusText(status)...)
	}
	return append(dst, '\r', '\n')
}

// AppendField appends a field line with its CRLF. Value bytes that would end the line or hide in it (CR, LF, NUL and other controls) become spaces.
func AppendField[N, V ~string | ~[]byte](dst []byte, name N, value V) []byte {
	dst = append(dst, name...)
	dst = append(dst, ':', ' ')
	from := len(dst)
	dst = append(dst, value...)
	for i, c := range dst[from:] {
		if c < ' ' && c != '\t' || c == 0x7f {
			dst[from+i] = ' '
		}
	}
	return append(dst, '\r', '\n')
}

// AppendIntField appends a field line whose value is a decimal number.
func AppendIntField(dst []byte, name string, value int64) []byte {
	dst = append(dst, name...)
	dst = append(dst, ':', ' ')
	dst = strconv.AppendInt(dst, value, 10)
	return append(dst, '\r', '\n')
}

// AppendChunkHead appends the line ahead of a chunk of size bytes, which must be over 0. The data and "\r\n" follow it.
func AppendChunkHead(dst []byte, size int) []byte {
	const digits = "0123456789abcdef"
	for shift := (bits.Len(uint(size)) - 1) &^ 3; shift >= 0; shift -= 4 {
		dst = append(dst, digits[size>>shift&15])
	}
	return append(dst, '\r', '\n')
}

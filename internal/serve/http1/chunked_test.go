package http1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"strings"
	"testing"
)

var chunkedCases = []framingCase{
	{"one chunk", "5\r\nhello\r\n0\r\n\r\n", 0, "the innocent case"},
	{"no chunk", "0\r\n\r\n", 0, "an empty body"},
	{"capitals", "A\r\n0123456789\r\n0\r\n\r\n", 0, "hexadecimal has no case"},
	{"small letters", "a\r\n0123456789\r\n0\r\n\r\n", 0, "hexadecimal has no case"},
	{"leading zeros", "0005\r\nhello\r\n000\r\n\r\n", 0, "9112 7.1: 1*HEXDIG; forwarded without them"},
	{"extension", "5;a=b\r\nhello\r\n0;c\r\n\r\n", 0, "9112 7.1.1: read over"},
	{"quoted extension", "5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n", 0, "read over"},
	{"trailer", "0\r\nX-Sum: 1\r\n\r\n", 0, "9112 7.1.2"},

	{"empty size", "\r\nhello\r\n0\r\n\r\n", 400, "no digit"},
	{"extension without size", ";a\r\nhello\r\n0\r\n\r\n", 400, "no digit"},
	{"minus", "-5\r\nhello\r\n0\r\n\r\n", 400, "no sign"},
	{"plus", "+5\r\nhello\r\n0\r\n\r\n", 400, "no sign"},
	{"0x", "0x5\r\nhello\r\n0\r\n\r\n", 400, "a chunk of no bytes to some, of five to others"},
	{"not hexadecimal", "g\r\nhello\r\n0\r\n\r\n", 400, "no digit"},
	{"underscore", "1_0\r\nhello\r\n0\r\n\r\n", 400, "no digit"},
	{"decimal point", "5.0\r\nhello\r\n0\r\n\r\n", 400, "no digit"},
	{"space before size", " 5\r\nhello\r\n0\r\n\r\n", 400, "no white space"},
	{"space after size", "5 \r\nhello\r\n0\r\n\r\n", 400, "no white space without an extension"},
	{"tab after size", "5\t\r\nhello\r\n0\r\n\r\n", 400, "no white space"},
	{"NUL after size", "5\x00\r\nhello\r\n0\r\n\r\n", 400, "a C string ends there"},
	{"seventeen digits", "00000000000000005\r\nhello\r\n0\r\n\r\n", 400, "overflows 64 bits in careless parsers"},
	{"2^64+5", "10000000000000005\r\nhello\r\n0\r\n\r\n", 400, "wraps to 5"},
	{"2^32+5", "100000005\r\nhello\r\n0\r\n\r\n", 0, "a large chunk, of which five bytes came: wraps to 5 in 32 bits"},
	{"2^63", "8000000000000000\r\n", 400, "negative in int64"},
	{"2^64-1", "FFFFFFFFFFFFFFFF\r\n", 400, "-1 in int64"},
	{"bare LF after size", "5\nhello\r\n0\r\n\r\n", 400, "an end of line to some (TERM.EXT)"},
	{"bare LF in extension", "5;\nxx\r\n0\r\n\r\n", 400, "an end of line to some (EXT.TERM)"},
	{"bare CR in extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", 400, "an end of line to some"},
	{"bare CR after size", "5\rhello\r\n0\r\n\r\n", 400, "no end of line"},
	{"CR CR LF", "5\r\r\nhello\r\n0\r\n\r\n", 400, "no end of line"},
	{"NUL in extension", "5;a\x00b\r\nhello\r\n0\r\n\r\n", 400, "a control byte"},
	{"extension too long", "5;" + strings.Repeat("a", 300) + "\r\nhello\r\n0\r\n\r\n", 400, "carries nothing"},
	{"extensions without end", strings.Repeat("1;"+strings.Repeat("a", 250)+"\r\nx\r\n", 100) + "0\r\n\r\n", 400, "more framing than data"},
	{"small chunks", strings.Repeat("1\r\nx\r\n", 5000) + "0\r\n\r\n", 0, "wasteful, but honest streaming"},
	{"data too short", "6\r\nhello\r\n0\r\n\r\n", 400, "its CR is taken for data"},
	{"data too long", "4\r\nhello\r\n0\r\n\r\n", 400, "no CRLF where the chunk ends"},
	{"LF after data", "5\r\nhello\n0\r\n\r\n", 400, "no CRLF"},
	{"CR after data", "5\r\nhello\r0\r\n\r\n", 400, "no CRLF"},
	{"nothing after data", "5\r\nhello0\r\n\r\n", 400, "no CRLF"},
	{"two bytes of anything after data", "5\r\nhelloXX0\r\n\r\n", 400, "some skip two bytes without a look"},
	{"LF ends the trailers", "0\r\n\n", 400, "no CRLF"},
	{"CR ends the trailers", "0\r\n\rX\n", 400, "no CRLF"},
	{"bare LF in trailer", "0\r\nX: y\n\r\n", 400, "as in heads"},
	{"folded trailer", "0\r\nX: y\r\n z\r\n\r\n", 400, "as in heads"},
	{"space before colon in trailer", "0\r\nX : y\r\n\r\n", 400, "as in heads"},
	{"control byte in trailer", "0\r\nX: \x01\r\n\r\n", 400, "as in heads"},
	{"trailer without colon", "0\r\nGET / HTTP/1.1\r\n\r\n", 400, "a smuggled request line is no trailer"},
	{"CL in trailer", "0\r\nContent-Length: 5\r\n\r\n", 400, "9110 6.5.1: framing"},
	{"TE in trailer", "0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "9110 6.5.1: framing"},
	{"Host in trailer", "0\r\nHost: b\r\n\r\n", 400, "9110 6.5.1: routing"},
	{"Trailer in trailer", "0\r\nTrailer: x\r\n\r\n", 400, "9110 6.6.2"},
	{"too many trailers", "0\r\n" + strings.Repeat("X: y\r\n", 101) + "\r\n", 431, "over the limit"},
	{"too long a trailer", "0\r\nX: " + strings.Repeat("y", 70000) + "\r\n\r\n", 431, "over the limit"},
}

// decode reads a chunked body that arrives in pieces of the given size and says what came of it.
func decode(body string, piece int) (data string, rest string, done bool, err error) {
	var c Chunked
	buf, from := []byte(body), 0
	for to := min(piece, len(buf)); ; {
		d, n, end, err := c.Next(buf[from:to])
		from += n
		if data += string(d); err != nil || end {
			return data, string(buf[from:]), end, err
		}
		if n == 0 {
			if to == len(buf) {
				return data, "", false, nil
			}
			to = min(to+piece, len(buf))
		}
	}
}

func TestChunkedFraming(t *testing.T) {
	for _, c := range chunkedCases {
		for _, piece := range []int{1, 2, 3, 7, 1 << 20} {
			_, _, _, err := decode(c.head, piece)
			checkVerdict(t, framingCase{fmt.Sprintf("%s in pieces of %d", c.name, piece), "", c.status, c.why}, 1, err)
		}
	}
}

func TestChunkedData(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 1000)
	for _, c := range []struct{ name, body, data, rest string }{
		{"two chunks", "5\r\nhello\r\n7;x\r\n, world\r\n0\r\n\r\n", "hello, world", ""},
		{"next request behind", "1\r\nx\r\n0\r\n\r\nGET /", "x", "GET /"},
		{"long", "3e80\r\n" + long + "\r\n0\r\n\r\n", long, ""},
		{"lines in data", "6\r\n\r\n0\r\n\r\r\n0\r\n\r\n\r\n", "\r\n0\r\n\r", "\r\n"},
	} {
		for piece := 1; piece < 40; piece++ {
			data, rest, done, err := decode(c.body, piece)
			if data != c.data || rest != c.rest || !done || err != nil {
				t.Errorf("%s in pieces of %d: %d bytes, rest %q, done %t, %v", c.name, piece, len(data), rest, done, err)
			}
		}
	}
}

func TestChunkedTrailers(t *testing.T) {
	var c Chunked
	body := []byte("1\r\nx\r\n0\r\nGrpc-Status: 0\r\nConnection: close\r\nSet-Cookie: a\r\nAuthorization: b\r\nContent-Type: c\r\nETag: \"d\"\r\nX-Forwarded-For: e\r\n\r\nrest")
	data, n, done, err := c.Next(body)
	if string(data) != "x" || n != len(body)-len("rest") || !done || err != nil {
		t.Fatal(string(data), n, done, err)
	}
	if len(c.Trailers) != 7 || string(Lookup(c.Trailers, "grpc-status").Value) != "0" {
		t.Errorf("trailers %v", c.Trailers)
	}
	if got, want := string(c.AppendTrailers(nil)), "Grpc-Status: 0\r\nETag: \"d\"\r\n"; got != want {
		t.Errorf("forwards %q, want %q", got, want)
	}
	if _, n, done, err := c.Next(body); n != 0 || !done || err != nil {
		t.Errorf("after the end: %d, %t, %v", n, done, err)
	}
	c.Reset()
	if data, _, done, err := c.Next([]byte("2\r\nyz\r\n0\r\n\r\n")); string(data) != "yz" || !done || err != nil || len(c.Trailers) != 0 || len(c.AppendTrailers(nil)) != 0 {
		t.Errorf("after Reset: %q, %t, %v, trailers %v", data, done, err, c.Trailers)
	}
}

// TestChunkedRoundTrip: what Append* writes, Chunked and net/http read.
func TestChunkedRoundTrip(t *testing.T) {
	var wire []byte
	var want bytes.Buffer
	for size := 1; size < 70000; size = size*3 + 1 {
		data := bytes.Repeat([]byte{byte(size)}, size)
		want.Write(data)
		wire = append(append(AppendChunkHead(wire, size), data...), "\r\n"...)
	}
	wire = append(wire, LastChunk...)
	if data, rest, done, err := decode(string(wire), 1000); data != want.String() || rest != "" || !done || err != nil {
		t.Errorf("%d bytes, rest %q, %t, %v", len(data), rest, done, err)
	}
	if data, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(wire))); !bytes.Equal(data, want.Bytes()) || err != nil {
		t.Errorf("net/http: %d bytes, %v", len(data), err)
	}
	var refused *Error
	if _, _, _, err := decode("x", 1); !errors.As(err, &refused) || refused.Error() != "400: a chunk size is not a plain hexadecimal number" {
		t.Errorf("%v", err)
	}
}

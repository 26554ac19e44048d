package http1

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
)

var responseCases = []framingCase{
	{"plain", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 0, "the innocent case"},
	{"CL and TE", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 502, "a member that does this splits responses"},
	{"TE chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0, "the innocent case"},
	{"TE unknown", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 502, "not ours to decode"},
	{"TE identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", 502, "gone since RFC 7230"},
	{"TE twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 502, "9112 6.1"},
	{"TE in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 502, "9112 6.1: framing is faulty"},
	{"CL twice, different", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 502, "9112 6.3"},
	{"CL twice, the same", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 0, "9112 6.3: may be taken as one, and found in practice"},
	{"CL list", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", 502, "not a number"},
	{"CL with sign", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", 502, "not a number"},
	{"CL too large", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", 502, "overflow"},
	{"bare LF", "HTTP/1.1 200 OK\nContent-Length: 5\n\n", 502, "strict towards members too"},
	{"bare CR", "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", 502, "response splitting"},
	{"obs-fold", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", 502, "9112 5.2"},
	{"NUL", "HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n", 502, "9110 5.5"},
	{"space before colon", "HTTP/1.1 200 OK\r\nX : a\r\n\r\n", 502, "9112 5.1"},
	{"no reason, no space", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 0, "9112 4 wants the space; many leave it out"},
	{"no reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 0, "9112 4"},
	{"control byte in reason", "HTTP/1.1 200 O\x01K\r\n\r\n", 502, "9112 4"},
	{"two digits", "HTTP/1.1 20 OK\r\n\r\n", 502, "three digits"},
	{"four digits", "HTTP/1.1 2000 OK\r\n\r\n", 502, "three digits"},
	{"status 099", "HTTP/1.1 099 OK\r\n\r\n", 502, "9110 15"},
	{"status with sign", "HTTP/1.1 +20 OK\r\n\r\n", 502, "digits only"},
	{"version 2", "HTTP/2.0 200 OK\r\n\r\n", 502, "not on this wire"},
	{"version 0.9", "<html>\r\n", 502, "no status line"},
	{"leading empty line", "\r\nHTTP/1.1 200 OK\r\n\r\n", 502, "left over from the response before"},
	{"two spaces", "HTTP/1.1  200 OK\r\n\r\n", 502, "9112 4"},
	{"tab", "HTTP/1.1\t200 OK\r\n\r\n", 502, "9112 4"},
	{"Connection lists CL", "HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 5\r\n\r\n", 502, "it would be taken away"},
	{"too many fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 101) + "\r\n", 502, "over the limit"},
	{"too large", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 70000) + "\r\n\r\n", 502, "over the limit"},
}

func TestResponseFraming(t *testing.T) {
	var r Response
	for _, c := range responseCases {
		n, err := r.Parse([]byte(c.head), Limits{}, GET)
		checkVerdict(t, c, n, err)
		if c.status == 0 {
			if _, err := http.ReadResponse(bufio.NewReader(strings.NewReader(c.head)), nil); err != nil {
				t.Errorf("%s: accepted, but net/http refuses: %v", c.name, err)
			}
		}
	}
}

func TestResponseBody(t *testing.T) {
	for _, c := range []struct {
		name, head string
		verb       Verb
		length     int64
		close      bool
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", GET, 5, false},
		{"length zero", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", GET, 0, false},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", GET, ChunkedBody, false},
		{"until close", "HTTP/1.1 200 OK\r\n\r\n", GET, UntilClose, true},
		{"until close in 1.0", "HTTP/1.0 200 OK\r\n\r\n", GET, UntilClose, true},
		{"until close though kept alive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", GET, UntilClose, true},
		{"1.0 kept alive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n", GET, 1, false},
		{"1.0", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", GET, 1, true},
		{"closed", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n", GET, 1, true},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", HEAD, 0, false},
		{"HEAD chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HEAD, 0, false},
		{"HEAD without framing", "HTTP/1.1 200 OK\r\n\r\n", HEAD, 0, false},
		{"100", "HTTP/1.1 100 Continue\r\n\r\n", POST, 0, false},
		{"103", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", GET, 0, false},
		{"204", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", GET, 0, false},
		{"304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", GET, 0, false},
		{"304 bare", "HTTP/1.1 304 Not Modified\r\n\r\n", GET, 0, false},
		{"tunnel", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", CONNECT, UntilClose, true},
	} {
		var r Response
		if n, err := r.Parse([]byte(c.head), Limits{}, c.verb); n != len(c.head) || err != nil {
			t.Errorf("%s: Parse = %d, %v", c.name, n, err)
		}
		if r.Length != c.length || r.Close != c.close {
			t.Errorf("%s: length %d, close %t, want %d, %t", c.name, r.Length, r.Close, c.length, c.close)
		}
	}
}

func TestResponseForward(t *testing.T) {
	for _, c := range []struct{ name, head, want string }{
		{"untouched", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n"},
		{"version raised", "HTTP/1.0 404 Nope\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 404 Nope\r\nContent-Length: 5\r\n"},
		{"hop-by-hop", "HTTP/1.1 200 OK\r\nConnection: keep-alive, x-hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nX-End: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
			"HTTP/1.1 200 OK\r\nX-End: 2\r\n"},
		{"length once", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n"},
		{"204 without length", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nA: b\r\n\r\n", "HTTP/1.1 204 No Content\r\nA: b\r\n"},
		{"304 with length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n"},
	} {
		var r Response
		if n, err := r.Parse([]byte(c.head), Limits{}, GET); n != len(c.head) || err != nil {
			t.Errorf("%s: Parse = %d, %v", c.name, n, err)
		}
		if got := string(r.AppendHead(nil)); got != c.want {
			t.Errorf("%s: forwards %q, want %q", c.name, got, c.want)
		}
	}
}

func TestResponseUpgrade(t *testing.T) {
	var r Response
	head := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	if n, err := r.Parse([]byte(head), Limits{}, GET); n != len(head) || err != nil || string(r.Upgrade) != "websocket" || r.Length != 0 {
		t.Errorf("Parse = %d, %v: upgrade %q, length %d", n, err, r.Upgrade, r.Length)
	}
}

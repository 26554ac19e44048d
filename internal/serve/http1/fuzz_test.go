package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzRequest: what is accepted here, net/http accepts as well, and understands in the same way; what is forwarded, both understand as the same again.
func FuzzRequest(f *testing.F) {
	for _, c := range requestCases {
		if len(c.head) < 1000 {
			f.Add([]byte(c.head))
		}
	}
	for _, h := range heads[:3] {
		f.Add([]byte(h.head))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		var r Request
		n, err := r.Parse(input, Limits{})
		if half := len(input) / 2; half > 0 {
			compareHalves(t, input, half, n, err)
		}
		if n == 0 || err != nil {
			return
		}
		head := bytes.TrimPrefix(input[:n], []byte("\r\n"))
		theirs, err := http.ReadRequest(bufio.NewReader(io.MultiReader(bytes.NewReader(head), endless{})))
		if err != nil {
			t.Fatalf("accepted %q, but net/http refuses: %v", head, err)
		}
		compareRequest(t, &r, theirs)
		forwarded(t, &r)
	})
}

// compareHalves: two pieces are understood as one is.
func compareHalves(t *testing.T, input []byte, half, n int, err error) {
	var r Request
	m, err2 := r.Parse(input[:half], Limits{})
	if m == 0 && err2 == nil {
		m, err2 = r.Parse(input, Limits{})
	}
	if m != n || !errors.Is(err2, err) {
		t.Fatalf("%q is %d, %v; in halves %d, %v", input, n, err, m, err2)
	}
}

func compareRequest(t *testing.T, r *Request, theirs *http.Request) {
	t.Helper()
	if string(r.Method) != theirs.Method || string(r.Target) != theirs.RequestURI {
		t.Fatalf("%s %s is %s %s to net/http", r.Method, r.Target, theirs.Method, theirs.RequestURI)
	}
	if string(r.Host) != theirs.Host {
		t.Fatalf("host %q is %q to net/http", r.Host, theirs.Host)
	}
	if r.Length != theirs.ContentLength {
		t.Fatalf("length %d is %d to net/http", r.Length, theirs.ContentLength)
	}
	if path, err := url.PathUnescape(string(r.Path)); err != nil || path != theirs.URL.Path && theirs.URL.Path != "" {
		t.Fatalf("path %q is %q to net/http (%v)", r.Path, theirs.URL.Path, err)
	}
	if string(r.Query) != theirs.URL.RawQuery {
		t.Fatalf("query %q is %q to net/http", r.Query, theirs.URL.RawQuery)
	}
	compareFields(t, r.Fields, theirs.Header, r.Length == ChunkedBody)
}

// compareFields compares the fields as multisets, but for those that net/http takes out of the header or puts into it.
func compareFields(t *testing.T, fields []Field, theirs http.Header, chunked bool) {
	t.Helper()
	var ours, others []string
	moved := SetOf(Host, TransferEncoding, ContentLength, Pragma, CacheControl)
	if chunked {
		moved |= SetOf(Trailer)
	}
	for _, f := range fields {
		if f.ID == Unknown || !moved.Has(f.ID) {
			ours = append(ours, strings.ToLower(string(f.Name))+": "+string(f.Value))
		}
	}
	for name, values := range theirs {
		if id := Identify([]byte(name)); id != Unknown && moved.Has(id) {
			continue
		}
		for _, v := range values {
			others = append(others, strings.ToLower(name)+": "+v)
		}
	}
	slices.Sort(ours)
	slices.Sort(others)
	if !slices.Equal(ours, others) {
		t.Fatalf("fields %q are %q to net/http", ours, others)
	}
}

// forwarded: the head that a member gets is understood as the one that came.
func forwarded(t *testing.T, r *Request) {
	t.Helper()
	if r.Verb == CONNECT {
		return
	}
	out := r.AppendHead(nil)
	if r.Length == ChunkedBody {
		out = AppendField(out, "Transfer-Encoding", "chunked")
	}
	out = append(out, '\r', '\n')
	if r.Minor == 0 && !r.Present.Has(Host) {
		return
	}
	var again Request
	if n, err := again.Parse(out, Limits{Head: len(out), Fields: 200}); n != len(out) || err != nil {
		t.Fatalf("forwards %q, which is refused: %d, %v", out, n, err)
	}
	if !bytes.Equal(again.Method, r.Method) || !bytes.Equal(again.Path, r.Path) || !bytes.Equal(again.Query, r.Query) ||
		again.Length != r.Length || !EqualFold(again.Host, r.Host) {
		t.Fatalf("forwards %q, which is another request", out)
	}
	if again.Present&^SetOf(TransferEncoding)&hopByHop != 0 {
		t.Fatalf("forwards hop-by-hop fields: %q", out)
	}
}

// FuzzResponse: what is accepted here, net/http accepts as well, and frames in the same way.
func FuzzResponse(f *testing.F) {
	for _, c := range responseCases {
		if len(c.head) < 1000 {
			f.Add([]byte(c.head), false)
		}
	}
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), true)
	f.Fuzz(func(t *testing.T, input []byte, isHead bool) {
		verb, method := GET, "GET"
		if isHead {
			verb, method = HEAD, "HEAD"
		}
		var r Response
		n, err := r.Parse(input, Limits{}, verb)
		if n == 0 || err != nil {
			return
		}
		theirs, err := http.ReadResponse(bufio.NewReader(io.MultiReader(bytes.NewReader(input[:n]), endless{})), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("accepted %q, but net/http refuses: %v", input[:n], err)
		}
		if r.Status != theirs.StatusCode {
			t.Fatalf("status %d is %d to net/http", r.Status, theirs.StatusCode)
		}
		length := theirs.ContentLength
		switch {
		case isHead || r.Status < 200 || r.Status == 204 || r.Status == 304:
			length = 0 // net/http tells here what the fields say
		case length < 0 && len(theirs.TransferEncoding) == 0:
			length = UntilClose
		}
		if r.Length != length {
			t.Fatalf("length %d is %d to net/http", r.Length, length)
		}
		if !r.Close && theirs.Close {
			t.Fatalf("kept alive, but not to net/http")
		}
	})
}

// FuzzChunked: what is accepted here is accepted by net/http as the same data, and ends in the same place; and pieces change nothing.
func FuzzChunked(f *testing.F) {
	for _, c := range chunkedCases {
		if len(c.head) < 1000 {
			f.Add([]byte(c.head), byte(3))
		}
	}
	f.Fuzz(func(t *testing.T, input []byte, piece byte) {
		data, rest, done, err := decode(string(input), len(input)+1)
		data2, rest2, done2, err2 := decode(string(input), int(piece)+1)
		if data != data2 || rest != rest2 && err == nil || done != done2 || !errors.Is(err, err2) {
			t.Fatalf("%q is %q, %q, %t, %v; in pieces of %d: %q, %q, %t, %v", input, data, rest, done, err, int(piece)+1, data2, rest2, done2, err2)
		}
		if !done {
			return
		}
		head := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		left := bufio.NewReader(io.MultiReader(strings.NewReader(head), bytes.NewReader(input)))
		response, err := http.ReadResponse(left, nil)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := io.ReadAll(response.Body)
		if err != nil || string(theirs) != data {
			t.Fatalf("%q is %q, but to net/http %q, %v", input, data, theirs, err)
		}
		if behind, _ := io.ReadAll(left); string(behind) != rest {
			t.Fatalf("%q leaves %q, but to net/http %q", input, rest, behind)
		}
	})
}

// endless is a body of any length.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

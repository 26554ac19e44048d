package http1

import (
	"testing"
)

func mustParse(t *testing.T, head string) *Request {
	t.Helper()
	r := new(Request)
	if n, err := r.Parse([]byte(head), Limits{}); n != len(head) || err != nil {
		t.Fatalf("Parse(%q) = %d, %v", head, n, err)
	}
	return r
}

func TestRequestTarget(t *testing.T) {
	for _, c := range []struct{ line, host, path, query, scheme, forwarded string }{
		{"GET /", "a", "/", "", "", "GET / HTTP/1.1\r\n"},
		{"GET /x?y=z?", "a", "/x", "?y=z?", "", "GET /x?y=z? HTTP/1.1\r\n"},
		{"GET /x?", "a", "/x", "?", "", "GET /x? HTTP/1.1\r\n"},
		{"OPTIONS *", "a", "*", "", "", "OPTIONS * HTTP/1.1\r\n"},
		{"GET HTTP://A/x?y", "A", "/x", "?y", "HTTP", "GET /x?y HTTP/1.1\r\n"},
		{"GET https://a", "a", "/", "", "https", "GET / HTTP/1.1\r\n"},
		{"GET http://a?q", "a", "/", "?q", "http", "GET /?q HTTP/1.1\r\n"},
		{"OPTIONS http://a", "a", "*", "", "http", "OPTIONS * HTTP/1.1\r\n"},
		{"GET /a%20b/../c", "a", "/a%20b/../c", "", "", "GET /a%20b/../c HTTP/1.1\r\n"},
	} {
		r := mustParse(t, c.line+" HTTP/1.1\r\nHost: a\r\n\r\n")
		query := ""
		if r.Query != nil {
			query = "?" + string(r.Query)
		}
		if string(r.Host) != c.host || string(r.Path) != c.path || query != c.query || string(r.Scheme) != c.scheme {
			t.Errorf("%s: host %q, path %q, query %q, scheme %q", c.line, r.Host, r.Path, query, r.Scheme)
		}
		if got, want := string(r.AppendHead(nil)), c.forwarded+"Host: a\r\n"; got != want {
			t.Errorf("%s: forwards %q, want %q", c.line, got, want)
		}
	}
}

func TestRequestConnection(t *testing.T) {
	for _, c := range []struct {
		version, fields         string
		close, expect, trailers bool
		upgrade                 string
		length                  int64
	}{
		{version: "1.1"},
		{version: "1.1", fields: "Connection: close\r\n", close: true},
		{version: "1.1", fields: "Connection: keep-alive, Close\r\n", close: true},
		{version: "1.0", close: true},
		{version: "1.0", fields: "Connection: Keep-Alive\r\n"},
		{version: "1.0", fields: "Connection: keep-alive, close\r\n", close: true},
		{version: "1.2"},
		{version: "1.1", fields: "Expect: 100-continue\r\nContent-Length: 3\r\n", expect: true, length: 3},
		{version: "1.0", fields: "Expect: 100-continue\r\nContent-Length: 3\r\n", close: true, length: 3},
		{version: "1.1", fields: "Connection: Upgrade\r\nUpgrade: websocket\r\n", upgrade: "websocket"},
		{version: "1.1", fields: "Upgrade: websocket\r\n"},
		{version: "1.0", fields: "Connection: Upgrade\r\nUpgrade: websocket\r\n", close: true},
		{version: "1.1", fields: "TE: gzip;q=0.5, trailers\r\nConnection: TE\r\n", trailers: true},
		{version: "1.1", fields: "Transfer-Encoding: chunked\r\n", length: ChunkedBody},
	} {
		r := mustParse(t, "POST / HTTP/"+c.version+"\r\nHost: a\r\n"+c.fields+"\r\n")
		if r.Close != c.close || r.Expect != c.expect || r.Trailers != c.trailers || string(r.Upgrade) != c.upgrade || r.Length != c.length {
			t.Errorf("HTTP/%s %q: close %t, expect %t, trailers %t, upgrade %q, length %d",
				c.version, c.fields, r.Close, r.Expect, r.Trailers, r.Upgrade, r.Length)
		}
	}
}

func TestRequestForward(t *testing.T) {
	for _, c := range []struct{ name, fields, want string }{
		{"untouched, white space and all", "A:\t1 \r\nB: 2\r\n", "Host: a\r\nA:\t1 \r\nB: 2\r\n"},
		{"hop-by-hop", "Connection: keep-alive\r\nA: 1\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nTE: trailers\r\nB: 2\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nProxy-Authorization: x\r\nTransfer-Encoding: chunked\r\n",
			"Host: a\r\nA: 1\r\nB: 2\r\n"},
		{"listed ahead", "Connection: x-one, Cookie\r\nX-One: 1\r\nCookie: c\r\nX-Two: 2\r\n", "Host: a\r\nX-Two: 2\r\n"},
		{"listed behind", "X-ONE: 1\r\nX-Two: 2\r\nx-one: 3\r\nConnection: X-One\r\n", "Host: a\r\nX-Two: 2\r\n"},
		{"listed on two lines", "X-One: 1\r\nX-Two: 2\r\nConnection: X-One\r\nConnection: X-Two\r\n", "Host: a\r\n"},
		{"disguised", "X_Forwarded_For: 192.0.2.1\r\nTransfer_Encoding: chunked\r\nmy_own: 1\r\n", "Host: a\r\nmy_own: 1\r\n"},
		{"trailer announcement", "Trailer: x-sum\r\n", "Host: a\r\nTrailer: x-sum\r\n"},
	} {
		r := mustParse(t, "GET / HTTP/1.1\r\nHost: a\r\n"+c.fields+"\r\n")
		if got, want := string(r.AppendHead(nil)), "GET / HTTP/1.1\r\n"+c.want; got != want {
			t.Errorf("%s: forwards %q, want %q", c.name, got, want)
		}
		if got := string(r.AppendFields(nil)); got != c.want {
			t.Errorf("%s: forwards fields %q, want %q", c.name, got, c.want)
		}
	}
}

func TestRequestEdits(t *testing.T) {
	r := mustParse(t, "\r\nGET / HTTP/1.0\r\nX-Forwarded-For: 1\r\nHost: a\r\nX-Mine: 1\r\nx-forwarded-for: 2\r\nx-mine: 2\r\nZ: z\r\n\r\n")
	r.Drop(SetOf(XForwardedFor, Via))
	if n := r.DropName("X-MINE"); n != 2 {
		t.Errorf("DropName found %d", n)
	}
	if got, want := string(r.AppendHead([]byte("> "))), "> GET / HTTP/1.1\r\nHost: a\r\nZ: z\r\n"; got != want {
		t.Errorf("forwards %q, want %q", got, want)
	}
	if got := string(r.Get(XForwardedFor)); got != "1" {
		t.Errorf("Get = %q, want the first", got)
	}
	if r.Get(Via) != nil || r.Get(Unknown) != nil || r.Find("via") != nil {
		t.Error("found what is not there")
	}
	if f := r.Find("z"); f == nil || string(f.Value) != "z" {
		t.Errorf("Find = %v", f)
	}
}

func TestRequestReuse(t *testing.T) {
	buf := []byte("POST http://a/x?y HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close, x\r\nX: y\r\n\r\n" +
		"GET / HTTP/1.1\r\nHost: b\r\n\r\n" + "GET / HTTP/9.9\r\n\r\n")
	r := new(Request)
	n, err := r.Parse(buf, Limits{})
	if err != nil || r.Length != 3 {
		t.Fatal(n, err, r.Length)
	}
	m, err := r.Parse(buf[n:], Limits{})
	if err != nil || string(r.Host) != "b" || r.Scheme != nil || r.Query != nil || r.Length != 0 || r.Close || r.Expect || len(r.Fields) != 1 {
		t.Errorf("the second request has something of the first: %+v, %v", r, err)
	}
	if _, err := r.Parse(buf[n+m:], Limits{}); err == nil {
		t.Error("the third was accepted")
	}
	r.Reset()
	if r.Host != nil || r.Fields[:1][0].Name != nil {
		t.Error("Reset keeps references")
	}
}

func TestNoAllocations(t *testing.T) {
	requests := []byte(heads[2].head)
	response := []byte("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\nConnection: x-y\r\nX-Y: z\r\n\r\n")
	body := []byte("5;ext\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")
	var req Request
	var res Response
	var chunked Chunked
	out := make([]byte, 0, 4096)
	if allocs := testing.AllocsPerRun(100, func() {
		req.Parse(requests[:100], Limits{})
		req.Parse(requests, Limits{})
		out = req.AppendHead(out[:0])
		out = AppendField(out, "X-Forwarded-For", "192.0.2.1")
		out = AppendField(out, "X-Request-Id", requests[:5])
		out = AppendIntField(out, "Content-Length", 123)
		res.Parse(response, Limits{}, GET)
		out = res.AppendHead(out[:0])
		out = AppendChunkHead(AppendStatusLine(out, 404, nil), 77)
		chunked.Reset()
		chunked.Next(body)
		out = chunked.AppendTrailers(out)
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if len(chunked.Trailers) != 1 {
		t.Errorf("%d trailers", len(chunked.Trailers))
	}
}

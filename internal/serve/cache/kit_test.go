package cache

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/serve/http1"
)

// ask makes a query of a request line's method and target, for host h, with further field lines.
func ask(t testing.TB, line string, lines ...string) *Query {
	t.Helper()
	return askHidden(t, "http", line, lines...)
}

func askHidden(t testing.TB, hidden, line string, lines ...string) *Query {
	t.Helper()
	head := line + " HTTP/1.1\r\nHost: h\r\n"
	for _, l := range lines {
		head += l + "\r\n"
	}
	r := &http1.Request{}
	if n, err := r.Parse([]byte(head+"\r\n"), http1.Limits{}); err != nil || n == 0 {
		t.Fatalf("request %q: %d, %v", head, n, err)
	}
	q := &Query{}
	q.Reset(r, []byte(hidden), nil)
	return q
}

// answer parses the head of an answer; its body has the length that the fields say, or is chunked.
func answer(t testing.TB, status int, lines ...string) *http1.Response {
	t.Helper()
	head := fmt.Sprintf("HTTP/1.1 %d X\r\n", status)
	framed := status == 204 || status == 304
	for _, l := range lines {
		head += strings.ReplaceAll(l, "NOW", time.Now().UTC().Format(imfFixdate)) + "\r\n"
		framed = framed || strings.HasPrefix(l, "Content-Length") || strings.HasPrefix(l, "Transfer-Encoding")
	}
	if !framed {
		head += "Transfer-Encoding: chunked\r\n"
	}
	r := &http1.Response{}
	if n, err := r.Parse([]byte(head+"\r\n"), http1.Limits{}, http1.GET); err != nil || n == 0 {
		t.Fatalf("answer %q: %d, %v", head, n, err)
	}
	return r
}

// keep has an answer with this body stored.
func keep(t testing.TB, c *Cache, q *Query, res *http1.Response, body string) Outcome {
	t.Helper()
	now := time.Now()
	q.epoch = c.epoch(q.key)
	w, why := c.Begin(q, res, now, now)
	if w == nil {
		t.Fatalf("not stored: %s", why)
	}
	w.Write([]byte(body))
	return w.Commit()
}

// open decides and gives the lead back at once, so that nobody waits.
func open(c *Cache, q *Query) Decision {
	d := c.Open(context.Background(), q)
	d.Lead.Done(Aborted)
	return d
}

// given is the answer to a request out of an entry: status, fields, body.
func given(t testing.TB, e *Entry, q *Query) (status int, res *http1.Response, body string) {
	t.Helper()
	head, r := e.Reply(nil, q, time.Now())
	res = &http1.Response{}
	if n, err := res.Parse(head, storedLimits, q.Request.Verb); err != nil || n != len(head) {
		t.Fatalf("reply %q: %d, %v", head, n, err)
	}
	var b bytes.Buffer
	for p := r.Next(); p != nil; p = r.Next() {
		b.Write(p)
	}
	if int64(b.Len()) != r.Length {
		t.Errorf("%d bytes of %d are given", b.Len(), r.Length)
	}
	if r.Status != res.Status {
		t.Errorf("status %d and %d", r.Status, res.Status)
	}
	return r.Status, res, b.String()
}

func serving(o Options) *Cache {
	o.Serve = true
	return New(o)
}

func itoa(n int) string { return fmt.Sprint(n) }

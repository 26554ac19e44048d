package cache

import (
	"testing"
	"time"
)

// TestStorable goes through section 3 of RFC 9111.
func TestStorable(t *testing.T) {
	const get = "GET /"
	c := serving(Options{Heuristic: 0.1, MaxEntry: 1000})
	for _, tt := range []struct {
		request string
		with    []string
		status  int
		lines   []string
		refused string
	}{
		{get, nil, 200, []string{"Cache-Control: max-age=60"}, ""},
		{get, nil, 200, []string{"Expires: Mon, 01 Jan 2046 00:00:00 GMT"}, ""},
		{get, nil, 200, []string{"ETag: \"a\""}, ""}, // to be validated each time
		{get, nil, 200, nil, "no-use"},
		{"HEAD /", nil, 200, []string{"Cache-Control: max-age=60"}, "method"},
		{"POST /", nil, 200, []string{"Cache-Control: max-age=60"}, "method"},
		{"OPTIONS /", nil, 200, []string{"Cache-Control: max-age=60"}, "method"},
		{get, []string{"Content-Length: 3"}, 200, []string{"Cache-Control: max-age=60"}, "request-body"},
		{get, []string{"Cache-Control: no-store"}, 200, []string{"Cache-Control: max-age=60"}, "request-no-store"},
		{get, nil, 200, []string{"Cache-Control: max-age=60, no-store"}, "no-store"},
		{get, nil, 200, []string{"Cache-Control: no-store"}, "no-store"},
		{get, nil, 200, []string{"Cache-Control: max-age=60, private"}, "private"},
		{get, nil, 200, []string{"Cache-Control: max-age=60, private=\"X-A\""}, ""},
		{get, nil, 200, []string{"Cache-Control: max-age=60, x=\"unclosed"}, "no-store"},
		{get, nil, 206, []string{"Cache-Control: max-age=60", "Content-Range: bytes 0-1/2"}, "partial"},
		{get, nil, 304, []string{"Cache-Control: max-age=60"}, "partial"},
		// 3.5: requests with Authorization
		{get, []string{"Authorization: x"}, 200, []string{"Cache-Control: max-age=60"}, "authorization"},
		{get, []string{"Authorization: x"}, 200, []string{"Cache-Control: max-age=60, proxy-revalidate"}, "authorization"},
		{get, []string{"Authorization: x"}, 200, []string{"Cache-Control: max-age=60, public"}, ""},
		{get, []string{"Authorization: x"}, 200, []string{"Cache-Control: max-age=60, must-revalidate"}, ""},
		{get, []string{"Authorization: x"}, 200, []string{"Cache-Control: s-maxage=60"}, ""},
		{get, []string{"Authorization: x"}, 200, []string{"Cache-Control: s-maxage=60, private"}, "private"},
		// cookies
		{get, nil, 200, []string{"Cache-Control: max-age=60", "Set-Cookie: a=b"}, "set-cookie"},
		{get, nil, 200, []string{"Cache-Control: public, max-age=60", "Set-Cookie: a=b"}, "set-cookie"},
		{get, nil, 200, []string{"Cache-Control: max-age=60, no-cache=\"Set-Cookie\"", "Set-Cookie: a=b"}, ""},
		{get, []string{"Cookie: a=b"}, 200, []string{"Cache-Control: max-age=60"}, ""},
		// 4.1: Vary
		{get, nil, 200, []string{"Cache-Control: max-age=60", "Vary: *"}, "vary"},
		{get, nil, 200, []string{"Cache-Control: max-age=60", "Vary: , *"}, "vary"},
		{get, nil, 200, []string{"Cache-Control: max-age=60", "Vary: Foo", "Vary: *"}, "vary"},
		{get, nil, 200, []string{"Cache-Control: max-age=60", "Vary: X-Request-Id"}, "vary"},
		{get, nil, 200, []string{"Cache-Control: max-age=60", "Vary: a b"}, "vary"},
		{get, nil, 200, []string{"Cache-Control: max-age=60", "Vary: Foo, Bar"}, ""},
		// codes
		{get, nil, 201, []string{"Last-Modified: Mon, 01 Jan 2001 00:00:00 GMT"}, "not-cacheable"},
		{get, nil, 404, []string{"Last-Modified: Mon, 01 Jan 2001 00:00:00 GMT"}, ""},
		{get, nil, 503, []string{"Last-Modified: Mon, 01 Jan 2001 00:00:00 GMT"}, "not-cacheable"},
		{get, nil, 503, []string{"Cache-Control: max-age=60"}, ""},
		{get, nil, 599, []string{"Cache-Control: max-age=60"}, ""},
		{get, nil, 599, []string{"Last-Modified: Mon, 01 Jan 2001 00:00:00 GMT"}, "not-cacheable"},
		{get, nil, 599, []string{"Last-Modified: Mon, 01 Jan 2001 00:00:00 GMT", "Cache-Control: public"}, ""},
		// 5.2.2.3: must-understand
		{get, nil, 599, []string{"Cache-Control: max-age=60, must-understand"}, "not-understood"},
		{get, nil, 599, []string{"Cache-Control: max-age=60, must-understand, no-store"}, "not-understood"},
		{get, nil, 200, []string{"Cache-Control: max-age=60, must-understand, no-store"}, ""},
		// bounds, and ends that cannot be told from a broken connection
		{get, nil, 200, []string{"Cache-Control: max-age=60", "Content-Length: 1001"}, "too-large"},
		{get, nil, 200, []string{"Cache-Control: max-age=60", "Content-Length: 1000"}, ""},
	} {
		w, why := c.Begin(ask(t, tt.request, tt.with...), answer(t, tt.status, tt.lines...), time.Now(), time.Now())
		if w != nil {
			w.Abort()
		}
		if tt.refused == "request-no-store" || tt.refused == "method" {
			tt.refused = "request" // told before the rules are asked
		}
		if why != tt.refused {
			t.Errorf("%s %q, answered %d %q: refused %q, want %q", tt.request, tt.with, tt.status, tt.lines, why, tt.refused)
		}
	}
	res := answer(t, 200, "Cache-Control: max-age=60", "Transfer-Encoding: chunked")
	res.Length = -2
	if _, why := c.Begin(ask(t, get), res, time.Now(), time.Now()); why != "open-ended" {
		t.Errorf("an answer that ends with its connection is refused %q", why)
	}
	if u := c.Usage(); u.Writing != 0 {
		t.Errorf("%d bytes are still set aside", u.Writing)
	}
}

// TestEveryRefusalHolds asks each rule by itself, those included that Begin asks earlier.
func TestEveryRefusalHolds(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range refusals {
		if seen[r.why] {
			t.Errorf("two rules are called %s", r.why)
		}
		seen[r.why] = true
	}
	res, says := answer(t, 200), Directives{}
	if got := (&facts{q: ask(t, "POST /"), res: res, says: &says}).refused(); got != "method" {
		t.Error(got)
	}
	if got := (&facts{q: ask(t, "GET /", "Cache-Control: no-store"), res: res, says: &says}).refused(); got != "request-no-store" {
		t.Error(got)
	}
	res.Status = 103
	if got := (&facts{q: ask(t, "GET /"), res: res, says: &says}).refused(); got != "interim" {
		t.Error(got)
	}
}

func TestFallbackKeepsGoodAnswersOnly(t *testing.T) {
	c := New(Options{IfError: time.Minute})
	for _, tt := range []struct {
		status  int
		lines   []string
		refused string
	}{
		{200, nil, ""}, {301, nil, ""}, {404, nil, ""},
		{200, []string{"Cache-Control: max-age=1"}, ""},
		{200, []string{"Cache-Control: no-cache", "ETag: \"a\""}, "no-use"},
		{200, []string{"Cache-Control: max-age=0, must-revalidate"}, "no-use"},
		{200, []string{"Cache-Control: s-maxage=0"}, "no-use"},
		{405, nil, "no-use"}, {501, nil, "no-use"},
		{400, []string{"Cache-Control: max-age=60"}, "no-use"},
		{500, []string{"Cache-Control: max-age=60"}, "no-use"},
		{503, nil, "not-cacheable"}, {429, nil, "not-cacheable"}, {401, nil, "not-cacheable"},
	} {
		w, why := c.Begin(ask(t, "GET /"), answer(t, tt.status, tt.lines...), time.Now(), time.Now())
		if w != nil {
			w.Abort()
		}
		if why != tt.refused {
			t.Errorf("%d %q: refused %q, want %q", tt.status, tt.lines, why, tt.refused)
		}
	}
}

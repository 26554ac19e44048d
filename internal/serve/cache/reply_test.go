package cache

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestConditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(1000 * time.Hour)
		at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(imfFixdate) }
		lm := "Last-Modified: " + at(-time.Hour)
		for _, tt := range []struct {
			stored []string
			asks   []string
			status int
		}{
			{[]string{`ETag: "a"`}, []string{`If-None-Match: "a"`}, 304},
			{[]string{`ETag: "a"`}, []string{`If-None-Match: "b"`}, 200},
			{[]string{`ETag: "a"`}, []string{`If-None-Match: "b", "a" , "c"`}, 304},
			{[]string{`ETag: "a"`}, []string{`If-None-Match: "b"`, `If-None-Match: "a"`}, 304},
			{[]string{`ETag: "a"`}, []string{`If-None-Match: W/"a"`}, 304},
			{[]string{`ETag: W/"a"`}, []string{`If-None-Match: "a"`}, 304},
			{[]string{`ETag: "a,b"`}, []string{`If-None-Match: "a,b"`}, 304},
			{[]string{`ETag: "a"`}, []string{`If-None-Match: *`}, 304},
			{nil, []string{`If-None-Match: *`}, 304},
			{nil, []string{`If-None-Match: "a"`}, 200},
			{[]string{`ETag: "a"`, lm}, []string{`If-None-Match: "b"`, "If-Modified-Since: " + at(0)}, 200}, // precedence
			{[]string{`ETag: "a"`, lm}, []string{`If-None-Match: "a"`, "If-Modified-Since: " + at(-2*time.Hour)}, 304},
			{[]string{lm}, []string{"If-Modified-Since: " + at(-time.Hour)}, 304},
			{[]string{lm}, []string{"If-Modified-Since: " + at(-time.Minute)}, 304},
			{[]string{lm}, []string{"If-Modified-Since: " + at(-2*time.Hour)}, 200},
			{[]string{lm}, []string{"If-Modified-Since: yesterday"}, 200},
			{nil, []string{"If-Modified-Since: " + at(0)}, 304}, // Date, or when it came
			{nil, []string{"If-Modified-Since: " + at(-time.Hour)}, 200},
		} {
			c, q := serving(Options{}), ask(t, "GET /")
			keep(t, c, q, answer(t, 200, append(tt.stored, "Cache-Control: max-age=60", "Content-Type: text/plain", "Content-Length: 3")...), "abc")
			for _, method := range []string{"GET /", "HEAD /"} {
				q := ask(t, method, tt.asks...)
				d := open(c, q)
				if d.Verdict != Fresh {
					t.Fatalf("%v", d.Verdict)
				}
				status, res, body := given(t, d.Entry, q)
				if status != tt.status {
					t.Errorf("%s %q of %q: %d, want %d", method, tt.asks, tt.stored, status, tt.status)
				}
				if status == 304 && (body != "" || res.Find("Content-Type") != nil || res.Find("Content-Length") != nil || res.Find("Cache-Control") == nil || res.Find("Date") == nil) {
					t.Errorf("304 has %v, %q", res.Fields, body)
				}
				if status == 304 && len(tt.stored) > 0 && strings.HasPrefix(tt.stored[0], "ETag") && res.Find("ETag") == nil {
					t.Error("304 without ETag")
				}
			}
		}
	})
}

func TestRanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(1000 * time.Hour)
		old := time.Now().Add(-time.Hour).UTC().Format(imfFixdate)
		c, q := serving(Options{}), ask(t, "GET /")
		keep(t, c, q, answer(t, 200, "Cache-Control: max-age=60", `ETag: "a"`, "Last-Modified: "+old, "Content-Length: 10"), "0123456789")
		for _, tt := range []struct {
			asks       []string
			status     int
			body, span string
		}{
			{[]string{"Range: bytes=0-1"}, 206, "01", "bytes 0-1/10"},
			{[]string{"Range: bytes=0-0"}, 206, "0", "bytes 0-0/10"},
			{[]string{"Range: bytes=7-"}, 206, "789", "bytes 7-9/10"},
			{[]string{"Range: bytes=7-99999999999"}, 206, "789", "bytes 7-9/10"},
			{[]string{"Range: bytes=-3"}, 206, "789", "bytes 7-9/10"},
			{[]string{"Range: bytes=-30"}, 206, "0123456789", "bytes 0-9/10"},
			{[]string{"Range: bytes=10-"}, 416, "", "bytes */10"},
			{[]string{"Range: bytes=-0"}, 416, "", "bytes */10"},
			{[]string{"Range: bytes=5-4"}, 200, "0123456789", ""},
			{[]string{"Range: bytes=0-1,3-4"}, 200, "0123456789", ""},
			{[]string{"Range: lines=0-1"}, 200, "0123456789", ""},
			{[]string{"Range: bytes=a-b"}, 200, "0123456789", ""},
			{[]string{"Range: bytes=-"}, 200, "0123456789", ""},
			{[]string{"Range: bytes=99999999999999999999999999-"}, 200, "0123456789", ""},
			{[]string{"Range: bytes=0-1", `If-Range: "a"`}, 206, "01", "bytes 0-1/10"},
			{[]string{"Range: bytes=0-1", `If-Range: W/"a"`}, 200, "0123456789", ""},
			{[]string{"Range: bytes=0-1", `If-Range: "b"`}, 200, "0123456789", ""},
			{[]string{"Range: bytes=0-1", "If-Range: " + old}, 206, "01", "bytes 0-1/10"},
			{[]string{"Range: bytes=0-1", "If-Range: Mon, 01 Jan 2001 00:00:00 GMT"}, 200, "0123456789", ""},
			{[]string{"Range: bytes=0-1", `If-None-Match: "a"`}, 304, "", ""},
		} {
			q := ask(t, "GET /", tt.asks...)
			status, res, body := given(t, open(c, q).Entry, q)
			got := ""
			if f := res.Find("Content-Range"); f != nil {
				got = string(f.Value)
			}
			if status != tt.status || body != tt.body || got != tt.span {
				t.Errorf("%q: %d %q %q, want %d %q %q", tt.asks, status, body, got, tt.status, tt.body, tt.span)
			}
			if status == 206 && res.Length != int64(len(body)) {
				t.Errorf("length %d of %q", res.Length, body)
			}
		}
		q = ask(t, "HEAD /", "Range: bytes=0-1") // a range of HEAD means nothing
		if status, res, _ := given(t, open(c, q).Entry, q); status != 200 || string(res.Find("Content-Length").Value) != "10" {
			t.Errorf("HEAD: %d", status)
		}
	})
}

func TestRangesAcrossPieces(t *testing.T) {
	c, q := serving(Options{MaxEntry: 4 << 20}), ask(t, "GET /")
	body := strings.Repeat("0123456789abcdef", 300_000/16)
	keep(t, c, q, answer(t, 200, "Cache-Control: max-age=60"), body)
	for _, r := range [][2]int{{0, len(body) - 1}, {0, 65535}, {65535, 65536}, {65536, 65536}, {1, len(body) - 2}, {130_000, 270_001}} {
		q := ask(t, "GET /", "Range: bytes="+itoa(r[0])+"-"+itoa(r[1]))
		status, _, got := given(t, open(c, q).Entry, q)
		if status != 206 || got != body[r[0]:r[1]+1] {
			t.Errorf("%v: %d, %d bytes", r, status, len(got))
		}
	}
}

func TestOnlyAnswersOfOKHaveConditions(t *testing.T) {
	c, q := serving(Options{}), ask(t, "GET /")
	keep(t, c, q, answer(t, 404, "Cache-Control: max-age=60", `ETag: "a"`), "none")
	q = ask(t, "GET /", `If-None-Match: "a"`, "Range: bytes=0-0")
	if status, _, body := given(t, open(c, q).Entry, q); status != 404 || body != "none" {
		t.Errorf("%d %q", status, body)
	}
}

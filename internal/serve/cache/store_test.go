package cache

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const fresh = "Cache-Control: max-age=60"

// TestVariants stores an answer to one request and looks what another gets.
func TestVariants(t *testing.T) {
	for _, tt := range []struct {
		vary      string
		had, asks []string
		want      bool
		differ    bool // in what Vary cannot name
	}{
		{"Foo", []string{"Foo: 1"}, []string{"Foo: 1"}, true, false},
		{"Foo", []string{"Foo: 1"}, []string{"Foo: 2"}, false, false},
		{"Foo", []string{"Foo: 1"}, nil, false, false},
		{"Foo", nil, []string{"Foo: 1"}, false, false},
		{"Foo", nil, []string{"Foo:"}, false, false},
		{"Foo", nil, []string{"Bar: 1"}, true, false},
		{"foo, BAR", []string{"Foo: 1", "Bar: a"}, []string{"bar: a", "fOO: 1"}, true, false},
		{"Foo, Bar", []string{"Foo: 1", "Bar: a"}, []string{"Foo: a", "Bar: 1"}, false, false},
		{"Foo", []string{"Foo: 1, 2"}, []string{"Foo: 1", "Foo: 2"}, true, false},
		{"Foo", []string{"Foo: 1,2"}, []string{"Foo:  1 ,  2 "}, true, false},
		{"Foo", []string{"Foo: 1,2"}, []string{"Foo: 2,1"}, false, false}, // order may mean something
		{"Foo", []string{"Foo: \"a, b\""}, []string{"Foo: \"a,b\""}, false, false},
		{"Foo", []string{"Foo: A"}, []string{"Foo: a"}, false, false},
		{"Accept-Language", []string{"Accept-Language: en, de"}, []string{"Accept-Language: De,EN"}, true, false},
		{"Accept-Language", []string{"Accept-Language: en;q=1, de"}, []string{"Accept-Language: de; q=1.0, en"}, true, false},
		{"Accept-Language", []string{"Accept-Language: en;q=0.5, de"}, []string{"Accept-Language: de;q=0.5, en"}, false, false},
		{"Accept-Encoding", []string{"Accept-Encoding: gzip, br"}, []string{"Accept-Encoding: br,gzip"}, true, false},
		{"Accept-Encoding", []string{"Accept-Encoding: gzip"}, []string{"Accept-Encoding: gzip, br"}, false, false},
		{"Accept-Encoding", []string{"Accept-Encoding: gzip"}, nil, false, false},
		{"Cookie", []string{"Cookie: a=1"}, []string{"Cookie: a=2"}, false, false},
		{"", nil, nil, true, false},
		{"", nil, nil, false, true},
	} {
		c := serving(Options{})
		lines := []string{fresh}
		if tt.vary != "" {
			lines = append(lines, "Vary: "+tt.vary)
		}
		keep(t, c, ask(t, "GET /", tt.had...), answer(t, 200, lines...), "x")
		q := ask(t, "GET /", tt.asks...)
		if tt.differ {
			q = askHidden(t, "https", "GET /", tt.asks...)
		}
		d := open(c, q)
		if (d.Verdict == Fresh) != tt.want || !tt.want && d.Why != "vary-miss" {
			t.Errorf("vary %s, stored for %q, asked %q: %v %s", tt.vary, tt.had, tt.asks, d.Verdict, d.Why)
		}
	}
}

// TestWhatMembersSee: fields that the proxy drops or adds select as members see them.
func TestWhatMembersSee(t *testing.T) {
	c := serving(Options{})
	vary := []string{fresh, "Vary: X-Forwarded-For, Foo"}
	q := ask(t, "GET /", "Foo: 1")
	q.Request.DropName("foo")
	q.Extra = []byte("X-Forwarded-For: 10.0.0.1\r\n")
	keep(t, c, q, answer(t, 200, vary...), "for 10.0.0.1")
	q = ask(t, "GET /")
	if d := open(c, q); d.Verdict != Miss {
		t.Error("another client's answer is given")
	}
	q.Extra = []byte("A: b\r\nx-forwarded-for: 10.0.0.1\r\n")
	if d := open(c, q); d.Verdict != Fresh {
		t.Errorf("%v", d.Verdict)
	}
}

func TestVariantsStandSideBySide(t *testing.T) {
	c := serving(Options{})
	for i := range 2 * maxVariants {
		q := ask(t, "GET /", fmt.Sprintf("Foo: %d", i))
		keep(t, c, q, answer(t, 200, fresh, "Vary: Foo"), fmt.Sprint(i))
	}
	last := 2*maxVariants - 1
	if _, _, body := given(t, open(c, ask(t, "GET /", fmt.Sprintf("Foo: %d", last))).Entry, ask(t, "GET /")); body != fmt.Sprint(last) {
		t.Error(body)
	}
	if u := c.Usage(); u.Entries != maxVariants {
		t.Errorf("%d variants", u.Entries)
	}
}

func TestKeys(t *testing.T) {
	for _, tt := range [][2]string{{"h", "H"}, {"h", "h:80"}, {"h", "h:443"}} {
		if string(appendKey(nil, []byte(tt[0]), []byte("/a"), nil)) != string(appendKey(nil, []byte(tt[1]), []byte("/a"), nil)) {
			t.Errorf("%v differ", tt)
		}
	}
	seen := map[string]string{}
	for _, u := range []struct{ host, path, query string }{{"h", "/a", ""}, {"h", "/A", ""}, {"h", "/a", "b"}, {"h", "/a/b", ""}, {"h:8080", "/a", ""}, {"h", "/a%3Fb", ""}} {
		var query []byte
		if u.query != "" {
			query = []byte(u.query)
		}
		k := string(appendKey(nil, []byte(u.host), []byte(u.path), query))
		if other, twice := seen[k]; twice {
			t.Errorf("%v and %s are one", u, other)
		}
		seen[k] = fmt.Sprint(u)
	}
}

func TestFieldsThatAreStored(t *testing.T) {
	c, q := serving(Options{}), ask(t, "GET /")
	keep(t, c, q, answer(t, 200, `Cache-Control: max-age=60, no-cache="X-A, x-b", private=X-C`, "Connection: X-Hop", "X-Hop: 1", "X-A: 1", "X-B: 1",
		"X-C: 1", "X-D: 1", "x-d: 2", "Age: 3", "Keep-Alive: 3", "Proxy-Authenticate: x", "Proxy-Authentication-Info: x", "Content-Range: y"), "abc")
	_, res, _ := given(t, open(c, q).Entry, q)
	var got []string
	for _, f := range res.Fields {
		got = append(got, string(f.Name))
	}
	if s := strings.Join(got, " "); s != "Cache-Control X-D x-d Content-Range Date Content-Length Age" {
		t.Error(s)
	}
}

func TestCookiesAreSharedOnlyOnDemand(t *testing.T) {
	c, q := serving(Options{SetCookie: true}), ask(t, "GET /")
	keep(t, c, q, answer(t, 200, fresh, "Set-Cookie: a=b"), "abc")
	if _, res, _ := given(t, open(c, q).Entry, q); res.Find("Set-Cookie") == nil {
		t.Error("the cookie is lost though it was to be kept")
	}
	c = serving(Options{})
	keep(t, c, q, answer(t, 200, `Cache-Control: max-age=60, no-cache="set-cookie"`, "Set-Cookie: a=b"), "abc")
	if _, res, _ := given(t, open(c, q).Entry, q); res.Find("Set-Cookie") != nil {
		t.Error("a cookie is given to others")
	}
}

func TestFreshen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, q := serving(Options{}), ask(t, "GET /")
		keep(t, c, q, answer(t, 200, fresh, `ETag: "a"`, "X-Old: 1", "X-Both: 1", "Content-Type: a/b", "Content-Encoding: gzip"), "abc")
		time.Sleep(2 * time.Minute)
		d := open(c, q)
		if d.Verdict != Validate || string(d.Entry.AppendValidators(nil)) != "If-None-Match: \"a\"\r\n" {
			t.Fatalf("%v %q", d.Verdict, d.Entry.AppendValidators(nil))
		}
		n, o := c.Freshen(q, d.Entry, answer(t, 304, "Cache-Control: max-age=10", `ETag: "a"`, "X-Both: 2", "X-New: 1", "Content-Encoding: br", "Content-Type: c/d"), time.Now(), time.Now())
		if o != Stored || n == d.Entry {
			t.Errorf("outcome %d", o)
		}
		d = open(c, q)
		if d.Verdict != Fresh {
			t.Fatal(d.Verdict)
		}
		_, res, body := given(t, d.Entry, q)
		for name, want := range map[string]string{"X-Old": "1", "X-Both": "2", "X-New": "1", "Content-Encoding": "gzip", "Content-Type": "c/d", "Age": "0", "Cache-Control": "max-age=10"} {
			if f := res.Find(name); f == nil || string(f.Value) != want {
				t.Errorf("%s is %v", name, f)
			}
		}
		if body != "abc" {
			t.Error(body)
		}
		time.Sleep(time.Minute)
		stale := open(c, q).Entry
		if n, o := c.Freshen(q, stale, answer(t, 304, `ETag: "other"`, fresh), time.Now(), time.Now()); n != stale || o != Passed {
			t.Error("a 304 about another answer was taken in")
		}
		if n, o := c.Freshen(q, stale, answer(t, 304, "Cache-Control: no-store"), time.Now(), time.Now()); n == stale || o != Passed {
			t.Error("no-store in a 304 was not seen")
		}
		if d := open(c, q); d.Verdict != Miss {
			t.Errorf("what must not be stored is: %v", d.Verdict)
		}
		if u := c.Usage(); u.Memory != 0 || u.Writing != 0 {
			t.Errorf("%+v", u)
		}
	})
}

func TestHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, q := serving(Options{}), ask(t, "GET /")
		keep(t, c, q, answer(t, 200, fresh, `ETag: "a"`), "abc")
		head := ask(t, "HEAD /")
		if d := open(c, head); d.Verdict != Fresh {
			t.Fatal(d.Verdict)
		}
		time.Sleep(2 * time.Minute)
		open(c, head)
		c.SeenHead(head, answer(t, 200, fresh, `ETag: "a"`, "Content-Length: 3"), time.Now(), time.Now())
		if d := open(c, q); d.Verdict != Fresh {
			t.Errorf("HEAD did not freshen: %v", d.Verdict)
		}
		c.SeenHead(head, answer(t, 500), time.Now(), time.Now())
		if d := open(c, q); d.Verdict != Fresh {
			t.Errorf("an error made the cache forget: %v", d.Verdict)
		}
		c.SeenHead(head, answer(t, 200, fresh, "Content-Length: 4"), time.Now(), time.Now())
		if d := open(c, q); d.Verdict != Miss {
			t.Errorf("another length did not make the cache forget: %v", d.Verdict)
		}
	})
}

func TestInvalidation(t *testing.T) {
	for _, tt := range []struct {
		method string
		status int
		lines  []string
		gone   string
	}{
		{"POST", 200, nil, "/a/b"},
		{"PUT", 204, nil, "/a/b"},
		{"DELETE", 303, nil, "/a/b"},
		{"M-SEARCH", 200, nil, "/a/b"},
		{"POST", 400, nil, ""},
		{"POST", 500, []string{"Location: /a/c"}, ""},
		{"GET", 200, nil, ""},
		{"OPTIONS", 200, nil, ""},
		{"POST", 201, []string{"Location: /a/c"}, "/a/b /a/c"},
		{"POST", 201, []string{"Location: c"}, "/a/b /a/c"},
		{"POST", 201, []string{"Location: http://H/a/c"}, "/a/b /a/c"},
		{"POST", 201, []string{"Location: https://h:443/a/c"}, "/a/b /a/c"},
		{"POST", 201, []string{"Location: http://other/a/c"}, "/a/b"},
		{"POST", 201, []string{"Location: http://h.evil/a/c"}, "/a/b"},
		{"POST", 201, []string{"Location: ftp://h/a/c"}, "/a/b"},
		{"POST", 201, []string{"Location: ://"}, "/a/b"},
		{"POST", 200, []string{"Content-Location: ?q"}, "/a/b /a/b?q"},
		{"PUT", 200, []string{"Content-Location: /a/c", "Location: /a/b?q"}, "/a/b /a/c /a/b?q"},
	} {
		c := serving(Options{})
		all := []string{"/a/b", "/a/c", "/a/b?q"}
		for _, u := range all {
			for _, foo := range []string{"1", "2"} { // every variant goes
				keep(t, c, ask(t, "GET "+u, "Foo: "+foo), answer(t, 200, fresh, "Vary: Foo"), "x")
			}
			keep(t, c, askHidden(t, "https", "GET "+u), answer(t, 200, fresh), "x")
		}
		c.Invalidate(ask(t, tt.method+" /a/b"), answer(t, tt.status, tt.lines...))
		for _, u := range all {
			want := strings.Contains(" "+tt.gone+" ", " "+u+" ")
			for _, q := range []*Query{ask(t, "GET "+u, "Foo: 1"), ask(t, "GET "+u, "Foo: 2"), askHidden(t, "https", "GET "+u)} {
				if gone := open(c, q).Verdict == Miss; gone != want {
					t.Errorf("%s answered %d %q: %s gone is %v", tt.method, tt.status, tt.lines, u, gone)
				}
			}
		}
	}
}

// TestInvalidationReachesWhatIsBeingWritten: an answer made before a change must not be stored after it.
func TestInvalidationReachesWhatIsBeingWritten(t *testing.T) {
	c, q := serving(Options{}), ask(t, "GET /a")
	open(c, q)
	w, _ := c.Begin(q, answer(t, 200, fresh), time.Now(), time.Now())
	w.Write([]byte("before"))
	c.Invalidate(ask(t, "POST /a"), answer(t, 200))
	if o := w.Commit(); o != Passed {
		t.Errorf("outcome %d", o)
	}
	if d := open(c, q); d.Verdict != Miss {
		t.Error("it is given after the change")
	}
}

// TestLateAnswers: an answer that was asked for earlier does not take the place of one that was asked for later, whichever comes last.
func TestLateAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, q := serving(Options{}), ask(t, "GET /a")
		keep(t, c, q, answer(t, 200, "Cache-Control: max-age=1", `ETag: "1"`), "first")
		time.Sleep(2 * time.Second)
		first, asked := open(c, q).Entry, time.Now()
		slow, _ := c.Begin(q, answer(t, 200, fresh), asked, asked)
		slow.Write([]byte("slow"))
		time.Sleep(time.Second)
		keep(t, c, q, answer(t, 200, fresh, `ETag: "2"`), "second")
		c.Freshen(q, first, answer(t, 304, fresh), asked, time.Now())
		slow.Commit()
		if _, _, body := given(t, open(c, q).Entry, q); body != "second" {
			t.Error(body)
		}
		if u := c.Usage(); u.Writing != 0 {
			t.Errorf("%+v", u)
		}
	})
}

func TestWhatIsNotWholeIsNotStored(t *testing.T) {
	c, q := serving(Options{MaxEntry: 100}), ask(t, "GET /")
	begin := func(lines ...string) *Writer {
		w, why := c.Begin(q, answer(t, 200, append(lines, fresh)...), time.Now(), time.Now())
		if w == nil {
			t.Fatal(why)
		}
		return w
	}
	w := begin("Content-Length: 10")
	w.Write([]byte("123456789"))
	w.Commit() // short
	w = begin("Content-Length: 10")
	w.Write([]byte("12345678901"))
	w.Commit() // long
	w = begin()
	w.Write(make([]byte, 60))
	w.Write(make([]byte, 60))
	w.Commit() // too large
	w = begin()
	w.Write([]byte("x"))
	w.Abort()
	w.Commit()
	w.Abort()
	if u := c.Usage(); u.Entries != 0 || u.Writing != 0 || u.Memory != 0 {
		t.Errorf("%+v", u)
	}
}

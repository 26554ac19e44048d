package cache

import (
	"testing"
	"time"

	"github.com/backstay/backstay/internal/serve/http1"
)

func parse(values ...string) Directives {
	var fields []http1.Field
	for _, v := range values {
		fields = append(fields, http1.Field{ID: http1.CacheControl, Value: []byte(v)})
	}
	return ParseDirectives(fields)
}

func TestDirectives(t *testing.T) {
	for _, tt := range []struct {
		values []string
		set    directive
		maxAge int // seconds
		broken bool
	}{
		{[]string{""}, 0, 0, false},
		{[]string{"max-age=60"}, maxAge, 60, false},
		{[]string{"MaX-aGe=60, nO-sTore"}, maxAge | noStore, 60, false},
		{[]string{"max-age=\"60\""}, maxAge, 60, false},
		{[]string{"max-age=003600"}, maxAge, 3600, false},
		{[]string{"max-age=99999999999999999999"}, maxAge, 2147483647, false},
		{[]string{"max-age='60'"}, maxAge, 0, true},
		{[]string{"max-age=60.0"}, maxAge, 0, true},
		{[]string{"max-age=-60"}, maxAge, 0, true},
		{[]string{"max-age=6a"}, maxAge, 0, true},
		{[]string{"max-age="}, maxAge, 0, true},
		{[]string{"max-age"}, maxAge, 0, true},
		{[]string{"max-age =60"}, 0, 0, true},
		{[]string{"max-age= 60"}, maxAge, 0, true},
		{[]string{"max-age=60, max-age=60"}, maxAge, 60, false},
		{[]string{"max-age=60", "max-age=1"}, maxAge, 1, false},
		{[]string{`extension="max-age=3600", max-age=1`}, maxAge, 1, false},
		{[]string{`max-age=1, extension="max-age=3600, private"`}, maxAge, 1, false},
		{[]string{`x="a\", private"`}, 0, 0, false},
		{[]string{`x="a, private`}, noStore | private, 0, true},
		{[]string{"private"}, private, 0, false},
		{[]string{`private="a, b"`}, privateFields, 0, false},
		{[]string{`no-cache="Set-Cookie"`}, noCacheFields, 0, false},
		{[]string{"no-cache=Set-Cookie"}, noCacheFields, 0, false},
		{[]string{`no-cache=""`}, noCache, 0, false},
		{[]string{`private="a b"`}, private, 0, false},
		{[]string{"no-cache=\"a\"", "no-cache"}, noCacheFields | noCache, 0, false},
		{[]string{"public,, must-revalidate ,proxy-revalidate"}, public | mustRevalidate | proxyRevalidate, 0, false},
		{[]string{"no-store-please"}, 0, 0, false},
		{[]string{"nothing-to-see-here, s-maxage=1"}, sMaxAge, 0, false},
	} {
		d := parse(tt.values...)
		if d.set != tt.set || d.maxAge != time.Duration(tt.maxAge)*time.Second || d.Broken != tt.broken {
			t.Errorf("%q: set %b, max-age %v, broken %v; want %b, %ds, %v", tt.values, d.set, d.maxAge, d.Broken, tt.set, tt.maxAge, tt.broken)
		}
	}
}

func TestDirectivesThatAllow(t *testing.T) {
	d := parse("max-stale, stale-if-error=60, stale-if-error=30, stale-while-revalidate=x")
	if d.maxStale != anyStaleness || d.ifError != 30*time.Second || d.whileRevalidate != 0 {
		t.Errorf("got %+v", d)
	}
}

// FuzzDirectives holds that no bytes make the parser fail, and that adding no-store to a list is never overlooked.
func FuzzDirectives(f *testing.F) {
	for _, s := range []string{"max-age=60", `x="a`, `private="a, b", no-cache`, `\"`, `"\`, "a=b=c", ",,,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !http1.ValidValue(s) {
			return // never a field value
		}
		d := parse(s)
		for _, v := range []time.Duration{d.maxAge, d.sMaxAge, d.minFresh, d.maxStale, d.ifError, d.whileRevalidate} {
			if v < 0 || v > anyStaleness {
				t.Fatalf("%q: %v", s, v)
			}
		}
		for _, name := range d.fields {
			if !http1.ValidToken(name) {
				t.Fatalf("%q lists %q", s, name)
			}
		}
		if e := parse("no-store", s); !e.has(noStore) {
			t.Fatalf("no-store is lost before %q", s)
		}
		if e := parse(s, "no-store"); !e.has(noStore) {
			t.Fatalf("no-store is lost after %q", s)
		}
		if e := parse(s + ", no-store"); !e.has(noStore) && !parseQuoted(s) {
			t.Fatalf("no-store is lost behind %q", s)
		}
	})
}

// parseQuoted says whether what follows s in the same line is within a quoted string, which closes nowhere: that counts as no-store anyway.
func parseQuoted(s string) bool {
	rest := []byte(s)
	for {
		_, more, closed := cutQuoted(rest)
		if !closed {
			return true
		}
		if more == nil {
			return false
		}
		rest = more
	}
}

func TestDates(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	want := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	for s, ok := range map[string]bool{
		"Sun, 06 Nov 1994 08:49:37 GMT":   true,
		"Sunday, 06-Nov-94 08:49:37 GMT":  true,
		"Sun Nov  6 08:49:37 1994":        true,
		"Sun, 06 Nov 1994 08:49:37 UTC":   false,
		"Sun, 06 Nov 1994 08:49:37 +0100": false,
		"Sun 06 Nov 1994 08:49:37 GMT":    false,
		"Sun, 6 Nov 1994 8:49:37 GMT":     false,
		"0":                               false,
		"-1":                              false,
		"":                                false,
		"Sun, 06-Nov-1994 08:49:37 GMT":   false,
	} {
		got, good := parseDate([]byte(s), now)
		if good != ok || ok && !got.Equal(want) {
			t.Errorf("%q is %v, %v", s, got, good)
		}
	}
	if got, _ := parseDate([]byte("Sunday, 06-Nov-30 08:49:37 GMT"), now); got.Year() != 2030 {
		t.Errorf("two digits are %d", got.Year())
	}
	if got := string(appendDate(nil, want)); got != "Sun, 06 Nov 1994 08:49:37 GMT" {
		t.Error(got)
	}
}

package cache

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestLifetime goes through section 4.2 of RFC 9111: how long an answer is fresh that comes now and took a second.
func TestLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(imfFixdate) }
		for _, tt := range []struct {
			lines []string
			left  time.Duration
		}{
			{[]string{"Cache-Control: max-age=60"}, 59 * time.Second},
			{[]string{"Cache-Control: max-age=60", "Age: 10"}, 49 * time.Second},
			{[]string{"Cache-Control: max-age=60", "Age: 70"}, -11 * time.Second},
			{[]string{"Cache-Control: max-age=60", "Date: " + at(-30*time.Second)}, 30 * time.Second}, // apparent age
			{[]string{"Cache-Control: max-age=60", "Date: " + at(30*time.Second)}, 59 * time.Second},
			{[]string{"Cache-Control: s-maxage=10, max-age=60"}, 9 * time.Second},
			{[]string{"Cache-Control: max-age=10, s-maxage=60"}, 59 * time.Second},
			{[]string{"Cache-Control: max-age=60", "Expires: " + at(-time.Hour)}, 59 * time.Second},
			{[]string{"Cache-Control: max-age=0", "Expires: " + at(time.Hour)}, -time.Second},
			{[]string{"Expires: " + at(time.Minute), "Date: " + at(0)}, 59 * time.Second},
			{[]string{"Expires: " + at(time.Minute)}, 59 * time.Second},
			{[]string{"Expires: " + at(time.Minute), "Date: nonsense"}, 59 * time.Second},
			{[]string{"Expires: " + at(0), "Date: " + at(0)}, -time.Second},
			{[]string{"Expires: " + at(time.Hour), "Date: " + at(2*time.Hour)}, -time.Second}, // both fast
			{[]string{"Expires: 0", "Date: " + at(0)}, -time.Second},
			{[]string{"Expires: " + at(time.Hour), "Expires: " + at(time.Hour)}, -time.Second},
			{[]string{"Cache-Control: max-age=x", "Expires: " + at(time.Hour)}, -time.Second},
			{[]string{"Cache-Control: max-age=30, max-age=60"}, 29 * time.Second},
			{[]string{"Cache-Control: max-age=60", "Cache-Control: max-age=30"}, 29 * time.Second},
			{[]string{"Last-Modified: " + at(-1000*time.Second), "Date: " + at(0)}, 99 * time.Second},
			{[]string{"Last-Modified: " + at(-1000*time.Hour), "Date: " + at(0)}, heuristicLimit - time.Second},
			{[]string{"Last-Modified: " + at(time.Hour), "Date: " + at(0)}, -time.Second},
			{[]string{"Last-Modified: " + at(-1000*time.Second), "Pragma: no-cache"}, -time.Second},
			{[]string{"Cache-Control: max-age=60", "Age: x"}, -time.Second},
			{[]string{"Cache-Control: max-age=60", "Age: -1"}, -time.Second},
			{[]string{"Cache-Control: max-age=60", "Age: 1.5"}, -time.Second},
			{[]string{"Cache-Control: max-age=60", "Age: 0, 0"}, -time.Second},
			{[]string{"Cache-Control: max-age=60", "Age: 0", "Age: 0"}, -time.Second},
			{[]string{"Cache-Control: max-age=60", "Age: 0;foo=1"}, -time.Second},
		} {
			c := serving(Options{Heuristic: 0.1, IfError: time.Hour})
			q := ask(t, "GET /")
			w, why := c.Begin(q, answer(t, 200, tt.lines...), time.Now().Add(-time.Second), time.Now())
			if w == nil {
				t.Errorf("%q is refused: %s", tt.lines, why)
				continue
			}
			if left := w.entry.Left(time.Now()); left != tt.left {
				t.Errorf("%q is fresh for %v, want %v", tt.lines, left, tt.left)
			}
			w.Abort()
		}
	})
}

func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, q := serving(Options{}), ask(t, "GET /")
		keep(t, c, q, answer(t, 200, "Cache-Control: max-age=100", "Age: 30", "Date: NOW"), "x")
		time.Sleep(5*time.Second + 700*time.Millisecond)
		_, res, _ := given(t, open(c, q).Entry, q)
		if f := res.Find("Age"); string(f.Value) != "35" {
			t.Errorf("age %s", f.Value)
		}
	})
}

// TestVerdict goes through sections 4 and 5.2.1: what becomes of a request for an answer of a certain age.
func TestVerdict(t *testing.T) {
	const fresh = "max-age=60"
	for _, tt := range []struct {
		says, asks string
		age        time.Duration
		want       Verdict
		refresh    bool
	}{
		{fresh, "", 0, Fresh, false},
		{fresh, "", 59 * time.Second, Fresh, false},
		{fresh, "", 60 * time.Second, Validate, false},
		{fresh + ", no-cache", "", 0, Validate, false},
		{fresh + `, no-cache="X-A"`, "", 0, Fresh, false},
		{fresh + ", must-revalidate", "", time.Second, Fresh, false},
		{fresh, "no-cache", 0, Validate, false},
		{fresh, "no-store", 0, Bypass, false},
		{fresh, "max-age=0", time.Second, Validate, false},
		{fresh, "max-age=10", 10 * time.Second, Fresh, false},
		{fresh, "max-age=10", 11 * time.Second, Validate, false},
		{fresh, "min-fresh=30", 30 * time.Second, Fresh, false},
		{fresh, "min-fresh=30", 31 * time.Second, Validate, false},
		{fresh, "max-stale", time.Hour, Stale, false},
		{fresh, "max-stale=10", 70 * time.Second, Stale, false},
		{fresh, "max-stale=10", 71 * time.Second, Validate, false},
		{fresh + ", must-revalidate", "max-stale", 61 * time.Second, Validate, false},
		{fresh + ", proxy-revalidate", "max-stale", 61 * time.Second, Validate, false},
		{"s-maxage=60", "max-stale", 61 * time.Second, Validate, false},
		{fresh + ", no-cache", "max-stale", 61 * time.Second, Validate, false},
		{fresh, "only-if-cached", time.Second, Fresh, false},
		{fresh, "only-if-cached", time.Hour, Refused, false},
		{fresh, "only-if-cached, max-stale", time.Hour, Stale, false},
		{fresh + ", stale-while-revalidate=10", "", 69 * time.Second, Stale, true},
		{fresh + ", stale-while-revalidate=10", "", 70 * time.Second, Validate, false},
		{"s-maxage=60, stale-while-revalidate=10", "", 65 * time.Second, Stale, true},
		{fresh + ", stale-while-revalidate=10, must-revalidate", "", 65 * time.Second, Validate, false},
		{fresh + ", stale-while-revalidate=10", "no-cache", 65 * time.Second, Validate, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, q := serving(Options{}), ask(t, "GET /")
			keep(t, c, q, answer(t, 200, "ETag: \"a\"", "Cache-Control: "+tt.says), "x")
			time.Sleep(tt.age)
			if tt.asks != "" {
				q = ask(t, "GET /", "Cache-Control: "+tt.asks)
			}
			d := open(c, q)
			if d.Verdict != tt.want || d.Refresh != tt.refresh {
				t.Errorf("%q asked %q after %v: %v, refresh %v; want %v, %v", tt.says, tt.asks, tt.age, d.Verdict, d.Refresh, tt.want, tt.refresh)
			}
		})
	}
}

// TestOnError goes through stale-if-error: of the origin, of the client, and of the operator, who cannot allow what the origin forbids.
func TestOnError(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		says, asks string
		age        time.Duration
		beyond     time.Duration
		want       bool
	}{
		{"max-age=60", "", 59 * s, 0, true},
		{"max-age=60", "", 61 * s, 0, false},
		{"max-age=60", "", 61 * s, 10 * s, true},
		{"max-age=60", "", 71 * s, 10 * s, false},
		{"max-age=60, stale-if-error=30", "", 90 * s, 0, true},
		{"max-age=60, stale-if-error=30", "", 91 * s, 0, false},
		{"max-age=60, stale-if-error=30", "", 100 * s, 40 * s, true},
		{"max-age=60", "stale-if-error=20", 80 * s, 0, true},
		{"max-age=60, must-revalidate", "", 61 * s, 600 * s, false},
		{"max-age=60, must-revalidate", "", 59 * s, 0, true},
		{"max-age=60, proxy-revalidate", "", 61 * s, 600 * s, false},
		{"max-age=60, must-revalidate, stale-if-error=600", "", 61 * s, 600 * s, false},
		{"s-maxage=60", "", 61 * s, 600 * s, false},
		{"s-maxage=60, stale-if-error=600", "", 61 * s, 0, true},
		{"max-age=60, no-cache", "", 0, 600 * s, false},
		{"max-age=60", "no-cache", s, 0, false},
		{"max-age=60", "no-cache", 61 * s, 60 * s, true}, // a reload while the service is down
	} {
		synctest.Test(t, func(t *testing.T) {
			c, q := serving(Options{IfError: tt.beyond}), ask(t, "GET /")
			keep(t, c, q, answer(t, 200, "ETag: \"a\"", "Cache-Control: "+tt.says), "x")
			time.Sleep(tt.age)
			if tt.asks != "" {
				q = ask(t, "GET /", "Cache-Control: "+tt.asks)
			}
			if e := c.OnError(q); (e != nil) != tt.want {
				t.Errorf("%q asked %q after %v, allowed %v: %v, want %v", tt.says, tt.asks, tt.age, tt.beyond, e != nil, tt.want)
			}
		})
	}
}

func TestFallbackAnswersWithoutPermission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, q := New(Options{IfError: 10 * time.Minute}), ask(t, "GET /x?y")
		keep(t, c, q, answer(t, 200), "good")
		if d := open(c, q); d.Verdict != Miss {
			t.Errorf("a fallback's store answers while the service works: %v", d.Verdict)
		}
		time.Sleep(10 * time.Minute)
		if e := c.OnError(q); e == nil {
			t.Error("nothing is given in time")
		} else if _, _, body := given(t, e, q); body != "good" {
			t.Error(body)
		}
		time.Sleep(time.Second)
		if c.OnError(q) != nil {
			t.Error("it is given for ever")
		}
		for _, other := range []string{"GET /x", "GET /x?z", "GET /x?"} {
			if c.OnError(ask(t, other)) != nil {
				t.Errorf("%s gets it too", other)
			}
		}
		if c.OnError(ask(t, "POST /x?y")) != nil {
			t.Error("POST gets it")
		}
	})
}

func ExampleVerdict() {
	fmt.Println(Fresh, Stale, Validate)
	// Output: fresh stale validate
}

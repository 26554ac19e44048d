package cache

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/serve/http1"
)

// TestBounds: whatever comes, the bytes that are held stay within the bound, nothing is lost in counting, and every answer that is given is one
// that was stored, as a whole.
func TestBounds(t *testing.T) {
	const limit = 1 << 20
	c := serving(Options{Memory: limit})
	r := rand.New(rand.NewPCG(1, 2))
	var writers []*Writer
	var bodies []string
	hits := 0
	for i := range 20_000 {
		path := fmt.Sprintf("/%d", int(r.ExpFloat64()*60))
		q := ask(t, "GET "+path, fmt.Sprintf("Foo: %d", r.IntN(3)))
		switch r.IntN(12) {
		case 0:
			c.Invalidate(ask(t, "POST "+path), answer(t, 200))
		case 1, 2, 3, 4, 5:
			if d := open(c, q); d.Verdict == Fresh {
				hits++
				_, res, body := given(t, d.Entry, q)
				if n := len(body); n > 0 && body != strings.Repeat(body[:1], n) || string(res.Find("X-Is").Value) != path+body[:min(1, n)] {
					t.Fatalf("a mix: %s has %q…", path, body[:min(n, 20)])
				}
			}
		case 6, 7, 8:
			body := strings.Repeat(string(rune('a'+r.IntN(26))), 1+r.IntN(60_000))
			lines := []string{fresh, "Vary: Foo", "X-Is: " + path + body[:1]}
			if r.IntN(2) == 0 {
				lines = append(lines, fmt.Sprint("Content-Length: ", len(body)))
			}
			open(c, q)
			if w, _ := c.Begin(q, answer(t, 200, lines...), time.Now(), time.Now()); w != nil {
				writers, bodies = append(writers, w), append(bodies, body)
			}
		default:
			if len(writers) == 0 {
				break
			}
			k := r.IntN(len(writers))
			n := min(len(bodies[k]), 1+r.IntN(30_000))
			writers[k].Write([]byte(bodies[k][:n]))
			if bodies[k] = bodies[k][n:]; bodies[k] == "" || r.IntN(20) == 0 {
				if bodies[k] == "" {
					writers[k].Commit()
				} else {
					writers[k].Abort()
				}
				writers, bodies = append(writers[:k], writers[k+1:]...), append(bodies[:k], bodies[k+1:]...)
			}
		}
		if u := c.Usage(); u.Memory+u.Writing > limit || u.Memory < 0 || u.Writing < 0 {
			t.Fatalf("step %d: %+v", i, u)
		}
		if i%500 == 0 {
			c.check(t)
		}
	}
	for _, w := range writers {
		w.Abort()
	}
	c.check(t)
	if u := c.Usage(); u.Writing != 0 || u.Entries < 5 || hits < 200 {
		t.Errorf("%+v, %d hits", u, hits)
	}
	c.Purge()
	if u := c.Usage(); u.Memory != 0 || u.Entries != 0 {
		t.Errorf("after a purge %+v", u)
	}
}

// check counts everything anew.
func (c *Cache) check(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var used int64
	slots := 0
	for _, q := range []*queue{&c.memory.small, &c.memory.main} {
		var bytes int64
		n := 0
		for s := q.head; s != nil; s = s.next {
			e := *s.entry
			e.weigh()
			if e.cost != s.entry.cost || s.in != q {
				t.Fatalf("an entry of %d bytes counts as %d", e.cost, s.entry.cost)
			}
			bytes += e.cost
			n++
		}
		if bytes != q.bytes || n != q.count {
			t.Fatalf("a queue of %d bytes, %d slots counts as %d, %d", bytes, n, q.bytes, q.count)
		}
		used += bytes
		slots += n
	}
	for key, r := range c.memory.resources {
		if len(r.slots) == 0 || r.key != key {
			t.Fatalf("%q is empty", key)
		}
		slots -= len(r.slots)
	}
	if used != c.memory.used || slots != 0 || len(c.memory.ghosts.order) < len(c.memory.ghosts.set) {
		t.Fatalf("%d bytes count as %d; %d slots are lost", used, c.memory.used, slots)
	}
}

// TestScanResistance: what is asked for again and again outlives a crawl through many times the room.
func TestScanResistance(t *testing.T) {
	c := serving(Options{Memory: 1 << 20})
	get := func(path string) bool {
		q := ask(t, "GET "+path)
		if open(c, q).Verdict == Fresh {
			return true
		}
		keep(t, c, q, answer(t, 200, fresh), strings.Repeat("x", 8000))
		return false
	}
	for range 4 {
		for i := range 50 {
			get(fmt.Sprint("/hot/", i))
		}
	}
	hot := 0
	for i := range 5000 {
		get(fmt.Sprint("/crawl/", i))
		if i%10 == 0 && get(fmt.Sprint("/hot/", i/10%50)) {
			hot++
		}
	}
	if hot < 495 {
		t.Errorf("%d of 500 were still there", hot)
	}
}

func TestSmallerBoundThrowsOut(t *testing.T) {
	c := serving(Options{})
	for i := range 100 {
		keep(t, c, ask(t, fmt.Sprint("GET /", i)), answer(t, 200, fresh), strings.Repeat("x", 8000))
	}
	c.Update(Options{Serve: true, Memory: 100_000})
	if u := c.Usage(); u.Memory > 100_000 || u.Entries < 5 {
		t.Errorf("%+v", u)
	}
	c.check(t)
}

func BenchmarkHit(b *testing.B) {
	c, q := serving(Options{}), ask(b, "GET /some/path?q", "Accept-Encoding: gzip", "User-Agent: x", "Foo: 1")
	keep(b, c, q, answer(b, 200, fresh, "Vary: Foo", "Content-Type: text/plain", `ETag: "abc"`), strings.Repeat("x", 1024))
	var buf []byte
	var res http1.Response
	b.ReportAllocs()
	for b.Loop() {
		q.Reset(q.Request, q.Hidden, q.Extra)
		d := c.Open(b.Context(), q)
		head, r := d.Entry.Reply(buf[:0], q, time.Now())
		buf = head
		if _, err := res.Parse(head, storedLimits, http1.GET); err != nil || d.Verdict != Fresh {
			b.Fatal(err)
		}
		for p := r.Next(); p != nil; p = r.Next() {
		}
	}
}

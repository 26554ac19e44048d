package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestAllAtOnce has many goroutines store, ask, change and leave at the same time, over both tiers: every answer that is given is one that was stored,
// whole, for that very variant, and not from before a change that was over when it was asked for; nothing is left behind.
func TestAllAtOnce(t *testing.T) {
	c, _ := kept(t, Options{Dir: t.TempDir(), Memory: 2 << 20, Disk: 4 << 20, Wait: 50 * time.Millisecond, Waiters: 4})
	var versions [20]struct {
		sync.RWMutex
		n int
	}
	one := func(r *rand.Rand) error {
		id := r.IntN(len(versions))
		v := &versions[id]
		foo := fmt.Sprint(r.IntN(3))
		q := ask(t, fmt.Sprint("GET /", id), "Foo: "+foo)
		if r.IntN(30) == 0 {
			v.Lock()
			v.n++
			c.Invalidate(ask(t, fmt.Sprint("POST /", id)), answer(t, 200))
			v.Unlock()
			return nil
		}
		v.RLock()
		least := v.n
		v.RUnlock()
		d := c.Open(context.Background(), q)
		defer d.Lead.Done(Aborted)
		if d.Verdict == Fresh {
			_, res, body := given(t, d.Entry, q)
			is := string(res.Find("X-Is").Value)
			var of, version int
			var variant string
			if _, err := fmt.Sscanf(is, "%d %s %d", &of, &variant, &version); err != nil || of != id || variant != foo || version < least {
				return fmt.Errorf("%d %s, at least version %d, gets %q", id, foo, least, is)
			}
			if body != strings.Repeat(is, len(body)/max(1, len(is))) {
				return fmt.Errorf("a mix of answers")
			}
			return nil
		}
		v.RLock() // the origin answers
		is := fmt.Sprintf("%d %s %d", id, foo, v.n)
		v.RUnlock()
		w, _ := c.Begin(q, answer(t, 200, fresh, "Vary: Foo", "X-Is: "+is), time.Now(), time.Now())
		if w == nil {
			d.Lead.Done(Passed)
			return nil
		}
		for range 1 + r.IntN(3000) {
			w.Write([]byte(is))
		}
		if r.IntN(10) == 0 {
			w.Abort()
			return nil
		}
		d.Lead.Done(w.Commit())
		return nil
	}
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for range 400 {
				if err := one(r); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	c.check(t)
	if u := c.Usage(); u.Writing != 0 || u.Flights != 0 || u.Waiting != 0 {
		t.Errorf("%+v", u)
	}
}

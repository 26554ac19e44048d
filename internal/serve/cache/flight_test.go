package cache

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// crowd has many requests for the same thing come at once.
type crowd struct {
	asked atomic.Int32
	c     *Cache
}

func (s *crowd) get(t *testing.T, q *Query, lines []string, fail, leave bool) Decision {
	d := s.c.Open(context.Background(), q)
	switch d.Verdict {
	case Fresh, Stale:
		d.Lead.Done(Stored)
		return d
	}
	s.asked.Add(1)
	time.Sleep(100 * time.Millisecond)
	switch {
	case leave:
		d.Lead.Done(Aborted)
	case fail:
		d.Lead.Done(Failed)
	default:
		w, _ := s.c.Begin(q, answer(t, 200, lines...), time.Now(), time.Now())
		if w == nil {
			d.Lead.Done(Passed)
			break
		}
		w.Write([]byte("x"))
		d.Lead.Done(w.Commit())
	}
	return d
}

func TestCollapse(t *testing.T) {
	const n = 100
	for _, tt := range []struct {
		name   string
		lines  []string
		asked  int32
		within time.Duration
	}{
		{"stored", []string{fresh}, 1, 100 * time.Millisecond},
		{"private", []string{"Cache-Control: private"}, n, 200 * time.Millisecond},
		{"no-cache", []string{"Cache-Control: no-cache", `ETag: "a"`}, n, 200 * time.Millisecond},
		{"max-age=0", []string{"Cache-Control: max-age=0", `ETag: "a"`}, n, 200 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &crowd{c: serving(Options{})}
			began := time.Now()
			var all sync.WaitGroup
			for range n {
				q := ask(t, "GET /")
				all.Go(func() { s.get(t, q, tt.lines, false, false) })
			}
			all.Wait()
			if took := time.Since(began); s.asked.Load() != tt.asked || took > tt.within {
				t.Errorf("%s: the origin was asked %d times in %v, want %d in %v", tt.name, s.asked.Load(), took, tt.asked, tt.within)
			}
			if u := s.c.Usage(); u.Flights != 0 || u.Waiting != 0 || u.Writing != 0 {
				t.Errorf("%s: left behind %+v", tt.name, u)
			}
			began = time.Now() // what is nobody else's is remembered: nobody waits in vain
			for range n {
				q := ask(t, "GET /")
				all.Go(func() { s.get(t, q, tt.lines, false, false) })
			}
			all.Wait()
			if took := time.Since(began); took > 100*time.Millisecond {
				t.Errorf("%s: the second time it took %v", tt.name, took)
			}
		})
	}
}

func TestVariantsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &crowd{c: serving(Options{})}
		lines := []string{fresh, "Vary: Foo"}
		keep(t, s.c, ask(t, "GET /", "Foo: x"), answer(t, 200, lines...), "x")
		var all sync.WaitGroup
		began := time.Now()
		for i := range 30 {
			q := ask(t, "GET /", fmt.Sprint("Foo: ", i%3))
			all.Go(func() { s.get(t, q, lines, false, false) })
		}
		all.Wait()
		if s.asked.Load() != 3 || time.Since(began) > 100*time.Millisecond {
			t.Errorf("asked %d times in %v", s.asked.Load(), time.Since(began))
		}
	})
}

// TestLeaderLeaves: the next one takes its place; nobody is lost, and nobody waits beyond the bound.
func TestLeaderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &crowd{c: serving(Options{Wait: time.Second})}
		var all sync.WaitGroup
		began := time.Now()
		for i := range 50 {
			q := ask(t, "GET /")
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				s.get(t, q, []string{fresh}, false, i < 3)
			})
		}
		all.Wait()
		if n := s.asked.Load(); n < 2 || n > 4 || time.Since(began) > 500*time.Millisecond {
			t.Errorf("asked %d times in %v", n, time.Since(began))
		}
		if u := s.c.Usage(); u.Flights != 0 || u.Waiting != 0 {
			t.Errorf("left behind %+v", u)
		}
	})
}

func TestWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := serving(Options{Wait: time.Second, Waiters: 5})
		lead := c.Open(context.Background(), ask(t, "GET /"))
		if !lead.Lead.Leads() {
			t.Fatal("no leader")
		}
		var all sync.WaitGroup
		var at [20]time.Duration
		began := time.Now()
		for i := range at {
			q := ask(t, "GET /")
			all.Go(func() {
				if d := c.Open(context.Background(), q); d.Verdict != Miss || d.Lead.Leads() {
					t.Errorf("%v", d.Verdict)
				}
				at[i] = time.Since(began)
			})
		}
		all.Wait()
		waited := 0
		for _, d := range at {
			if d == time.Second {
				waited++
			} else if d != 0 {
				t.Errorf("one waited %v", d)
			}
		}
		if waited != 5 {
			t.Errorf("%d waited", waited)
		}
		ctx, leave := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer leave()
		c.Open(ctx, ask(t, "GET /"))
		if d := time.Since(began); d != time.Second+10*time.Millisecond {
			t.Errorf("a client that leaves waits %v", d-time.Second)
		}
		lead.Lead.Done(Aborted)
		lead.Lead.Done(Stored) // says nothing any more
		if d := open(c, ask(t, "GET /")); d.Verdict != Miss {
			t.Error(d.Verdict)
		}
	})
}

// TestStaleOnFailure: who waits for a service that fails gets what is stale, where that is allowed.
func TestStaleOnFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &crowd{c: serving(Options{IfError: time.Hour})}
		q := ask(t, "GET /")
		keep(t, s.c, q, answer(t, 200, fresh, `ETag: "a"`), "x")
		time.Sleep(2 * time.Minute)
		var all sync.WaitGroup
		var stale atomic.Int32
		for range 20 {
			q := ask(t, "GET /")
			all.Go(func() {
				if s.get(t, q, nil, true, false).Verdict == Stale {
					stale.Add(1)
				}
			})
		}
		all.Wait()
		if stale.Load() != 19 || s.asked.Load() != 1 {
			t.Errorf("%d got the stale answer, the origin was asked %d times", stale.Load(), s.asked.Load())
		}
	})
}

func TestOneRefreshesWhileTheOthersAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, q := serving(Options{}), ask(t, "GET /")
		keep(t, c, q, answer(t, 200, "Cache-Control: max-age=1, stale-while-revalidate=60"), "x")
		time.Sleep(2 * time.Second)
		first := c.Open(context.Background(), q)
		if first.Verdict != Stale || !first.Refresh || !first.Lead.Leads() {
			t.Fatalf("%+v", first)
		}
		for range 10 {
			if d := c.Open(context.Background(), ask(t, "GET /")); d.Verdict != Stale || d.Refresh || d.Lead.Leads() {
				t.Errorf("%+v", d)
			}
		}
		first.Lead.Done(Stored)
	})
}

// TestLostLeader: one that never tells how it ended does not hold up others for ever.
func TestLostLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := serving(Options{Wait: time.Second})
		lost := c.Open(context.Background(), ask(t, "GET /"))
		time.Sleep(10 * time.Second)
		began := time.Now()
		d := c.Open(context.Background(), ask(t, "GET /"))
		if !d.Lead.Leads() || time.Since(began) != 0 {
			t.Errorf("%+v after %v", d, time.Since(began))
		}
		lost.Lead.Done(Passed)
		if c.Usage().Flights != 1 {
			t.Error("the lost one took the other's place")
		}
		d.Lead.Done(Aborted)
	})
}

func TestNotCollapsed(t *testing.T) {
	c := serving(Options{})
	lead := c.Open(context.Background(), ask(t, "GET /"))
	defer lead.Lead.Done(Aborted)
	for _, q := range []*Query{ask(t, "HEAD /"), ask(t, "GET /", "Range: bytes=0-1"), ask(t, "GET /", `If-None-Match: "a"`), ask(t, "POST /"), ask(t, "GET /", "If-Match: *"), ask(t, "GET /other")} {
		began := time.Now()
		d := c.Open(context.Background(), q)
		d.Lead.Done(Aborted)
		if time.Since(began) > time.Second {
			t.Errorf("%s waited", q.Request.Method)
		}
	}
}

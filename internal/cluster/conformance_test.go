package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/cluster"
)

// conformance is what every Store must do. compact makes it forget the changes so far.
func conformance(t *testing.T, store cluster.Store, compact func(t *testing.T)) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s space)
	}{
		{"get of nothing", getOfNothing}, {"compare and swap", compareAndSwap}, {"delete", deletes}, {"list", lists},
		{"one winner of a race", oneWinner}, {"a context that has ended", endedContext}, {"watch begins with the state", watchBegins},
		{"watch tells each change in order", watchOrder}, {"watch ends with its context", watchEnds},
		{"a slow reader gets the state", slowReader},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(t, space{store, "conformance/" + strings.ReplaceAll(c.name, " ", "-") + "/"})
		})
	}
	t.Run("watch survives compaction", func(t *testing.T) {
		s := space{store, "conformance/compaction/"}
		watchSurvives(t, s, func() { compact(t) })
	})
}

// A space is a store and a place in it.
type space struct {
	cluster.Store
	prefix string
}

func (s space) put(t *testing.T, key, value string, previous int64) int64 {
	t.Helper()
	revision, err := s.Put(t.Context(), s.prefix+key, []byte(value), previous)
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return revision
}

func getOfNothing(t *testing.T, s space) {
	if _, err := s.Get(t.Context(), s.prefix+"a"); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("get of nothing: %v", err)
	}
}

func compareAndSwap(t *testing.T, s space) {
	ctx, key := t.Context(), s.prefix+"a"
	first := s.put(t, "a", "1", cluster.Absent)
	if _, err := s.Put(ctx, key, []byte("2"), cluster.Absent); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("put of one that exists as absent: %v", err)
	}
	second := s.put(t, "a", "2", first)
	if second <= first {
		t.Errorf("revision %d after %d", second, first)
	}
	if _, err := s.Put(ctx, key, []byte("3"), first); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("put at an old revision: %v", err)
	}
	third := s.put(t, "a", "3", cluster.Whatever)
	kv, err := s.Get(ctx, key)
	if err != nil || string(kv.Value) != "3" || kv.Revision != third || kv.Key != key {
		t.Errorf("get = %+v, %v; want 3 at %d", kv, err, third)
	}
	if _, err := s.Put(ctx, s.prefix+"b", []byte("1"), third); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("put of one that does not exist at a revision: %v", err)
	}
}

func deletes(t *testing.T, s space) {
	ctx, key := t.Context(), s.prefix+"a"
	revision := s.put(t, "a", "1", cluster.Absent)
	if err := s.Delete(ctx, key, revision+1); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("delete at another revision: %v", err)
	}
	if err := s.Delete(ctx, key, revision); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(ctx, key); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("get after delete: %v", err)
	}
	if err := s.Delete(ctx, key, cluster.Whatever); err != nil {
		t.Errorf("delete of what is gone: %v", err)
	}
	if err := s.Delete(ctx, key, revision); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("delete of what is gone, at a revision: %v", err)
	}
	s.put(t, "a", "again", cluster.Absent)
}

func lists(t *testing.T, s space) {
	var last int64
	for _, key := range []string{"b", "a", "c/d", "c"} {
		last = s.put(t, key, "="+key, cluster.Absent)
	}
	all, revision, err := s.List(t.Context(), s.prefix)
	if err != nil || revision < last {
		t.Fatalf("list at %d, last write at %d: %v", revision, last, err)
	}
	var got []string
	for _, kv := range all {
		got = append(got, strings.TrimPrefix(kv.Key, s.prefix)+string(kv.Value))
	}
	if want := []string{"a=a", "b=b", "c=c", "c/d=c/d"}; !slices.Equal(got, want) {
		t.Errorf("list = %q, want %q", got, want)
	}
	if all, _, err := s.List(t.Context(), s.prefix+"x"); err != nil || len(all) != 0 {
		t.Errorf("list of nothing = %v, %v", all, err)
	}
}

func oneWinner(t *testing.T, s space) {
	const racers, rounds = 4, 10
	var mu sync.Mutex
	won := map[int64]int{}
	var all sync.WaitGroup
	for r := range racers {
		all.Go(func() {
			for done := 0; done < rounds; {
				kv, err := s.Get(t.Context(), s.prefix+"a")
				if err != nil && !errors.Is(err, cluster.ErrNotFound) {
					t.Error(err)
					return
				}
				revision, err := s.Put(t.Context(), s.prefix+"a", fmt.Appendf(nil, "%d/%d", r, done), kv.Revision)
				if errors.Is(err, cluster.ErrConflict) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				won[revision]++
				mu.Unlock()
				done++
			}
		})
	}
	all.Wait()
	if len(won) != racers*rounds {
		t.Errorf("%d swaps were told to have succeeded, at %d revisions", racers*rounds, len(won))
	}
}

func endedContext(t *testing.T, s space) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Get(ctx, s.prefix+"a")
	if !errors.Is(err, cluster.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	if _, err := s.Put(ctx, s.prefix+"a", nil, cluster.Whatever); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("put: %v", err)
	}
}

func next(t *testing.T, updates <-chan cluster.Update) cluster.Update {
	t.Helper()
	select {
	case u, ok := <-updates:
		if !ok {
			t.Fatal("the watch ended")
		}
		return u
	case <-time.After(patience):
		t.Fatal("nothing came from the watch")
	}
	panic("unreachable")
}

func watchBegins(t *testing.T, s space) {
	s.put(t, "b", "1", cluster.Absent)
	last := s.put(t, "a", "2", cluster.Absent)
	u := next(t, s.Watch(t.Context(), s.prefix))
	if !u.Reset || u.Revision < last || len(u.Changes) != 2 || u.Changes[0].Key != s.prefix+"a" || string(u.Changes[0].Value) != "2" {
		t.Errorf("first update = %+v", u)
	}
	if u := next(t, s.Watch(t.Context(), s.prefix+"x")); !u.Reset || len(u.Changes) != 0 {
		t.Errorf("first update of nothing = %+v", u)
	}
}

func watchOrder(t *testing.T, s space) {
	updates := s.Watch(t.Context(), s.prefix)
	next(t, updates)
	var want []string
	for i := range 50 {
		key := fmt.Sprint(i % 3)
		revision := s.put(t, key, fmt.Sprint(i), cluster.Whatever)
		want = append(want, fmt.Sprintf("%s=%d@%d", key, i, revision))
	}
	s.put(t, "../elsewhere", "x", cluster.Whatever)
	if err := s.Delete(t.Context(), s.prefix+"0", cluster.Whatever); err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		u := next(t, updates)
		if u.Reset {
			t.Fatal("reset without a reason")
		}
		for _, c := range u.Changes {
			if c.Deleted {
				if c.Key != s.prefix+"0" || len(c.Value) != 0 {
					t.Errorf("deletion = %+v", c)
				}
				if len(got) != len(want) {
					t.Errorf("deleted after %d changes, want %d", len(got), len(want))
				}
				if !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
				return
			}
			if strings.HasPrefix(c.Key, s.prefix+"..") {
				continue
			}
			text := fmt.Sprintf("%s=%s@", strings.TrimPrefix(c.Key, s.prefix), c.Value)
			if n := len(got); n > 0 && strings.HasPrefix(got[n-1], text) { // sent again as the answer was late; of a put without a condition both are made
				got = got[:n-1]
			}
			got = append(got, fmt.Sprint(text, c.Revision))
		}
	}
}

func watchEnds(t *testing.T, s space) {
	ctx, cancel := context.WithCancel(t.Context())
	updates := s.Watch(ctx, s.prefix)
	next(t, updates)
	cancel()
	for {
		select {
		case _, ok := <-updates:
			if !ok {
				return
			}
		case <-time.After(patience):
			t.Fatal("the watch did not end")
		}
	}
}

// slowReader checks that the end state is right however much a reader missed, and that little was kept for it.
func slowReader(t *testing.T, s space) {
	updates := s.Watch(t.Context(), s.prefix)
	state := map[string]string{}
	apply(state, next(t, updates))
	const writes = 1500
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := w; i < writes; i += 8 {
				if _, err := s.Put(t.Context(), fmt.Sprint(s.prefix, i%7), fmt.Append(nil, i), cluster.Whatever); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	s.put(t, "end", "end", cluster.Absent)
	for state[s.prefix+"end"] == "" {
		apply(state, next(t, updates))
	}
	same(t, s, state)
}

func apply(state map[string]string, u cluster.Update) {
	if u.Reset {
		clear(state)
	}
	for _, c := range u.Changes {
		if c.Deleted {
			delete(state, c.Key)
		} else {
			state[c.Key] = string(c.Value)
		}
	}
}

func same(t *testing.T, s space, state map[string]string) {
	t.Helper()
	all, _, err := s.List(t.Context(), s.prefix)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(state) {
		t.Errorf("the watcher knows %d keys, the store %d", len(state), len(all))
	}
	for _, kv := range all {
		if state[kv.Key] != string(kv.Value) {
			t.Errorf("%s is %q, the watcher knows %q", kv.Key, kv.Value, state[kv.Key])
		}
	}
}

func watchSurvives(t *testing.T, s space, compact func()) {
	updates := s.Watch(t.Context(), s.prefix)
	state := map[string]string{}
	apply(state, next(t, updates))
	for i := range 100 {
		s.put(t, fmt.Sprint(i%5), fmt.Sprint(i), cluster.Whatever)
		if i%25 == 24 {
			compact()
		}
	}
	if err := s.Delete(t.Context(), s.prefix+"0", cluster.Whatever); err != nil {
		t.Fatal(err)
	}
	compact()
	s.put(t, "end", "end", cluster.Absent)
	for state[s.prefix+"end"] == "" {
		apply(state, next(t, updates))
	}
	same(t, s, state)
}

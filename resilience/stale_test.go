package resilience

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestStaleAges(t *testing.T) {
	o := StaleOptions{Fresh: 10 * time.Second, WhileRevalidate: 5 * time.Second, IfError: 20 * time.Second}
	tests := []struct {
		name    string
		age     time.Duration
		fail    error
		want    int // 1 is the kept answer, 2 a new one
		how     Freshness
		fetches int64
		err     error
	}{
		{"fresh", 10 * time.Second, nil, 1, Fresh, 1, nil},
		{"fresh needs nobody", 10 * time.Second, errDown, 1, Fresh, 1, nil},
		{"a little stale", 11 * time.Second, nil, 1, Revalidating, 2, nil},
		{"a little stale and no new one to be had", 15 * time.Second, errDown, 1, Revalidating, 2, nil},
		{"stale", 16 * time.Second, nil, 2, Fetched, 2, nil},
		{"stale and no new one to be had", 30 * time.Second, errDown, 1, StaleOnError, 2, nil},
		{"too stale", 31 * time.Second, errDown, 0, Fetched, 2, errDown},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			s := NewStale[string, int](o)
			var fetches atomic.Int64
			var fail error
			fetch := func(context.Context) (int, error) {
				if n := fetches.Add(1); fail == nil {
					return int(n), nil
				}
				return 0, fail
			}
			if v, how, err := s.Get(background, "key", fetch); v != 1 || how != Fetched || err != nil {
				t.Fatal(v, how, err)
			}
			time.Sleep(tt.age)
			fail = tt.fail
			v, how, err := s.Get(background, "key", fetch)
			synctest.Wait()
			if v != tt.want || how != tt.how || !errors.Is(err, tt.err) || fetches.Load() != tt.fetches {
				t.Errorf("%d, %d, %v after %d fetches; want %d, %d, %v after %d", v, how, err, fetches.Load(), tt.want, tt.how, tt.err, tt.fetches)
			}
			if tt.how == Revalidating && tt.fail == nil {
				if v, how, _ := s.Get(background, "key", fetch); v != 2 || how != Fresh {
					t.Errorf("then %d, %d", v, how)
				}
			}
		})
	}
}

func TestStaleFetchesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStale[int, int](StaleOptions{Fresh: time.Minute})
		var fetches, good atomic.Int64
		fetch := func(ctx context.Context) (int, error) { fetches.Add(1); return 7, sleep(ctx, time.Second) }
		for i := range 100 {
			go func() {
				if v, _, err := s.Get(background, i%2, fetch); v == 7 && err == nil {
					good.Add(1)
				}
			}()
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if fetches.Load() != 2 || good.Load() != 100 {
			t.Errorf("%d fetches, %d good", fetches.Load(), good.Load())
		}
	})
}

func TestStaleWhenTheFetchingCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStale[int, int](StaleOptions{Fresh: time.Minute})
		var fetches atomic.Int64
		fetch := func(ctx context.Context) (int, error) { fetches.Add(1); return 7, sleep(ctx, time.Second) }
		ctx, leave := context.WithCancel(background)
		var first, left, second error
		go func() { _, _, first = s.Get(ctx, 0, fetch) }()
		synctest.Wait()
		impatient, cancel := context.WithTimeout(background, 100*time.Millisecond)
		defer cancel()
		go func() { _, _, left = s.Get(impatient, 0, fetch) }()
		go func() { _, _, second = s.Get(background, 0, fetch) }()
		time.Sleep(500 * time.Millisecond)
		leave()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !errors.Is(first, context.Canceled) || !errors.Is(left, context.DeadlineExceeded) || second != nil || fetches.Load() != 2 {
			t.Errorf("%v, %v, %v after %d fetches", first, left, second, fetches.Load())
		}
	})
}

func TestStalePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStale[int, int](StaleOptions{Fresh: time.Second, WhileRevalidate: time.Second})
		boom := func(context.Context) (int, error) { time.Sleep(time.Second); panic("oh") }
		var waiting error
		go func() {
			defer func() { _ = recover() }()
			_, _, _ = s.Get(background, 0, boom)
		}()
		synctest.Wait()
		go func() { _, _, waiting = s.Get(background, 0, boom) }()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if waiting == nil || s.Len() != 0 {
			t.Errorf("who waited got %v, %d left", waiting, s.Len())
		}
		_, _, _ = s.Get(background, 0, answer(1, nil))
		time.Sleep(1500 * time.Millisecond)
		if v, how, err := s.Get(background, 0, boom); v != 1 || how != Revalidating || err != nil {
			t.Error(v, how, err)
		}
		time.Sleep(2 * time.Second) // the panic in the background does no harm
	})
}

func TestStaleIsBounded(t *testing.T) {
	s := NewStale[int, int](StaleOptions{Entries: 3, Fresh: time.Hour})
	var fetched []string
	for _, key := range []int{1, 2, 3, 1, 4, 1, 2, 3, 4} {
		if _, how, _ := s.Get(background, key, answer(key, nil)); how == Fetched {
			fetched = append(fetched, fmt.Sprint(key))
		}
	}
	if got := strings.Join(fetched, " "); got != "1 2 3 4 2 3 4" || s.Len() != 3 {
		t.Errorf("fetched %s, %d kept", got, s.Len())
	}
	s.Forget(4)
	s.Forget(99)
	if _, how, _ := s.Get(background, 4, answer(4, nil)); how != Fetched || s.Len() != 3 {
		t.Errorf("gave a forgotten answer, %d kept", s.Len())
	}
}

func TestStaleConcurrent(t *testing.T) {
	s := NewStale[int, int](StaleOptions{Entries: 5, Fresh: time.Microsecond, WhileRevalidate: 10 * time.Microsecond, IfError: time.Second})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				key := (i * (g + 1)) % 9
				v, _, err := s.Get(background, key, func(context.Context) (int, error) {
					if i%7 == 0 {
						return 0, errDown
					}
					return key, nil
				})
				if (err == nil && v != key) || (err != nil && !errors.Is(err, errDown)) {
					t.Errorf("%d for %d, %v", v, key, err)
				}
				if i%50 == 0 {
					s.Forget(key)
				}
			}
		})
	}
	wg.Wait()
	if s.Len() > 5 {
		t.Errorf("%d kept", s.Len())
	}
}

func BenchmarkStale(b *testing.B) {
	s := NewStale[string, int](StaleOptions{Fresh: time.Hour})
	fetch := answer(1, nil)
	parallel(b, func() { _, _, _ = s.Get(background, "key", fetch) })
}

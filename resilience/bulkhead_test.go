package resilience

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// held enters for each key in turn and tells who got in.
func held(b *Bulkhead, keys ...string) (passes []Pass, got string) {
	for _, key := range keys {
		pass, err := b.Enter(WithKey(background, key))
		if err == nil {
			passes = append(passes, pass)
		}
		got += fmt.Sprint(b2i(err == nil))
	}
	return passes, got
}

func TestBulkheadKeepsKeysApart(t *testing.T) {
	tests := []struct {
		name    string
		options BulkheadOptions
		keys    []string
		want    string
	}{
		{"a full compartment is its own affair", BulkheadOptions{LimitOptions: LimitOptions{Concurrency: 1}}, []string{"a", "a", "b", "a", "b"}, "10100"},
		{"who has no key has the empty one", BulkheadOptions{LimitOptions: LimitOptions{Concurrency: 1}}, []string{"", "a", ""}, "110"},
		{"more keys than compartments share one", BulkheadOptions{LimitOptions: LimitOptions{Concurrency: 2}, Compartments: 2}, []string{"a", "b", "c", "d", "e", "a", "b"}, "1111011"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := NewBulkhead(tt.options)
			passes, got := held(b, tt.keys...)
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			s := b.Snapshot()
			if s.InUse != len(passes) || s.Refused != uint64(len(tt.keys)-len(passes)) {
				t.Errorf("%+v", s)
			}
			for _, p := range passes {
				p.Leave(nil)
			}
			if s := b.Snapshot(); s.InUse != 0 || s.Waiting != 0 {
				t.Errorf("left as %+v", s)
			}
		})
	}
}

func TestBulkheadForgetsTheIdle(t *testing.T) {
	b := NewBulkhead(BulkheadOptions{LimitOptions: LimitOptions{Concurrency: 1}, Compartments: 3})
	stays, _ := held(b, "stays", "stays") // one refusal
	for i := range 1000 {
		passes, got := held(b, fmt.Sprint("key ", i))
		if got != "1" {
			t.Fatalf("key %d was refused: %+v", i, b.Snapshot())
		}
		passes[0].Leave(nil)
	}
	known := ""
	for key, s := range b.All() {
		if s.InUse == 1 {
			known += key
		}
	}
	if s := b.Snapshot(); s.Compartments != 3 || s.InUse != 1 || s.Refused != 1 || known != "stays" {
		t.Errorf("knows %q, %+v", known, s)
	}
	stays[0].Leave(nil)
	held(b, "x", "y", "z", "x")
	if s := b.Snapshot(); s.Refused != 2 {
		t.Errorf("forgot refusals: %+v", s)
	}
	for range b.All() {
		break
	}
}

func TestBulkheadQueuesByKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBulkhead(BulkheadOptions{LimitOptions: LimitOptions{Concurrency: 1, Queue: 5, Wait: time.Second}, Key: func(context.Context) string { return "one" }})
		first, err := b.Enter(background)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := b.Enter(background); !errors.Is(err, ErrQueueTimeout) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		var second Pass
		go func() { second, _ = b.Enter(background) }()
		synctest.Wait()
		first.Leave(nil)
		synctest.Wait()
		b.Update(LimitOptions{Concurrency: 2})
		third, err := b.EnterKey(background, "one")
		if err != nil {
			t.Errorf("%v although there is room now", err)
		}
		second.Leave(nil)
		third.Leave(nil)
		if s := b.Snapshot(); s.InUse != 0 || s.TimedOut != 1 {
			t.Errorf("left as %+v", s)
		}
	})
}

// TestBulkheadConcurrent has many come for more keys than there is room for: never over a key's bound, all is given back.
func TestBulkheadConcurrent(t *testing.T) {
	for _, compartments := range []int{3, 300} {
		b := NewBulkhead(BulkheadOptions{LimitOptions: LimitOptions{Concurrency: 2, Queue: 3}, Compartments: compartments})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 2000 {
					if pass, err := b.EnterKey(background, fmt.Sprint(rand.IntN(compartments*3/2))); err == nil {
						pass.Leave(nil)
					}
				}
			})
		}
		wg.Wait()
		s := b.Snapshot()
		if s.InUse != 0 || s.Waiting != 0 || s.Compartments > compartments {
			t.Errorf("%d compartments, left as %+v", compartments, s)
		}
		idle := 0
		for i := range b.shards {
			for c := b.shards[i].idle.next; c != &b.shards[i].idle; c = c.next {
				idle++
			}
		}
		if idle != s.Compartments {
			t.Errorf("%d of %d are idle", idle, s.Compartments)
		}
	}
}

func BenchmarkBulkhead(b *testing.B) {
	bulkhead := NewBulkhead(BulkheadOptions{LimitOptions: LimitOptions{Concurrency: 1000}})
	parallel(b, func() {
		if p, err := bulkhead.EnterKey(background, "tenant"); err == nil {
			p.Leave(nil)
		}
	})
}

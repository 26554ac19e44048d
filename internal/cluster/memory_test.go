package cluster_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/cluster"
)

func TestMemoryIsAStore(t *testing.T) {
	m := cluster.NewMemory()
	conformance(t, m.Client("a"), func(*testing.T) { m.Compact() })
}

func TestMemoryCutClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := cluster.NewMemory()
		a, b := m.Client("a"), m.Client("b")
		updates := b.Watch(t.Context(), "")
		next(t, updates)
		m.Cut("b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Put(ctx, "k", []byte("b"), cluster.Absent); !errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("put through a cut link: %v", err)
		}
		if _, err := a.Put(t.Context(), "k", []byte("a"), cluster.Absent); err != nil {
			t.Errorf("the other client: %v", err)
		}
		synctest.Wait()
		select {
		case u := <-updates:
			t.Errorf("came through a cut link: %+v", u)
		default:
		}
		m.Heal("b")
		if u := next(t, updates); u.Reset || len(u.Changes) != 1 || string(u.Changes[0].Value) != "a" {
			t.Errorf("after healing = %+v", u)
		}
		if kv, err := b.Get(t.Context(), "k"); err != nil || string(kv.Value) != "a" {
			t.Errorf("what was sent through the cut link arrived: %s, %v", kv.Value, err)
		}
	})
}

func TestMemoryPausedClientsRequestArrivesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := cluster.NewMemory()
		m.Pause("b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := m.Client("b").Put(ctx, "k", []byte("b"), cluster.Absent); !errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("put through a paused link: %v", err)
		}
		if _, err := m.Get(t.Context(), "k"); !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("arrived before healing: %v", err)
		}
		m.Heal("b")
		if kv, err := m.Get(t.Context(), "k"); err != nil || string(kv.Value) != "b" {
			t.Errorf("did not arrive: %v", err)
		}
	})
}

func TestMemoryDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := cluster.NewMemory()
		a := m.Client("a")
		a.Delay(func() (time.Duration, time.Duration) { return time.Second, 2 * time.Second })
		start := time.Now()
		go func() {
			time.Sleep(1500 * time.Millisecond)
			if _, err := m.Get(t.Context(), "k"); err != nil {
				t.Errorf("not written after the way there: %v", err)
			}
		}()
		if _, err := a.Put(t.Context(), "k", nil, cluster.Absent); err != nil || time.Since(start) != 3*time.Second {
			t.Errorf("put took %v, %v", time.Since(start), err)
		}
	})
}

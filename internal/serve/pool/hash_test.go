package pool

import (
	"fmt"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/health"
)

// keys says where each of n keys goes, one request at a time.
func (k *kit) keys(n int) []string {
	to := make([]string, n)
	for i := range to {
		m := k.pick(Query{Hash: uint64(i), HasHash: true})
		m.Done(Outcome{Took: time.Millisecond})
		to[i] = m.Name()
	}
	return to
}

func TestHashIsStableAndEven(t *testing.T) {
	k := newKit(t, "a b c d*2", policyOf("hash"))
	to := k.keys(20000)
	shares := map[string]float64{}
	for _, name := range to {
		shares[name] += 1.0 / float64(len(to))
	}
	k.near(shares, 0.04, map[string]float64{"a": 0.2, "b": 0.2, "c": 0.2, "d": 0.4})
	for i, name := range newKit(t, "d*2 c b a", policyOf("hash")).keys(2000) { // another node, another order
		if to[i] != name {
			t.Fatalf("key %d goes to %s and %s", i, to[i], name)
		}
	}
}

func TestHashMovesOnlyWhatItMust(t *testing.T) {
	k := newKit(t, "a b c d", func(c *config.Service) {
		c.Balance.Policy, c.Balance.SlowStart = "hash", 0
		checked(c)
	})
	before := k.keys(5000)
	moved := func(after []string, from, to string) (n int) {
		t.Helper()
		for i := range before {
			if before[i] != after[i] {
				n++
				if before[i] != from && after[i] != to {
					t.Fatalf("key %d moved from %s to %s", i, before[i], after[i])
				}
			}
		}
		return n
	}
	for _, m := range k.eps {
		k.health(m.Name, health.Up)
	}
	k.health("b", health.Down)
	if n := moved(k.keys(5000), "b", ""); n < 900 || n > 1600 {
		t.Errorf("%d of 5000 keys moved when one of four went", n)
	}
	k.health("b", health.Up)
	if n := moved(k.keys(5000), "", ""); n != 0 {
		t.Errorf("%d keys are not back", n)
	}
	k.Set(k.cfg, members("a b c d e"))
	k.health("e", health.Up)
	if n := moved(k.keys(5000), "", "e"); n < 600 || n > 1400 {
		t.Errorf("%d of 5000 keys moved when a fifth came", n)
	}
}

func TestHashBoundsLoad(t *testing.T) {
	k := newKit(t, "a b c d", func(c *config.Service) {
		c.Balance.Policy = "hash"
		c.Balance.Hash = &config.Hash{Path: true, Bound: 1.25}
	})
	at := map[string]int{}
	for i := range 1000 { // one hot key
		m := k.pick(Query{Hash: 42, HasHash: true})
		at[m.Name()]++
		if most := int(1.25*float64(i+1)/4) + 1; at[m.Name()] > most {
			t.Fatalf("%s has %d of %d, bound %d", m.Name(), at[m.Name()], i+1, most)
		}
	}
	if len(at) != 4 {
		t.Errorf("spread over %v", at)
	}
}

func TestRingDisruption(t *testing.T) {
	for _, n := range []int{2, 3, 10, 50} {
		words := ""
		for i := range n {
			words += fmt.Sprintf("m%d ", i)
		}
		k := newKit(t, words, policyOf("hash"))
		before := k.keys(4000)
		k.Set(k.cfg, k.eps[1:])
		changed := 0
		for i, name := range k.keys(4000) {
			if name != before[i] {
				changed++
			}
		}
		if bound := 1.5*4000/float64(n) + 40; float64(changed) > bound {
			t.Errorf("%d members: %d keys moved, at most %.0f should", n, changed, bound)
		}
	}
}

func TestHashWithoutKeySpreads(t *testing.T) {
	k := newKit(t, "a b", policyOf("hash"))
	k.near(k.spread(1000), 0.1, map[string]float64{"a": 0.5, "b": 0.5})
}

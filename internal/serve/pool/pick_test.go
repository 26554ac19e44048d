package pool

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

func policyOf(name string) func(*config.Service) {
	return func(c *config.Service) { c.Balance.Policy = name }
}

func TestSharesFollowWeights(t *testing.T) {
	third := 1.0 / 3
	even := map[string]float64{"a": third, "b": third, "c": third}
	weighted := map[string]float64{"a": 0.1, "b": 0.3, "c": 0.6}
	for _, policy := range []string{"p2c", "round_robin", "least_requests", "hash"} {
		synctest.Test(t, func(t *testing.T) {
			newKit(t, "a b c", policyOf(policy)).near(newKit(t, "a b c", policyOf(policy)).spreadBusy(6000), 0.02, even)
			k := newKit(t, "a b*3 c*6 none*0", policyOf(policy))
			k.succeed("a", 1, time.Millisecond)
			k.succeed("b", 1, time.Millisecond)
			k.succeed("c", 1, time.Millisecond)
			within := 0.02
			k.near(k.spreadBusy(6000), within, weighted)
			if policy != "p2c" && policy != "hash" { // one at a time, latency decides in p2c
				k.near(k.spread(6000), 0.1, weighted)
			}
			k.near(k.spread(2000), 0.35, even) // nobody starves, not even one request at a time
			for name, share := range k.spread(2000) {
				if share < 0.03 {
					t.Errorf("%s: one at a time, %s gets %.3f", policy, name, share)
				}
			}
		})
	}
}

func TestRoundRobinIsSmooth(t *testing.T) {
	k := newKit(t, "a b c", policyOf("round_robin"))
	last := map[string]int{}
	for i := range 300 {
		name := k.get(time.Millisecond)
		if before, ok := last[name]; ok && i-before != 3 {
			t.Fatalf("%s comes after %d turns", name, i-before)
		}
		last[name] = i
	}
	k = newKit(t, "heavy*5 light*1", policyOf("round_robin"))
	runs, run := 0, 0
	for range 600 {
		if k.get(time.Millisecond) == "heavy" {
			run++
			continue
		}
		if run < 4 || run > 6 {
			runs++
		}
		run = 0
	}
	if runs > 2 { // the first and, by rounding, another
		t.Errorf("%d of 100 runs are uneven", runs)
	}
}

func TestFasterMemberGetsMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "fast slow", nil)
		var mu sync.Mutex
		done := map[string]int{}
		latency := map[string]time.Duration{"fast": 2 * time.Millisecond, "slow": 20 * time.Millisecond}
		for range 16 { // clients that each wait for their answer
			go func() {
				for range 200 {
					m := k.pick(Query{})
					time.Sleep(latency[m.Name()])
					m.Done(Outcome{Took: latency[m.Name()]})
					mu.Lock()
					done[m.Name()]++
					mu.Unlock()
					time.Sleep(time.Microsecond)
				}
			}()
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if done["fast"]+done["slow"] != 3200 || done["fast"] < 5*done["slow"] {
			t.Errorf("done %v", done)
		}
		if done["slow"] == 0 {
			t.Error("the slow one is not used at all")
		}
	})
}

func TestP2CWithManyMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b c d e f g h i j slow", nil)
		for _, m := range k.eps {
			k.succeed(m.Name, 1, time.Millisecond)
		}
		k.succeed("slow", 1, time.Second)
		shares := k.spreadBusy(5000)
		if shares["slow"] > 0.02 {
			t.Errorf("the slow one gets %v", shares["slow"])
		}
		delete(shares, "slow")
		for name, share := range shares {
			if share < 0.07 || share > 0.13 {
				t.Errorf("%s gets %v", name, share)
			}
		}
	})
}

// A member that hangs keeps its requests and says nothing. It must lose its traffic in the time of a few answers.
func TestHungMemberLosesItsTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b hung", nil)
		for _, name := range []string{"a", "b", "hung"} {
			k.succeed(name, 10, 5*time.Millisecond)
		}
		var hung, other atomic.Int64
		for range 64 {
			go func() {
				for range 200 {
					m := k.pick(Query{})
					if m.Name() == "hung" {
						hung.Add(1)
						time.Sleep(15 * time.Second)
						m.Done(Outcome{Result: Failed, Took: 15 * time.Second})
						return
					}
					time.Sleep(5 * time.Millisecond)
					m.Done(Outcome{Took: 5 * time.Millisecond})
					other.Add(1)
				}
			}()
			synctest.Wait()
		}
		time.Sleep(10 * time.Second) // before any timeout
		if hung.Load() > 40 || other.Load() < 4000 {
			t.Errorf("%d requests hang, %d were answered", hung.Load(), other.Load())
		}
		more := 0
		for range 1000 {
			m := k.pick(Query{})
			if m.Name() == "hung" {
				more++
			}
			m.Done(Outcome{Took: 5 * time.Millisecond})
		}
		if more != 0 {
			t.Errorf("%d more requests after ten silent seconds", more)
		}
		time.Sleep(time.Minute)
	})
}

// One that fails fast would look like the fastest.
func TestFastFailuresDrawNoTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b broken", func(c *config.Service) { c.Outlier.Off, c.Breaker.Off = true, true })
		failed := 0
		for range 2000 {
			m := k.pick(Query{})
			o := Outcome{Took: 3 * time.Millisecond}
			if m.Name() == "broken" {
				o = Outcome{Result: Failed, Took: 50 * time.Microsecond}
				failed++
			}
			m.Done(o)
			time.Sleep(time.Millisecond)
		}
		if failed > 20 {
			t.Errorf("%d of 2000 requests went to the broken one", failed)
		}
	})
}

func TestTriedComeLast(t *testing.T) {
	for _, policy := range []string{"p2c", "round_robin", "least_requests", "hash"} {
		k := newKit(t, "a b c spare!1", policyOf(policy))
		var tried []*Member
		seen := map[string]bool{}
		for i := range 4 {
			m := k.pick(Query{Tried: tried, Hash: 7, HasHash: true})
			if seen[m.Name()] {
				t.Errorf("%s: try %d goes to %s again", policy, i+1, m.Name())
			}
			if (i == 3) != (m.Name() == "spare") {
				t.Errorf("%s: try %d goes to %s", policy, i+1, m.Name())
			}
			seen[m.Name()] = true
			tried = append(tried, m)
			m.Done(Outcome{Result: Failed, Took: time.Millisecond})
		}
		k.pick(Query{Tried: tried}).Done(Outcome{}) // all were: one of them again
	}
}

func TestMemberLimit(t *testing.T) {
	for _, policy := range []string{"p2c", "round_robin", "least_requests", "hash"} {
		k := newKit(t, "a b spare!1", func(c *config.Service) {
			c.Balance.Policy = policy
			c.Limit = &config.Limit{Concurrency: 100, Member: 2}
		})
		got := map[string]int{}
		var out []*Member
		for range 6 {
			m := k.pick(Query{Hash: 1, HasHash: true})
			got[m.Name()]++
			out = append(out, m)
		}
		if got["a"] != 2 || got["b"] != 2 || got["spare"] != 2 {
			t.Errorf("%s: at work %v", policy, got)
		}
		if _, err := k.Pick(&Query{}); !errors.Is(err, ErrBusy) {
			t.Errorf("%s: got %v", policy, err)
		}
		out[0].Done(Outcome{})
		if m := k.pick(Query{}); m.Name() != out[0].Name() {
			t.Errorf("%s: place on %s, got %s", policy, out[0].Name(), m.Name())
		}
	}
}

func TestNobody(t *testing.T) {
	k := newKit(t, "", nil)
	if _, err := k.Pick(&Query{}); !errors.Is(err, ErrNoMember) {
		t.Errorf("got %v", err)
	}
	k = newKit(t, "a*0", nil)
	if _, err := k.Pick(&Query{}); !errors.Is(err, ErrNoMember) {
		t.Errorf("got %v", err)
	}
	k.told("service.down")
}

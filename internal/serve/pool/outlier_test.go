package pool

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/health"
	"github.com/backstay/backstay/internal/observe/telemetry"
)

func noBreaker(c *config.Service) { c.Breaker.Off = true }

func TestFailuresInARowEject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b", noBreaker)
		k.fail("a", 4, telemetry.ClassConnect)
		k.succeed("a", 1, time.Millisecond)
		k.fail("a", 4, telemetry.ClassConnect)
		k.told()
		k.fail("a", 1, telemetry.ClassConnect)
		k.told("member.ejected a")
		st := k.state("a")
		if st.State != "ejected" || !strings.HasPrefix(st.Evidence, "5 failures in a row, the last: connect, for another ") {
			t.Errorf("a: %+v", st)
		}
		k.near(k.spread(100), 0, map[string]float64{"b": 1})
		k.fail("b", 50, telemetry.ClassConnect) // the last one stays
		k.told()
		k.near(k.spread(100), 0, map[string]float64{"b": 1})
		time.Sleep(time.Duration(k.ejection("a").lasted) + 10*time.Millisecond)
		synctest.Wait()
		k.told("member.restored a")
		if st := k.state("a"); st.State != "up" || st.Share > 0.1 || st.Share == 0 {
			t.Errorf("does not begin slowly: %+v", st)
		}
	})
}

func TestEjectionGrowsAndIsForgiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b", noBreaker)
		for i, want := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
			k.fail("a", 5, telemetry.ClassReset)
			e := k.ejection("a")
			got := time.Duration(e.until - e.since)
			if want *= time.Second; got < want*9/10 || got > want*11/10 {
				t.Fatalf("ejection %d lasts %v, want about %v", i+1, got, want)
			}
			time.Sleep(got + time.Second)
		}
		time.Sleep(2 * time.Hour)
		k.fail("a", 5, telemetry.ClassReset)
		if e := k.ejection("a"); e.times != 1 {
			t.Errorf("after two good hours it counts as ejection %d", e.times)
		}
	})
}

func TestGoodProbeEndsEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b", noBreaker)
		k.fail("a", 5, telemetry.ClassConnect)
		k.GoodProbe("a") // it may have begun before
		k.told("member.ejected a")
		k.GoodProbe("a")
		k.told("member.restored a")
		time.Sleep(time.Second)
		k.fail("a", 5, telemetry.ClassConnect) // the probes were wrong: not believed again
		for range 5 {
			k.GoodProbe("a")
		}
		k.told("member.ejected a")
		time.Sleep(5 * time.Minute) // forgiven
		k.kinds()
		k.fail("a", 5, telemetry.ClassConnect)
		k.GoodProbe("a")
		k.GoodProbe("a")
		k.told("member.ejected a", "member.restored a")
	})
}

func TestFailureRateAgainstSiblings(t *testing.T) {
	for _, c := range []struct {
		name               string
		own, ownOf         int // failures of own in so many
		sibling, siblingOf int
		ejected            bool
	}{
		{"half against none", 12, 20, 0, 40, true},
		{"below the threshold", 8, 20, 0, 40, false},
		{"too few to tell", 15, 19, 0, 40, false},
		{"siblings too few to tell", 15, 20, 0, 18, false},
		{"all fail alike", 60, 100, 50, 100, false},
		{"siblings at half of it", 60, 100, 35, 100, false},
		{"clearly worse", 60, 100, 20, 100, true},
		{"few, but no chance", 10, 20, 0, 20, true},
		{"may be chance", 10, 20, 5, 20, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			k := newKit(t, "a b", func(cfg *config.Service) { noBreaker(cfg); cfg.Outlier.Consecutive = 1000 })
			mix := func(member string, failures, of int) {
				for i := range of {
					if i*failures/of != (i+1)*failures/of {
						k.fail(member, 1, telemetry.ClassStatus)
					} else {
						k.succeed(member, 1, time.Millisecond)
					}
					time.Sleep(time.Millisecond)
				}
			}
			mix("b", c.sibling, c.siblingOf)
			mix("a", c.own, c.ownOf)
			time.Sleep(time.Second)
			k.succeed("b", 1, time.Millisecond) // a look is taken in the course of a try
			if got := k.state("a"); (got.State == "ejected") != c.ejected {
				t.Errorf("%s: %+v", c.name, got)
			}
			for range 3 { // a good probe says nothing against it
				k.GoodProbe("a")
			}
			if c.ejected {
				k.told("member.ejected a")
				if st := k.state("a"); !strings.Contains(st.Evidence, "requests failed within 10s, siblings ") {
					t.Errorf("evidence %q", st.Evidence)
				}
			}
		})
	}
}

// traffic runs requests of each member at the given latencies for a while.
func (k *kit) traffic(d time.Duration, latency map[string]time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		for _, m := range k.eps {
			if k.ejection(m.Name).until == 0 {
				k.succeed(m.Name, 1, latency[m.Name])
			}
		}
	}
}

func TestLatencyAgainstHistoryAndSiblings(t *testing.T) {
	const normal, slow = 20 * time.Millisecond, 200 * time.Millisecond
	for _, c := range []struct {
		name          string
		before, after map[string]time.Duration
		ejected       bool
	}{
		{"slower than ever and than siblings", map[string]time.Duration{"a": normal, "b": normal}, map[string]time.Duration{"a": slow, "b": normal}, true},
		{"always was slower", map[string]time.Duration{"a": slow, "b": normal}, map[string]time.Duration{"a": slow, "b": normal}, false},
		{"all are slower", map[string]time.Duration{"a": normal, "b": normal}, map[string]time.Duration{"a": slow, "b": slow}, false},
		{"not slow", map[string]time.Duration{"a": normal / 100, "b": normal / 100}, map[string]time.Duration{"a": slow / 100, "b": normal / 100}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			k := newKit(t, "a b", noBreaker)
			k.traffic(time.Minute, c.before)
			k.told()
			k.traffic(15*time.Second, c.after)
			if got := k.state("a"); (got.State == "ejected") != c.ejected {
				t.Errorf("%s: %+v", c.name, got)
			} else if c.ejected && !strings.HasPrefix(got.Evidence, "answers take ") {
				t.Errorf("evidence %q", got.Evidence)
			}
			if k.state("b").State != "up" {
				t.Errorf("%s: b %+v", c.name, k.state("b"))
			}
		})
	}
}

// What fails everywhere is not a member's fault; what cannot be reached is.
func TestCommonCauseEjectsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b c", noBreaker)
		for range 20 {
			for _, name := range []string{"a", "b", "c"} {
				k.fail(name, 1, telemetry.ClassStatus)
				time.Sleep(10 * time.Millisecond)
			}
		}
		ejected := 0
		for _, m := range k.Status().Members {
			if m.State == "ejected" {
				ejected++
			}
		}
		if ejected > 0 {
			t.Errorf("%d ejected", ejected)
		}
	})
}

func TestLastEjectionIsLifted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b c", func(c *config.Service) { noBreaker(c); checked(c) })
		k.fail("a", 5, telemetry.ClassConnect)
		time.Sleep(time.Second)
		k.fail("b", 5, telemetry.ClassConnect)
		k.kinds()
		k.Drain("c", true)
		k.told("member.drained c", "member.restored a")
		k.near(k.spread(50), 0, map[string]float64{"a": 1})
		k.health("a", health.Down) // one of two up: checks are believed, b is the last
		k.told("member.down a", "member.restored b")
	})
}

// Results of requests from before a member came back say nothing about it now.
func TestOldResultsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b", func(c *config.Service) { noBreaker(c); checked(c) })
		var old []*Member
		for range 20 {
			old = append(old, k.on("a"))
		}
		time.Sleep(5 * time.Second)
		k.health("a", health.Down)
		time.Sleep(5 * time.Second)
		k.health("a", health.Up)
		k.succeed("a", 1, time.Millisecond)
		time.Sleep(5 * time.Second)
		for _, m := range old {
			m.Done(Outcome{Result: Failed, Took: 15 * time.Second, Reason: telemetry.ClassTimeout})
		}
		if st := k.state("a"); st.State != "up" || st.Latency > 0.002 {
			t.Errorf("a: %+v", st)
		}
	})
}

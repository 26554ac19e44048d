package pool

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/health"
	"github.com/backstay/backstay/internal/observe/telemetry"
)

// Whatever happens: nobody is picked who is not eligible while somebody is, at most N−1 are ejected, and nothing in flight is lost.
func TestInvariants(t *testing.T) {
	policies := []string{"p2c", "round_robin", "least_requests", "hash"}
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			k := newKitIn(t, "x", "a@x b@y c@x!1 d*3@y e*0 f@x", func(c *config.Service) {
				c.Balance.Policy = policies[seed%4]
				if r.IntN(2) == 0 {
					checked(c)
				}
				if r.IntN(2) == 0 {
					sticky(c)
				}
				c.Balance.Panic = config.Percent(r.IntN(101))
			})
			var out []*Member
			for range 400 {
				name := k.eps[r.IntN(len(k.eps))].Name
				switch r.IntN(12) {
				case 0:
					k.health(name, []health.State{health.Up, health.Up, health.Down, health.Starting}[r.IntN(4)])
				case 1:
					k.Drain(name, r.IntN(3) == 0) // it may have left
				case 2:
					time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
					synctest.Wait()
				case 3:
					k.GoodProbe(name)
				case 4:
					k.Set(k.cfg, k.eps[r.IntN(2):])
				default:
					k.invariants(t, r, &out)
				}
			}
			for _, m := range out {
				m.Done(Outcome{Result: Ignored})
			}
			k.Set(k.cfg, k.eps)
			if st := k.Status(); st.InFlight != 0 {
				t.Errorf("%d in flight at the end", st.InFlight)
			}
		})
	}
}

func (k *kit) invariants(t *testing.T, r *rand.Rand, out *[]*Member) {
	q := Query{Hash: r.Uint64(), HasHash: r.IntN(2) == 0}
	eligible, ejected, usable := map[*core]bool{}, 0, 0
	k.lock()
	set := k.view.Load().settings
	panics := k.view.Load().panics
	for _, c := range k.members {
		good := c.sound(set) || c.tierPanics
		if c.weight > 0 && !c.draining && good && c.closed() {
			usable++
			if c.ejection.until != 0 {
				ejected++
			}
		}
		if c.weight > 0 && !c.draining && good && c.ejection.until == 0 && (c.closed() || c.ready()) {
			eligible[c] = true
		}
	}
	k.unlock()
	if usable > 0 && ejected >= usable {
		t.Fatalf("%d of %d usable members are ejected (panic %v)", ejected, usable, panics)
	}
	m, err := k.Pick(&q)
	switch {
	case err != nil && len(eligible) > 0:
		t.Fatalf("%v with %d eligible members", err, len(eligible))
	case err != nil:
		if !errors.Is(err, ErrNoMember) {
			t.Fatal(err)
		}
		return
	case !eligible[m.core]:
		t.Fatalf("picked %s, which is not eligible: %+v", m.Name(), k.state(m.Name()))
	}
	if *out = append(*out, m); len(*out) > 20 || r.IntN(2) == 0 {
		i := r.IntN(len(*out))
		o := Outcome{Took: time.Duration(r.IntN(1000)) * time.Microsecond}
		if r.IntN(3) > 0 {
			o.Result, o.Reason = Failed, []telemetry.Class{telemetry.ClassConnect, telemetry.ClassStatus, telemetry.ClassTimeout}[r.IntN(3)]
		}
		(*out)[i].Done(o)
		*out = append((*out)[:i], (*out)[i+1:]...)
	}
}

// Everything at once, for the race detector; at the end nothing is in flight.
func TestConcurrentUse(t *testing.T) {
	for _, policy := range []string{"p2c", "hash", "round_robin"} {
		k := newKit(t, "a b c d!1", func(c *config.Service) {
			c.Balance.Policy = policy
			c.Breaker.Reset, c.Breaker.MaxReset = config.Duration(time.Millisecond), config.Duration(5*time.Millisecond)
			c.Outlier.Ejection, c.Outlier.MaxEjection = config.Duration(time.Millisecond), config.Duration(5*time.Millisecond)
			c.Balance.SlowStart, c.DrainTimeout = config.Duration(10*time.Millisecond), config.Duration(5*time.Millisecond)
			c.Limit = &config.Limit{Concurrency: 50, Member: 20}
			c.Hold.For = config.Duration(5 * time.Millisecond)
			checked(c)
			sticky(c)
		})
		var requests, changes sync.WaitGroup
		stop := make(chan struct{})
		for i := range 8 {
			requests.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), 2))
				for range 1500 {
					if k.Enter(t.Context()) != nil {
						continue
					}
					k.request(t, r)
					k.Leave()
				}
			})
		}
		for i := range 3 {
			changes.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), 3))
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					name := k.eps[r.IntN(4)].Name
					switch r.IntN(6) {
					case 0:
						k.health(name, []health.State{health.Up, health.Down}[r.IntN(2)])
					case 1:
						k.Drain(name, r.IntN(2) == 0)
					case 2:
						k.Set(k.cfg, k.eps[:2+r.IntN(3)])
					case 3:
						k.GoodProbe(name)
					case 4:
						k.Status()
					case 5:
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
		requests.Wait()
		close(stop)
		changes.Wait()
		k.Set(k.cfg, k.eps)
		if st := k.Status(); st.InFlight != 0 || st.Held != 0 || st.Queued != 0 {
			t.Errorf("%s: left over %+v", policy, st)
		}
	}
}

func (k *kit) request(t *testing.T, r *rand.Rand) {
	q := Query{Hash: r.Uint64(), HasHash: true}
	for range 3 {
		m, err := k.Pick(&q)
		if err != nil {
			k.Hold(t.Context(), 10)
			continue
		}
		select {
		case <-m.Gone():
		default:
		}
		m.Attach(func() io.Closer { return &closer{} })
		switch r.IntN(4) {
		case 0:
			m.Done(Outcome{Result: Failed, Took: time.Microsecond, Reason: telemetry.ClassConnect})
			q.Tried = append(q.Tried, m)
			continue
		case 1:
			m.Answered(time.Microsecond)
			m.Done(Outcome{Answered: true})
		case 2:
			m.Done(Outcome{Result: Ignored})
		default:
			m.Done(Outcome{Took: time.Microsecond})
		}
		q.Sticky = m.Key()
		return
	}
}

func TestKeysDiffer(t *testing.T) {
	words := ""
	for i := range 500 {
		words += fmt.Sprintf("m%d ", i)
	}
	k, seen := newKit(t, words, nil), map[string]bool{}
	for _, c := range k.members {
		seen[c.key] = true
	}
	if len(seen) != 500 {
		t.Errorf("%d keys for 500 members", len(seen))
	}
}

package pool

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/observe/health"
	"github.com/backstay/backstay/internal/observe/resolve"
	"github.com/backstay/backstay/internal/observe/telemetry"
)

// kit is a service under test, with deterministic randomness.
type kit struct {
	*Service
	t   testing.TB
	cfg config.Service
	eps []resolve.Endpoint

	mu     sync.Mutex
	events []event.Record
}

// defaults is a service as the configuration's defaults have it.
func defaults() config.Service {
	return config.Service{
		Name:    "web",
		Balance: config.Balance{Policy: "p2c", PreferZone: true, Panic: 50, SlowStart: config.Duration(10 * time.Second)},
		Outlier: config.Outlier{Consecutive: 5, FailureRate: 50, Latency: 5, Window: config.Duration(10 * time.Second), Volume: 20,
			Ejection: config.Duration(10 * time.Second), MaxEjection: config.Duration(5 * time.Minute)},
		Breaker: config.Breaker{Consecutive: 10, FailureRate: 60, Volume: 20, Window: config.Duration(10 * time.Second),
			Reset: config.Duration(time.Second), MaxReset: config.Duration(time.Minute), Probes: 1},
		Retry:        config.Retry{Attempts: 3, Budget: 20},
		Hold:         config.Hold{For: config.Duration(2 * time.Second), Requests: 1000, Bytes: 16 << 20},
		OnMemberDown: "cut", DrainTimeout: config.Duration(30 * time.Second),
	}
}

// members makes endpoints out of words such as "a", "b*3" (weight), "c!1" (tier) and "d@z" (zone).
func members(words string) (eps []resolve.Endpoint) {
	for i, w := range strings.Fields(words) {
		e := resolve.Endpoint{Weight: 1, Address: fmt.Sprintf("127.0.0.1:%d", 1000+i)}
		if at := strings.IndexByte(w, '@'); at >= 0 {
			w, e.Zone = w[:at], w[at+1:]
		}
		if at := strings.IndexByte(w, '!'); at >= 0 {
			fmt.Sscan(w[at+1:], &e.Priority)
			w = w[:at]
		}
		if at := strings.IndexByte(w, '*'); at >= 0 {
			fmt.Sscan(w[at+1:], &e.Weight)
			w = w[:at]
		}
		e.Name = w
		e.Address = "10.0.0.1:" + w
		eps = append(eps, e)
	}
	return eps
}

func newKit(t testing.TB, words string, change func(*config.Service)) *kit {
	return newKitIn(t, "", words, change)
}

func newKitIn(t testing.TB, zone, words string, change func(*config.Service)) *kit {
	k := &kit{t: t, cfg: defaults(), eps: members(words)}
	if change != nil {
		change(&k.cfg)
	}
	var n atomic.Uint64
	k.Service = NewService("web", Options{Zone: zone, Rand: func() uint64 { return mix(n.Add(1)) }, Append: func(r event.Record) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.events = append(k.events, r)
	}})
	k.Set(k.cfg, k.eps)
	t.Cleanup(k.Close)
	return k
}

func checked(c *config.Service) { c.Check = &config.Check{TCP: &config.TCPCheck{}} }

// kinds is what was told since the last call, as "kind member" each.
func (k *kit) kinds() (kinds []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.events {
		if r.Service != "web" || r.Message == "" || r.Time.IsZero() {
			k.t.Errorf("incomplete event %+v", r)
		}
		kinds = append(kinds, strings.TrimSpace(r.Kind+" "+r.Member))
	}
	k.events = nil
	return kinds
}

func (k *kit) told(want ...string) {
	k.t.Helper()
	if got := k.kinds(); !slices.Equal(got, want) {
		k.t.Errorf("told %q, want %q", got, want)
	}
}

func (k *kit) pick(q Query) *Member {
	k.t.Helper()
	m, err := k.Pick(&q)
	if err != nil {
		k.t.Fatalf("Pick: %v", err)
	}
	return m
}

// get runs one request to its end with the latency given for its member.
func (k *kit) get(took time.Duration) string {
	k.t.Helper()
	m := k.pick(Query{})
	m.Done(Outcome{Took: took})
	return m.Name()
}

// spread is the share of each member in n requests, ended at once.
func (k *kit) spread(n int) map[string]float64 {
	k.t.Helper()
	shares := map[string]float64{}
	for range n {
		shares[k.get(time.Millisecond)] += 1 / float64(n)
	}
	return shares
}

// spreadBusy is the share of each member in n requests that stay, as under load.
func (k *kit) spreadBusy(n int) map[string]float64 {
	k.t.Helper()
	shares := map[string]float64{}
	var out []*Member
	for range n {
		m := k.pick(Query{})
		shares[m.Name()] += 1 / float64(n)
		out = append(out, m)
	}
	for _, m := range out {
		m.Done(Outcome{Took: time.Millisecond})
	}
	return shares
}

func (k *kit) near(got map[string]float64, within float64, want map[string]float64) {
	k.t.Helper()
	for name, w := range want {
		if math.Abs(got[name]-w) > within+1e-9 {
			k.t.Errorf("%s gets %.3f, want %.3f ± %.3f (all: %v)", name, got[name], w, within, got)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok && got[name] > within+1e-9 {
			k.t.Errorf("%s gets %.3f, want none", name, got[name])
		}
	}
}

func (k *kit) health(member string, st health.State) {
	k.SetHealth(member, health.Status{State: st, Since: time.Now(), Evidence: "3 of 3 probes"})
}

// on gives requests to one member, whatever the policy says, by trying all others first.
func (k *kit) on(member string) *Member {
	k.t.Helper()
	c := k.core(member)
	m := k.take(k.view.Load(), c, k.now())
	if m == nil {
		k.t.Fatalf("%s takes nothing", member)
	}
	return m
}

func (k *kit) core(member string) *core {
	k.t.Helper()
	k.Service.mu.Lock()
	defer k.Service.mu.Unlock()
	for _, c := range k.members {
		if c.name == member {
			return c
		}
	}
	k.t.Fatalf("no member %s", member)
	return nil
}

func (k *kit) fail(member string, n int, reason telemetry.Class) {
	k.t.Helper()
	for range n {
		k.on(member).Done(Outcome{Result: Failed, Took: time.Millisecond, Reason: reason})
	}
}

func (k *kit) succeed(member string, n int, took time.Duration) {
	k.t.Helper()
	for range n {
		k.on(member).Done(Outcome{Took: took})
	}
}

func (k *kit) state(member string) MemberStatus {
	k.t.Helper()
	for _, m := range k.Status().Members {
		if m.Name == member {
			return m
		}
	}
	k.t.Fatalf("no member %s", member)
	return MemberStatus{}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// ejection is a copy of what is known of the member's.
func (k *kit) ejection(member string) ejection {
	k.t.Helper()
	c := k.core(member)
	k.lock()
	defer k.unlock()
	return c.ejection
}

package sim

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/resolve"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/resilience"
)

// members is a service of five servers behind the proxy's own picker.
type members struct {
	*pool.Service
	servers map[string]*Server
}

func newMembers(policy string, ejecting bool) *members {
	m := &members{pool.NewService("web", pool.Options{Rand: NewSource(seed).Uint64}), map[string]*Server{}}
	var endpoints []resolve.Endpoint
	for i := range 5 {
		name := fmt.Sprint("member-", i+1)
		m.servers[name] = NewServer(ServerOptions{Workers: 5, Service: Lognormal(15*ms, 0.5), Network: Exponential(ms / 2)})
		endpoints = append(endpoints, resolve.Endpoint{Name: name, Address: fmt.Sprint("127.0.0.1:", 8000+i), Weight: 1})
	}
	m.Set(config.Service{
		Name: "web", Balance: config.Balance{Policy: policy, Panic: 50, SlowStart: config.Duration(10 * time.Second)},
		Outlier: config.Outlier{Off: !ejecting, Consecutive: 5, FailureRate: 50, Latency: 5, Window: config.Duration(10 * time.Second), Volume: 20,
			Ejection: config.Duration(10 * time.Second), MaxEjection: config.Duration(5 * time.Minute)},
		Breaker: config.Breaker{Off: true},
	}, endpoints)
	return m
}

// try sends a request to a member, another one than those tried before.
func (m *members) try(ctx context.Context, r *Request, tried *[]*pool.Member) error {
	member, err := m.Pick(&pool.Query{Tried: *tried})
	if err != nil {
		return err
	}
	*tried = append((*tried)[:len(*tried):len(*tried)], member)
	begun := time.Now()
	err = m.servers[member.Name()].Serve(ctx, r)
	outcome := pool.Outcome{Result: pool.OK, Took: time.Since(begun)}
	if err != nil && !errors.Is(context.Cause(ctx), context.Canceled) { // who loses a race was slow, not wrong: its time counts
		outcome.Result = pool.Failed
	}
	member.Done(outcome)
	return err
}

// hedged makes a slow call a second time, on another member.
func (m *members) hedged(h *resilience.Hedge) func(context.Context, *Request) error {
	return func(ctx context.Context, r *Request) error {
		var tried []*pool.Member // the second call begins long after the first has picked
		_, err := resilience.Race(ctx, h, func(ctx context.Context) (struct{}, error) { return struct{}{}, m.try(ctx, r, &tried) }, nil)
		return err
	}
}

func (m *members) plain(ctx context.Context, r *Request) error {
	return m.try(ctx, r, new([]*pool.Member))
}

func slowMember(t *testing.T, after *recoveries) Section {
	const length, from, to = 28 * time.Second, 8 * time.Second, 20 * time.Second
	variants := []struct {
		name, policy      string
		hedging, ejecting bool
	}{
		{"round robin", "round_robin", false, false},
		{"p2c", "p2c", false, false},
		{"p2c and hedging", "p2c", true, false},
		{"round robin, ejecting outliers", "round_robin", false, true},
	}
	section := Section{
		Title: "One slow member of five",
		Text: `Five members serve 750 requests a second, half of what they could; then one takes ten times as long for everything, and its
health checks still succeed. Round robin sends it its fifth, which it cannot serve: these requests wait until the client leaves after two
seconds. Outlier ejection takes the member out, and puts it on trial now and then. p2c, the balancer's default, sends a request to where the
expected wait is least and so finds out within a few requests. A hedge (` + "`Hedge`" + `: the same request to another member once it takes longer
than 95 % do) cuts off what is left of the tail, one request in a thousand. It has a price: a few per cent more requests, and as slow calls are
cut short the slow member looks less bad than it is, and gets more of them.`,
		Plots: map[string]Plot{}, Order: []string{"slow-member.svg"},
		Table: Table{Heading: []string{"variant", "answered", "median", "p99", "p99.9", "p99 before", "to the slow one", "tries for each request"}},
	}
	plot := Plot{Title: "One slow member of five: latency of all requests", Y: "p99, milliseconds", Step: bucket.Seconds(), Log: true,
		Spans: []Span{{"one of five is 10× as slow", from.Seconds(), to.Seconds()}}}
	tail := map[string]time.Duration{}
	for _, v := range variants {
		bubble(t, func() {
			m := newMembers(v.policy, v.ejecting)
			defer m.Close()
			call := m.plain
			if v.hedging {
				call = m.hedged(resilience.NewHedge(resilience.HedgeOptions{Window: 5 * time.Second}))
			}
			slow := m.servers["member-3"]
			clients := []Class{{Name: "client", Rate: Steady(750), Timeout: 2 * time.Second, Call: call}}
			requests := Run(seed, length, clients, Event{from, func() { slow.Slow(10) }}, Event{to, func() { slow.Slow(1) }})["client"]
			during := Between(requests, from, to)
			all := 0
			for _, s := range m.servers {
				all += count(s.Received(), from, to)
			}
			tail[v.name] = Waited(during, 0.999)
			section.Table.Add(v.name, Share(Success(during, 0)), Waited(during, 0.5), Waited(during, 0.99), Waited(during, 0.999),
				Waited(Between(requests, 0, from), 0.99), Share(float64(count(slow.Received(), from, to))/float64(all)), float64(all)/float64(len(during)))
			after.add("slow member", v.name, requests, 0.99, to, length)
			plot.Lines = append(plot.Lines, Line{v.name, Over(requests, bucket, length, func(some []*Request) float64 {
				return Waited(some, 0.99).Seconds() * 1000
			})})
			if got := Success(during, 0); v.policy == "p2c" && got < 0.999 {
				t.Errorf("%s: %.4f answered, want 0.999", v.name, got)
			}
		})
	}
	section.Plots["slow-member.svg"] = plot
	if hedged, plain := tail["p2c and hedging"], tail["p2c"]; hedged > plain/2 {
		t.Errorf("p99.9 is %v with hedging and %v without, want half of that at most", hedged, plain)
	}
	if rr := tail["round robin"]; tail["p2c"] > rr/4 {
		t.Errorf("p99.9 is %v with p2c and %v with round robin, want a quarter of that at most", tail["p2c"], rr)
	}
	return section
}

package sim

import (
	"context"
	"testing"
	"time"

	"github.com/backstay/backstay/resilience"
)

// layered puts three layers with a policy each between clients and a server.
func layered(s *Server, layer func(caller) caller) caller {
	call := s.Serve
	for range 3 {
		below := layer(call)
		call = func(ctx context.Context, r *Request) error {
			if err := Sleep(ctx, Exponential(ms/2)(r.Try())); err != nil {
				return err
			}
			return below(ctx, r)
		}
	}
	return call
}

func storm(t *testing.T, after *recoveries) Section {
	const length, from, to = 35 * time.Second, 8 * time.Second, 18 * time.Second
	variants := []struct {
		name  string
		layer func(caller) caller
	}{
		{"naive retries", func(c caller) caller {
			return func(ctx context.Context, r *Request) error {
				return naive(ctx, 3, time.Second, func(ctx context.Context) error { return c(ctx, r) })
			}
		}},
		{"retries with a budget", withRetry},
		{"budget and breaker", func(c caller) caller {
			return withRetry(behind(resilience.NewBreaker(resilience.BreakerOptions{Rand: NewSource(seed)}), c))
		}},
	}
	section := Section{
		Title: "A retry storm through three layers",
		Text: `Clients ask for 300 a second; their requests pass three layers, each of which tries three times; what is behind them is dead for ten
seconds. Naive retries multiply: 27 tries for each request. With ` + "`Retry`" + `, what a layer has given up is not tried again above it, and
the budget holds it to a fifth more than the requests of ten seconds. That fifth may be spent at once, in the first second. A breaker, which
layers have by default, opens before.`,
		Plots: map[string]Plot{}, Order: []string{"storm.svg"},
		Table: Table{Heading: []string{"variant", "load on the dead one, mean", "worst second", "normal again after"}},
	}
	plot := Plot{Title: "A retry storm through three layers: load on what is dead", Y: "tries a second", Step: bucket.Seconds(), Log: true,
		Spans: []Span{{"dead", from.Seconds(), to.Seconds()}}, Levels: []Level{{"clients' requests", 300}}}
	for _, v := range variants {
		bubble(t, func() {
			s := NewServer(ServerOptions{Workers: 100, Service: Exponential(10 * ms), Network: Exponential(ms / 2)})
			clients := []Class{{Name: "client", Rate: Steady(300), Timeout: 3 * time.Second, Call: layered(s, v.layer)}}
			requests := Run(seed, length, clients, Event{from, func() { s.Down(true) }}, Event{to, func() { s.Down(false) }})["client"]
			load := func(from, to time.Duration) float64 {
				return float64(count(s.Received(), from, to)) / float64(len(Between(requests, from, to)))
			}
			worst := 0.0
			for at := from; at < to; at += 100 * ms {
				worst = max(worst, load(at, at+time.Second))
			}
			back := after.add("retry storm", v.name, requests, 0.99, to, length)
			t.Logf("%s: %.4f times on the whole, %.2f in the worst second", v.name, load(from, to), worst)
			section.Table.Add(v.name, load(from, to), worst, back.String())
			plot.Lines = append(plot.Lines, Line{v.name, PerSecond(s.Received(), bucket, length)})
			switch {
			case v.name == "naive retries" && load(from, to) < 20:
				t.Errorf("naive retries make %.1f tries of each request: the scenario shows nothing", load(from, to))
			case v.name == "retries with a budget" && load(from, to) > 1.2:
				t.Errorf("%s: %.2f times the clients' rate on the whole, want 1.2", v.name, load(from, to))
			case v.name == "budget and breaker" && (worst > 1.2 || !back.ever):
				t.Errorf("%s: %.2f times the clients' rate in one second, want 1.2 at most; normal again after %v", v.name, worst, back)
			}
		})
	}
	section.Plots["storm.svg"] = plot
	return section
}

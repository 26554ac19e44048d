package sim

import (
	"context"
	"testing"
	"time"

	"github.com/backstay/backstay/resilience"
)

// naive makes a call up to so many times, each try bounded and the next one made at once.
func naive(ctx context.Context, tries int, bound time.Duration, call func(context.Context) error) (err error) {
	for range tries {
		try, cancel := context.WithTimeout(ctx, bound)
		err = call(try)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

type metastableRun struct {
	name     string
	requests []*Request
	received []time.Duration
}

// metastable is N. Bronson et al., "Metastable Failures in Distributed Systems" (HotOS 2021): a short trigger, and a feedback that
// keeps the system down after it.
func metastable(t *testing.T, after *recoveries) Section {
	const (
		length, from, to = 30 * time.Second, 5 * time.Second, 8 * time.Second
		load, capacity   = 750, 1000
		try, total       = 300 * ms, 1200 * ms
	)
	limit := func() resilience.Gate {
		return resilience.NewLimit(resilience.LimitOptions{Concurrency: 20, Queue: 100, Wait: 100 * ms})
	}
	variants := []struct {
		name string
		call func(*Server) func(context.Context, *Request) error
	}{
		{"no retries", func(s *Server) func(context.Context, *Request) error { return s.Serve }},
		{"naive retries", func(s *Server) func(context.Context, *Request) error {
			return func(ctx context.Context, r *Request) error {
				return naive(ctx, 4, try, func(ctx context.Context) error { return s.Serve(ctx, r) })
			}
		}},
		{"retries with a budget", func(s *Server) func(context.Context, *Request) error {
			retry := must(resilience.NewRetry(resilience.RetryOptions{Attempts: 4, PerTry: try, Rand: NewSource(seed)}))
			return func(ctx context.Context, r *Request) error {
				return do(ctx, retry, func(ctx context.Context) error { return s.Serve(ctx, r) })
			}
		}},
		{"budget and bounded queue", func(s *Server) func(context.Context, *Request) error {
			retry := must(resilience.NewRetry(resilience.RetryOptions{Attempts: 4, PerTry: try, Rand: NewSource(seed)}))
			door := limit()
			return func(ctx context.Context, r *Request) error {
				return do(ctx, retry, func(ctx context.Context) error {
					return guard(ctx, func(ctx context.Context) error { return s.Serve(ctx, r) }, door)
				})
			}
		}},
	}
	var runs []metastableRun
	for _, v := range variants {
		bubble(t, func() {
			s := NewServer(ServerOptions{Workers: 20, Service: Exponential(20 * ms), Network: Exponential(ms / 2)})
			clients := []Class{{Name: "client", Rate: Steady(load), Timeout: total, Call: v.call(s)}}
			requests := Run(seed, length, clients, Event{from, func() { s.Slow(3) }}, Event{to, func() { s.Slow(1) }})
			runs = append(runs, metastableRun{v.name, requests["client"], s.Received()})
		})
	}
	section := Section{
		Title: "Metastable failure",
		Text: `A server can do 1000 requests a second and is asked for 750. For three seconds it is three times as slow: a
trigger as small as a long collection of garbage. Clients wait 1.2 s in all; those who retry give a try 0.3 s. With naive retries (up
to four tries, the next at once) the trigger ends and the outage does not: each client whose try is late asks again, the server works
on tries that nobody waits for any more, and so all tries are late. Retries that are held to a budget (a fifth of the requests)
end it, once the queue has drained. A bounded queue at the server's door (` + "`Limit`" + `), on top of that, never lets it come to old work.`,
		Plots: map[string]Plot{}, Order: []string{"metastable-goodput.svg", "metastable-load.svg"},
		Table: Table{Heading: []string{"variant", "tries for each request, trigger", "answered, trigger", "answered, 10 s after it", "normal again after"}},
	}
	goodput := Plot{Title: "Metastable failure: good answers", Y: "answers a second", Step: bucket.Seconds(), Spans: []Span{{"slow", from.Seconds(), to.Seconds()}}}
	tries := Plot{Title: "Metastable failure: load on the server", Y: "tries a second", Step: bucket.Seconds(), Spans: goodput.Spans, Levels: []Level{{"capacity", capacity}}}
	var back []recovery
	for _, r := range runs {
		goodput.Lines = append(goodput.Lines, Line{r.name, Goodput(r.requests, bucket, length)})
		tries.Lines = append(tries.Lines, Line{r.name, PerSecond(r.received, bucket, length)})
		back = append(back, after.add("metastable failure", r.name, r.requests, 0.99, to, length))
		during := Between(r.requests, from, to)
		amplification := float64(count(r.received, from, to)) / float64(len(during))
		late := Between(r.requests, to, to+10*time.Second)
		section.Table.Add(r.name, amplification, Share(Success(during, 0)), Share(Success(late, 0)), back[len(back)-1].String())
	}
	section.Plots["metastable-goodput.svg"], section.Plots["metastable-load.svg"] = goodput, tries

	if back[1].ever {
		t.Errorf("naive retries recover after %v: the scenario shows nothing", back[1].took)
	}
	if !back[2].ever || back[2].took > 20*time.Second {
		t.Errorf("with a budget alone: %v", back[2])
	}
	if !back[3].ever || back[3].took > 2*time.Second {
		t.Errorf("with budget and bounded queue: normal after %v, want 2 s at most", back[3])
	}
	return section
}

// count is how many moments lie in a span.
func count(at []time.Duration, from, to time.Duration) (n int) {
	for _, t := range at {
		if t >= from && t < to {
			n++
		}
	}
	return n
}

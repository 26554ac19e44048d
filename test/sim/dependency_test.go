package sim

import (
	"context"
	"testing"
	"time"

	"github.com/backstay/backstay/resilience"
)

type caller func(context.Context, *Request) error

// withFallback gives a static answer where there is no other, and notes it.
func withFallback(call caller) caller {
	return func(ctx context.Context, r *Request) error {
		_, which, err := resilience.FirstOf(ctx,
			func(ctx context.Context) (int, error) { return 1, call(ctx, r) }, resilience.Static(2))
		r.Degraded = which == 1
		return err
	}
}

func withRetry(call caller) caller {
	retry := must(resilience.NewRetry(resilience.RetryOptions{Rand: NewSource(seed)}))
	return func(ctx context.Context, r *Request) error {
		return do(ctx, retry, func(ctx context.Context) error { return call(ctx, r) })
	}
}

func behind(gate resilience.Gate, call caller) caller {
	return func(ctx context.Context, r *Request) error {
		return guard(ctx, func(ctx context.Context) error { return call(ctx, r) }, gate)
	}
}

func dependency(t *testing.T, after *recoveries) Section {
	const (
		length             = 40 * time.Second
		half, nearly, well = 5 * time.Second, 15 * time.Second, 25 * time.Second
	)
	breaker := func(call caller) caller {
		return behind(resilience.NewBreaker(resilience.BreakerOptions{FailureRate: 0.4, Window: 2 * time.Second, Probes: 5, MaxReset: 3 * time.Second, Rand: NewSource(seed)}), call)
	}
	variants := []struct {
		name string
		wrap func(caller) caller
	}{
		{"nothing", func(c caller) caller { return c }},
		{"naive retries", func(c caller) caller {
			return func(ctx context.Context, r *Request) error {
				return naive(ctx, 3, time.Second, func(ctx context.Context) error { return c(ctx, r) })
			}
		}},
		{"retries with a budget", withRetry},
		{"throttle", func(c caller) caller {
			return behind(resilience.NewThrottle(resilience.ThrottleOptions{Window: 2 * time.Second, Rand: NewSource(seed)}), c)
		}},
		{"breaker and fallback", func(c caller) caller { return withFallback(breaker(c)) }},
	}
	section := Section{
		Title: "A dependency that fails",
		Text: `A dependency fails half of its calls for ten seconds, then nineteen in twenty for ten more. Naive retries answer most while half fail,
and call it nearly three times as much when it can bear it least. Retries with a budget never add more than a fifth. A throttle
(` + "`Throttle`" + `) lets a dependency fail that accepts half, and holds back most of what goes to one that fails more, but for one call in ten that finds out when it is over: it lets
twice as much through with each window (here two seconds) that goes well. A breaker (` + "`Breaker`" + `, opens at 40 % in two seconds, closes after five good
trials) with a fallback answers everybody, some of them less well, and leaves the dependency alone but for a trial now and then,
at least every three seconds.`,
		Plots: map[string]Plot{}, Order: []string{"dependency.svg"},
		Table: Table{Heading: []string{"variant", "answered at 50 %", "by the fallback", "tries for each request", "answered at 95 %", "by the fallback", "tries for each request", "normal again after"}},
	}
	plot := Plot{Title: "A dependency that fails: calls that it gets", Y: "calls a second", Step: bucket.Seconds(),
		Spans: []Span{{"50 % fail", half.Seconds(), nearly.Seconds()}, {"95 % fail", nearly.Seconds(), well.Seconds()}}, Levels: []Level{{"clients' requests", 300}}}
	for _, v := range variants {
		bubble(t, func() {
			s := NewServer(ServerOptions{Workers: 100, Service: Exponential(10 * ms), Network: Exponential(ms / 2)})
			clients := []Class{{Name: "client", Rate: Steady(300), Timeout: 3 * time.Second, Call: v.wrap(s.Serve)}}
			requests := Run(seed, length, clients,
				Event{half, func() { s.Fail(0.5) }}, Event{nearly, func() { s.Fail(0.95) }}, Event{well, func() { s.Fail(0) }})["client"]
			full := make([]*Request, 0, len(requests)) // a fallback's answer is not normal
			for _, r := range requests {
				full = append(full, r)
				if r.Degraded && r.Err == nil {
					full[len(full)-1] = &Request{At: r.At, Err: ErrFailed}
				}
			}
			back := after.add("failing dependency", v.name, full, 0.99, well, length)
			tries := func(from, to time.Duration) float64 {
				return float64(count(s.Received(), from, to)) / float64(len(Between(requests, from, to)))
			}
			at50, at95 := Between(requests, half, nearly), Between(requests, nearly, well)
			section.Table.Add(v.name, Share(Success(at50, 0)), Share(degraded(at50)), tries(half, nearly),
				Share(Success(at95, 0)), Share(degraded(at95)), tries(nearly, well), back.String())
			plot.Lines = append(plot.Lines, Line{v.name, PerSecond(s.Received(), bucket, length)})
			judgeDependency(t, v.name, Success(requests, 0), tries(half, well), tries(nearly, well), back)
		})
	}
	section.Plots["dependency.svg"] = plot
	return section
}

func judgeDependency(t *testing.T, name string, answered, tries, tries95 float64, back recovery) {
	switch name {
	case "retries with a budget":
		if tries > 1.25 {
			t.Errorf("%s: %.2f tries for each request, want 1.2", name, tries)
		}
	case "throttle":
		if tries95 > 0.3 {
			t.Errorf("%s: %.2f tries for each request while 95 %% fail", name, tries95)
		}
	case "breaker and fallback":
		if answered < 1 || tries > 0.3 {
			t.Errorf("%s: %.4f answered with %.2f tries for each, want all with three tenths at most", name, answered, tries)
		}
		if !back.ever || back.took > 10*time.Second {
			t.Errorf("%s: normal again after %v", name, back)
		}
	}
}

func degraded(requests []*Request) float64 {
	n := 0
	for _, r := range requests {
		if r.Degraded && r.Err == nil {
			n++
		}
	}
	return float64(n) / float64(len(requests))
}

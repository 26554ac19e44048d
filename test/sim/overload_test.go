package sim

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/backstay/backstay/resilience"
)

var classes = []struct {
	name     string
	priority resilience.Priority
}{{"critical", resilience.Critical}, {"normal", resilience.Normal}, {"sheddable", resilience.Sheddable}}

type overloadRun struct {
	times    float64
	shedding bool
	byClass  map[string][]*Request
}

const (
	overloadLength             = 25 * time.Second
	overloadFrom, overloadTo   = 5 * time.Second, 15 * time.Second
	overloadCapacity, patience = 1000.0, time.Second
)

// playOverload asks a server for more than it can do. A fifth of the requests is critical, or as many as four fifths of what the
// server can do where that is fewer.
func playOverload(times float64, shedding bool) overloadRun {
	s := NewServer(ServerOptions{Workers: 20, Service: Exponential(20 * ms), Network: Exponential(ms / 2)})
	usual := 0.5 * overloadCapacity
	call := func(priority resilience.Priority) func(context.Context, *Request) error { return s.Serve }
	if shedding {
		shed := resilience.NewShed(resilience.ShedOptions{Interval: 50 * ms,
			Queue: resilience.NewLimit(resilience.LimitOptions{Concurrency: 22, Queue: 100}), Rand: NewSource(seed),
		})
		call = func(priority resilience.Priority) func(context.Context, *Request) error {
			return func(ctx context.Context, r *Request) error {
				ctx = resilience.WithPriority(ctx, priority.For(fmt.Sprint("client ", r.Number%200)))
				return guard(ctx, func(ctx context.Context) error { return s.Serve(ctx, r) }, shed)
			}
		}
	}
	spike := times * overloadCapacity
	critical := min(0.2*spike, 0.8*overloadCapacity)
	rates := []float64{critical, (spike - critical) * 0.6, (spike - critical) * 0.4}
	var clients []Class
	for i, c := range classes {
		clients = append(clients, Class{
			Name: c.name, Rate: Spike(usual*rates[i]/spike, rates[i], overloadFrom, overloadTo), Timeout: patience, Call: call(c.priority),
		})
	}
	return overloadRun{times, shedding, Run(seed, overloadLength, clients)}
}

func overload(t *testing.T, after *recoveries) Section {
	var runs []overloadRun
	for _, times := range []float64{2, 3, 10} {
		for _, shedding := range []bool{false, true} {
			bubble(t, func() { runs = append(runs, playOverload(times, shedding)) })
		}
	}
	section := Section{
		Title: "Overload, with and without shedding",
		Text: `A server that can do 1000 requests a second is asked for twice, three times and ten times as much for ten seconds; clients
leave after a second. A fifth of the requests is critical (at ten times: 800 a second), three in five of the others are normal, the
rest sheddable. Without shedding all wait in one queue that grows until nobody in it is waited for: the server is busy and of no use to
anyone. With ` + "`Shed`" + ` in front of a ` + "`Limit`" + ` it refuses the least important at the door, all of whom and as many of the next
as is needed, and serves the rest as fast as before.`,
		Plots: map[string]Plot{}, Order: []string{"overload-without.svg", "overload-with.svg", "overload-latency.svg"},
		Table: Table{Heading: []string{"load", "shedding", "class", "answered", "median", "p99", "goodput", "of capacity, all classes"}},
	}
	latency := Plot{Title: "Overload at 3×: latency of critical requests", Y: "p99, milliseconds", Step: bucket.Seconds(), Log: true, Spans: overloadSpans(3)}
	for _, r := range runs {
		name := map[bool]string{false: "without", true: "with"}[r.shedding]
		judgeOverload(t, r, &section.Table, after)
		if r.times != 3 {
			continue
		}
		section.Plots["overload-"+name+".svg"] = r.plot("Overload at 3×, " + name + " shedding: good answers by class")
		latency.Lines = append(latency.Lines, Line{name + " shedding", Over(r.byClass["critical"], bucket, overloadLength, func(some []*Request) float64 {
			return Quantile(some, 0.99).Seconds() * 1000
		})})
	}
	section.Plots["overload-latency.svg"] = latency
	return section
}

func overloadSpans(times float64) []Span {
	return []Span{{fmt.Sprintf("%g× capacity", times), overloadFrom.Seconds(), overloadTo.Seconds()}}
}

func (r overloadRun) plot(title string) Plot {
	p := Plot{Title: title, Y: "answers a second", Step: bucket.Seconds(), Spans: overloadSpans(r.times), Levels: []Level{{"capacity", overloadCapacity}}}
	p.Lines = append(p.Lines, Line{"all", Goodput(flatten(r.byClass), bucket, overloadLength)})
	for _, c := range classes {
		p.Lines = append(p.Lines, Line{c.name, Goodput(r.byClass[c.name], bucket, overloadLength)})
	}
	return p
}

// judgeOverload writes a run's rows and holds it to what is promised.
func judgeOverload(t *testing.T, r overloadRun, table *Table, after *recoveries) {
	seconds := (overloadTo - overloadFrom).Seconds()
	good := func(class string) float64 {
		some := Between(r.byClass[class], overloadFrom, overloadTo)
		return Success(some, 0) * float64(len(some)) / seconds
	}
	total := 0.0
	for _, c := range classes {
		total += good(c.name)
	}
	unloaded := Quantile(Between(r.byClass["critical"], 0, overloadFrom), 0.99)
	load, shedding, share := fmt.Sprintf("%g×", r.times), map[bool]string{false: "no", true: "yes"}[r.shedding], cell(Share(total/overloadCapacity))
	for _, c := range classes {
		some := Between(r.byClass[c.name], overloadFrom, overloadTo)
		table.Add(load, shedding, c.name, Share(Success(some, 0)), Quantile(some, 0.5), Quantile(some, 0.99), fmt.Sprintf("%.0f/s", good(c.name)), share)
		load, shedding, share = "", "", ""
	}
	name := fmt.Sprintf("%g×, %s shedding", r.times, map[bool]string{false: "without", true: "with"}[r.shedding])
	back := after.add("overload", name, r.byClass["critical"], 0.99, overloadTo, overloadLength)
	if !r.shedding {
		return
	}
	critical := Between(r.byClass["critical"], overloadFrom, overloadTo)
	want := 0.99
	if r.times > 3 { // critical requests alone are four fifths of capacity: chance takes them above it now and then
		want = 0.94
	}
	if got := Success(critical, 2*unloaded); got < want {
		t.Errorf("%s: %.4f of critical requests answered within twice the unloaded p99 of %v, want %v", name, got, unloaded, want)
	}
	if total < 0.9*overloadCapacity {
		t.Errorf("%s: goodput of %.0f a second, want nine tenths of capacity", name, total)
	}
	if !back.ever || back.took > 2*time.Second {
		t.Errorf("%s: normal again %v after the overload, want 2 s at most", name, back)
	}
	if n, s := good("normal"), good("sheddable"); r.times == 2 && s > math.Max(20, n/10) {
		t.Errorf("%s: %.0f sheddable requests a second answered, and only %.0f normal ones", name, s, n)
	}
}

package sim

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// TestQueueTheory holds the kit to what is known: the mean time in an M/M/1 queue is 1/(μ-λ), and its 99th percentile ln(100) times that.
func TestQueueTheory(t *testing.T) {
	bubble(t, func() {
		s := NewServer(ServerOptions{Workers: 1, Service: Exponential(10 * ms)})
		requests := Run(seed, 1000*time.Second, []Class{{Name: "client", Rate: Steady(50), Call: s.Serve}})["client"]
		var sum time.Duration
		for _, r := range requests {
			sum += r.Took
		}
		if mean, want := (sum / time.Duration(len(requests))).Seconds(), 1/(100.0-50); math.Abs(mean/want-1) > 0.05 {
			t.Errorf("mean time of %.4f s, want %.4f", mean, want)
		}
		if p99, want := Quantile(requests, 0.99).Seconds(), math.Log(100)/(100.0-50); math.Abs(p99/want-1) > 0.1 {
			t.Errorf("p99 of %.4f s, want %.4f", p99, want)
		}
		if n := float64(len(requests)); math.Abs(n/50000-1) > 0.02 {
			t.Errorf("%.0f requests in a thousand seconds, want 50 a second", n)
		}
	})
}

func TestDistributions(t *testing.T) {
	r := generator(seed, "test", 1)
	for name, tt := range map[string]struct {
		draw Distribution
		mean time.Duration
	}{
		"constant":    {Constant(10 * ms), 10 * ms},
		"exponential": {Exponential(10 * ms), 10 * ms},
		"lognormal":   {Lognormal(10*ms, 0.5), time.Duration(10 * float64(ms) * math.Exp(0.125))},
		"bimodal":     {Bimodal(Constant(ms), Constant(101*ms), 0.1), 11 * ms},
	} {
		var sum time.Duration
		const n = 20000
		for range n {
			sum += tt.draw(r)
		}
		if mean := sum / n; math.Abs(float64(mean)/float64(tt.mean)-1) > 0.05 {
			t.Errorf("%s: mean of %v, want %v", name, mean, tt.mean)
		}
	}
}

// TestServerWorksForNobody: a server cannot see that its client has left.
func TestServerWorksForNobody(t *testing.T) {
	bubble(t, func() {
		s := NewServer(ServerOptions{Workers: 1, Service: Constant(time.Second)})
		ctx, cancel := context.WithTimeout(context.Background(), 100*ms)
		defer cancel()
		if err := s.Serve(ctx, &Request{Number: 1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a client that leaves gets %v", err)
		}
		begun := time.Now()
		if err := s.Serve(context.Background(), &Request{Number: 2}); err != nil || time.Since(begun) != 1900*ms {
			t.Errorf("the next one got %v after %v, want an answer after what is left of the first second and its own", err, time.Since(begun))
		}
		if s.Down(true); !errors.Is(s.Serve(context.Background(), &Request{Number: 3}), ErrDown) {
			t.Error("a dead server answers")
		}
	})
}

func TestRecovery(t *testing.T) {
	requests := func(bad func(at time.Duration) bool) (all []*Request) {
		for at := time.Duration(0); at < 20*time.Second; at += 10 * ms {
			r := &Request{At: at}
			if bad(at) {
				r.Err = ErrFailed
			}
			all = append(all, r)
		}
		return all
	}
	for name, tt := range map[string]struct {
		from, to, least, most time.Duration
		ever                  bool
	}{
		"never away":      {0, 0, 0, 0, true},
		"away for 3 s":    {5 * time.Second, 8 * time.Second, 2900 * ms, 3100 * ms, true},
		"away to the end": {5 * time.Second, time.Minute, 0, time.Minute, false},
	} {
		took, ever := Recovery(requests(func(at time.Duration) bool { return at >= tt.from && at < tt.to }), 0.99, 5*time.Second, 20*time.Second)
		if ever != tt.ever || took < tt.least || took > tt.most {
			t.Errorf("%s: %v, %v", name, took, ever)
		}
	}
}

func TestPlotIsXML(t *testing.T) {
	p := Plot{Title: `"<&>"`, Y: "a & b", Step: 1, Log: true, Lines: []Line{{"<x>", []float64{0, 1, math.NaN(), 1000}}}, Spans: []Span{{"&", 1, 2}}, Levels: []Level{{"<", 10}}}
	d := xml.NewDecoder(strings.NewReader(p.SVG()))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

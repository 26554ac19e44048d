package telemetry

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// oracle is the histogram that the official client makes of the same observations.
func oracle(t *testing.T, observations []time.Duration) *dto.Histogram {
	t.Helper()
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "x", Help: "x", Buckets: classicBounds,
		NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: math.Exp2(firstExp),
	})
	for _, o := range observations {
		h.Observe(o.Seconds())
	}
	var m dto.Metric
	if err := h.Write(&m); err != nil {
		t.Fatal(err)
	}
	m.Histogram.CreatedTimestamp = nil
	return m.Histogram
}

func TestHistogramAgreesWithTheOfficialClient(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var random, edges []time.Duration
	for range 20_000 {
		random = append(random, time.Duration(math.Exp(r.Float64()*28))) // 1 ns to 24 min, even on a log scale
	}
	for _, b := range layout.bounds[:len(layout.cells)-1] {
		edges = append(edges, time.Duration(b), time.Duration(b+1), time.Duration(b-1))
	}
	for name, observations := range map[string][]time.Duration{
		"random": random, "edges": edges[:len(edges)-3], "one": {time.Millisecond}, "zero": {0, 1, 7 * time.Microsecond}, "none": nil,
	} {
		t.Run(name, func(t *testing.T) {
			var h histogram
			var total sum
			for _, o := range observations {
				h.observe(o, &total)
			}
			got, want := h.write(&total), oracle(t, observations)
			if d := math.Abs(got.GetSampleSum() - want.GetSampleSum()); d > 1e-6*want.GetSampleSum()+1e-6 {
				t.Errorf("sum %v, official client %v", got.GetSampleSum(), want.GetSampleSum())
			}
			got.SampleSum, want.SampleSum = nil, nil
			if !proto.Equal(got, want) {
				t.Errorf("differs from the official client:\n got %v\nwant %v", got, want)
			}
		})
	}
}

func TestHistogramTakesWhatIsOutOfRange(t *testing.T) {
	var h histogram
	var total sum
	h.observe(-time.Second, &total)
	h.observe(math.MaxInt64, &total)
	got := h.write(&total)
	if got.GetSampleCount() != 2 || got.GetZeroCount() != 1 {
		t.Errorf("count %d, zero bucket %d", got.GetSampleCount(), got.GetZeroCount())
	}
	if span := got.PositiveSpan; len(span) != 1 || span[0].GetOffset() != lastExp<<schema+1 {
		t.Errorf("spans %v", span)
	}
	if last := got.Bucket[len(got.Bucket)-1]; last.GetCumulativeCount() != 1 {
		t.Errorf("the largest finite bucket holds %d", last.GetCumulativeCount())
	}
}

func TestEveryDurationFindsItsCell(t *testing.T) {
	for i := range layout.cells {
		lo := int64(0)
		if i > 0 {
			lo = layout.bounds[i-1] + 1
		}
		for _, ns := range []int64{lo, layout.bounds[i]} {
			var h histogram
			var total sum
			h.observe(time.Duration(ns), &total)
			if h[i].Load() != 1 {
				t.Fatalf("%d ns is not in cell %d (up to %v s)", ns, i, layout.cells[i].bound)
			}
		}
	}
}

package telemetry

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// finish is all that is counted for one request that went well.
func finish(r *Route, m *Member, took time.Duration) {
	m.Done(ClassOK, took)
	r.Done(200, took+time.Microsecond, 0, 1024)
}

func BenchmarkFinishedRequest(b *testing.B) {
	m := NewMetrics(nil)
	r, h := m.Route("web", "0", "shop"), m.Member("shop", "a")
	b.Run("one core", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			finish(r, h, time.Duration(i&0xfffff))
		}
	})
	b.Run("all cores, one route and member", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				finish(r, h, time.Duration(i&0xfffff))
			}
		})
	})
}

// BenchmarkClientGolang is what the same request costs with the official client's counters and histograms.
func BenchmarkClientGolang(b *testing.B) {
	opts := prometheus.HistogramOpts{Name: "x", Buckets: classicBounds, NativeHistogramBucketFactor: 1.1}
	h1, h2 := prometheus.NewHistogram(opts), prometheus.NewHistogram(opts)
	c := [3]prometheus.Counter{}
	for i := range c {
		c[i] = prometheus.NewCounter(prometheus.CounterOpts{Name: "c"})
	}
	for i := range b.N {
		took := time.Duration(i & 0xfffff)
		h1.Observe(took.Seconds())
		h2.Observe(took.Seconds())
		c[0].Inc()
		c[1].Inc()
		c[2].Add(1024)
	}
}

func BenchmarkRequestID(b *testing.B) {
	buf := make([]byte, 0, RequestIDSize)
	b.ReportAllocs()
	for range b.N {
		AppendRequestID(buf)
	}
}

func BenchmarkTraceContext(b *testing.B) {
	in := []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	buf := make([]byte, 0, TraceparentSize)
	b.ReportAllocs()
	for range b.N {
		t, _ := ParseTraceparent(in)
		t.Child().AppendTraceparent(buf)
	}
}

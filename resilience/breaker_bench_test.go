package resilience

import (
	"testing"
	"time"
)

func BenchmarkBreaker(b *testing.B) {
	all := BreakerOptions{Consecutive: 10, FailureRate: 0.6, SlowRate: 0.6}
	b.Run("success", func(b *testing.B) {
		k := NewBreaker(all)
		parallel(b, func() { p, _ := k.Allow(); p.Done(Success, time.Millisecond) })
	})
	b.Run("success in a row-only one", func(b *testing.B) {
		k := NewBreaker(BreakerOptions{Consecutive: 10})
		parallel(b, func() { p, _ := k.Allow(); p.Done(Success, time.Millisecond) })
	})
	b.Run("one failure in four", func(b *testing.B) {
		k := NewBreaker(all)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				p, _ := k.Allow()
				p.Done(Outcome(b2i(i%4 == 0)), time.Millisecond)
			}
		})
	})
	b.Run("refusal", func(b *testing.B) {
		k := NewBreaker(all)
		k.Isolate()
		parallel(b, func() { _, _ = k.Allow() })
	})
	b.Run("ready", func(b *testing.B) {
		k := NewBreaker(all)
		parallel(b, func() { k.Ready() })
	})
}

// parallel measures op in as many goroutines as there are processors.
func parallel(b *testing.B, op func()) {
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			op()
		}
	})
}

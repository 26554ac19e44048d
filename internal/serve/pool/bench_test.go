package pool

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/telemetry"
)

func words(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "m%d ", i)
	}
	return b.String()
}

// real is a service as in use: own randomness, metrics.
func real(b testing.TB, n int, policy string) *Service {
	cfg := defaults()
	cfg.Balance.Policy = policy
	s := NewService("web", Options{Metrics: telemetry.NewMetrics(nil)})
	s.Set(cfg, members(words(n)))
	b.Cleanup(s.Close)
	for range 10 * n {
		m, err := s.Pick(&Query{})
		if err != nil {
			b.Fatal(err)
		}
		m.Done(Outcome{Took: time.Millisecond})
	}
	return s
}

func BenchmarkPick(b *testing.B) {
	for _, policy := range []string{"p2c", "round_robin", "least_requests", "hash"} {
		for _, n := range []int{3, 50} {
			b.Run(fmt.Sprintf("%s/%d", policy, n), func(b *testing.B) {
				s := real(b, n, policy)
				q := Query{HasHash: true}
				b.ReportAllocs()
				for b.Loop() {
					q.Hash++
					m, err := s.Pick(&q)
					if err != nil {
						b.Fatal(err)
					}
					m.core.end(false)
				}
			})
		}
	}
}

func BenchmarkPickDone(b *testing.B) {
	for _, policy := range []string{"p2c", "round_robin", "least_requests", "hash"} {
		b.Run(policy, func(b *testing.B) {
			s := real(b, 3, policy)
			q := Query{HasHash: true}
			b.ReportAllocs()
			for b.Loop() {
				q.Hash++
				m, err := s.Pick(&q)
				if err != nil {
					b.Fatal(err)
				}
				m.Done(Outcome{Took: time.Millisecond})
			}
		})
	}
}

func BenchmarkParallel(b *testing.B) {
	for _, policy := range []string{"p2c", "round_robin", "least_requests", "hash"} {
		b.Run("pick/"+policy, func(b *testing.B) {
			s := real(b, 3, policy)
			var seeds atomic.Uint64
			b.RunParallel(func(pb *testing.PB) {
				q := Query{HasHash: true, Hash: seeds.Add(1 << 32)}
				for pb.Next() {
					q.Hash++
					m, err := s.Pick(&q)
					if err != nil {
						b.Fatal(err)
					}
					m.core.end(false)
				}
			})
		})
		b.Run("pickdone/"+policy, func(b *testing.B) {
			s := real(b, 3, policy)
			var seeds atomic.Uint64
			b.RunParallel(func(pb *testing.PB) {
				q := Query{HasHash: true, Hash: seeds.Add(1 << 32)}
				for pb.Next() {
					q.Hash++
					m, err := s.Pick(&q)
					if err != nil {
						b.Fatal(err)
					}
					m.Done(Outcome{Took: time.Millisecond})
				}
			})
		})
	}
}

func TestNoAllocation(t *testing.T) {
	for _, policy := range []string{"p2c", "round_robin", "least_requests", "hash"} {
		for _, n := range []int{1, 3, 50} {
			s := real(t, n, policy)
			cfg := defaults()
			cfg.Balance.Policy = policy
			cfg.Balance.Sticky = &config.Sticky{}
			cfg.Limit = &config.Limit{Concurrency: 10, Member: 100}
			s.Set(cfg, members(words(n)))
			first, err := s.Pick(&Query{})
			if err != nil {
				t.Fatal(err)
			}
			tried := []*Member{first}
			hash := uint64(0)
			if got := testing.AllocsPerRun(1000, func() {
				for _, q := range [...]Query{{}, {Hash: hash, HasHash: true}, {Sticky: first.Key()}, {Tried: tried}} {
					hash++
					if err := s.Enter(t.Context()); err != nil {
						t.Fatal(err)
					}
					m, err := s.Pick(&q)
					if err != nil {
						t.Fatal(err)
					}
					m.Done(Outcome{Took: time.Millisecond})
					s.Leave()
				}
			}); got != 0 {
				t.Errorf("%s with %d members: %v allocations", policy, n, got)
			}
		}
	}
}

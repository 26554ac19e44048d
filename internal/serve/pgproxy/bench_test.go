package pgproxy

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/resolve"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/snapshot"
	"github.com/backstay/backstay/internal/serve/tcpproxy"
)

// through gives the ways to the server that the benchmarks compare.
func through(b *testing.B, run func(b *testing.B, dsn string)) {
	k := start(b, "", "")
	plain := plainProxy(b, k)
	for _, way := range []struct{ name, address string }{{"direct", k.a.address}, {"tcpproxy", plain}, {"pgproxy", k.address}} {
		_, port, _ := net.SplitHostPort(way.address)
		_, own, _ := net.SplitHostPort(k.address)
		b.Run(way.name, func(b *testing.B) { run(b, strings.Replace(k.dsn("app"), "port="+own, "port="+port, 1)) })
	}
}

// plainProxy is a listener that passes bytes.
func plainProxy(b *testing.B, k *kit) string {
	b.Helper()
	c, err := config.Parse("plain.yaml", []byte(fmt.Sprintf("services: [{name: s, members: [%q]}]\nlisteners: [{name: plain, listen: '127.0.0.1:1', service: s}]\n", k.a.address)))
	if err != nil {
		b.Fatal(err)
	}
	metrics := telemetry.NewMetrics(prometheus.NewRegistry())
	p := pool.NewService("s", pool.Options{Metrics: metrics})
	p.Set(c.Services[0], []resolve.Endpoint{{Name: "a", Address: k.a.address, Weight: 1}})
	snap, err := snapshot.Build(c, snapshot.Deps{Metrics: metrics, Pool: func(string) *pool.Service { return p }})
	if err != nil {
		b.Fatal(err)
	}
	var picture atomic.Pointer[snapshot.Snapshot]
	picture.Store(snap)
	s := tcpproxy.New(tcpproxy.Options{Snapshot: &picture, Metrics: metrics})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, "plain", ln) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		ln.Close()
		over, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Drain(over)
		p.Close()
	})
	return ln.Addr().String()
}

// measured reports the processor time of client and proxy together for each round; that of the server is not in it.
func measured(b *testing.B, round func()) {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	round()
	before := used()
	for b.Loop() {
		round()
	}
	b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkSelect is a short read by a prepared statement, one after the other, as pgbench -S does.
func BenchmarkSelect(b *testing.B) {
	through(b, func(b *testing.B, dsn string) {
		c, err := pgx.Connect(b.Context(), dsn)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close(context.Background())
		b.ReportAllocs()
		measured(b, func() {
			var n int
			if err := c.QueryRow(b.Context(), "SELECT $1::int", 1).Scan(&n); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// BenchmarkRows is a result of 20 MB in small rows.
func BenchmarkRows(b *testing.B) {
	through(b, func(b *testing.B, dsn string) {
		c, err := pgx.Connect(b.Context(), dsn)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close(context.Background())
		b.SetBytes(20 << 20)
		measured(b, func() {
			r := c.PgConn().Exec(b.Context(), "SELECT repeat('x', 200) FROM generate_series(1, 100000)")
			for r.NextResult() {
				for r.ResultReader().NextRow() {
				}
			}
			if err := r.Close(); err != nil {
				b.Fatal(err)
			}
		})
	})
}

package health

import (
	"fmt"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/backstay/backstay/internal/base/config"
)

// BenchmarkProbes is the cost of one look of each kind, the member's side included.
func BenchmarkProbes(b *testing.B) {
	listen := func(answer func(net.Conn)) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					answer(c)
					c.Close()
				}()
			}
		}()
		return l.Addr().String()
	}
	page := listen(func(c net.Conn) {
		c.Read(make([]byte, 1024))
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go server.Serve(l)
	b.Cleanup(server.Stop)
	for _, c := range []struct {
		name, address string
		check         config.Check
	}{
		{"http", page, config.Check{HTTP: &config.HTTPCheck{Path: "/healthz", Body: "^ok"}}},
		{"tcp", page, config.Check{TCP: &config.TCPCheck{}}},
		{"grpc", l.Addr().String(), config.Check{GRPC: &config.GRPCCheck{}}},
		{"exec", "", config.Check{Exec: &config.ExecCheck{Command: []string{"/bin/true"}}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := NewProber()
			c.check.Timeout = config.Duration(5 * time.Second)
			b.ReportAllocs()
			for b.Loop() {
				if r := p.Probe(b.Context(), Target{Address: c.address, Check: c.check}); !r.OK {
					b.Fatal(r.Reason)
				}
			}
		})
	}
}

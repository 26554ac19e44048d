package tcpproxy

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
)

// cpu is the processor time used so far, in nanoseconds.
func cpu(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkBulk is one session that carries b.N megabytes to the client. The processor time is that of client, member and
// proxy together; "direct" has no proxy.
func BenchmarkBulk(b *testing.B) {
	const size = 1 << 20
	block := make([]byte, size)
	source := func(b *testing.B) string {
		return member(b, func(c *net.TCPConn) {
			for {
				if _, err := c.Write(block); err != nil {
					return
				}
			}
		})
	}
	for _, through := range []string{"direct", "proxy"} {
		b.Run(through, func(b *testing.B) {
			address := source(b)
			if through == "proxy" {
				address = start(b, one("", "", address)).address
			}
			c, err := net.Dial("tcp", address)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			in := make([]byte, 256<<10)
			b.SetBytes(size)
			before := cpu(b)
			b.ResetTimer()
			for left := int64(b.N) * size; left > 0; {
				n, err := c.Read(in[:min(left, int64(len(in)))])
				if err != nil {
					b.Fatal(err)
				}
				left -= int64(n)
			}
			b.StopTimer()
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/MiB")
		})
	}
}

// BenchmarkSession is a whole session: connect, one byte there and back, close.
func BenchmarkSession(b *testing.B) {
	for _, through := range []string{"direct", "proxy"} {
		b.Run(through, func(b *testing.B) {
			address := member(b, func(c *net.TCPConn) {
				var one [1]byte
				if _, err := io.ReadFull(c, one[:]); err == nil {
					_, _ = c.Write(one[:])
				}
			})
			if through == "proxy" {
				address = start(b, one("", "", address)).address
			}
			b.ReportAllocs()
			before := cpu(b)
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := once(address); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/session")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sessions/s")
		})
	}
}

func once(address string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte{1}); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return err
	}
	return c.(*net.TCPConn).SetLinger(0) // the other ports are for the next sessions
}

// BenchmarkExchange is a small question and answer in a session that stays.
func BenchmarkExchange(b *testing.B) {
	for _, size := range []int{64, 1024, 16 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			k := start(b, one("", "", member(b, func(c *net.TCPConn) {
				_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
			})))
			c, err := net.Dial("tcp", k.address)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			buf := make([]byte, size)
			b.ReportAllocs()
			b.SetBytes(int64(2 * size))
			for b.Loop() {
				if _, err := c.Write(buf); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkIdle says what a silent session takes of the process's memory: heap and stacks, the client's and the member's
// connections (some 2 KiB) included; the kernel's part is not.
func BenchmarkIdle(b *testing.B) {
	k := start(b, one("", "", member(b, func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 1)) })))
	taken := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	const sessions = 2000
	for b.Loop() {
		before := taken()
		var all []net.Conn
		for range sessions {
			c, err := net.Dial("tcp", k.address)
			if err != nil {
				b.Fatal(err)
			}
			all = append(all, c)
		}
		eventually(b, "all are there", func() bool { return k.counter("backstay_member_in_flight") == sessions })
		b.ReportMetric(float64(taken()-before)/sessions, "B/session")
		for _, c := range all {
			c.Close()
		}
		eventually(b, "all have ended", func() bool { return k.server.Live() == 0 })
	}
}

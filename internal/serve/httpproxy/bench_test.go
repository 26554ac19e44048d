package httpproxy

import (
	"net"
	"strings"
	"testing"
)

// BenchmarkProxyGet is the whole way of a small GET over kept connections: client → proxy → member and back, on loopback sockets, with
// metrics, retries and breakers on. The client and the member are as cheap as can be, and in the same process.
func BenchmarkProxyGet(b *testing.B) {
	body := strings.Repeat("x", 1024)
	response := []byte("HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" + body)
	m := newBackend(b, func(_ *backend, w *wire) {
		buf := make([]byte, 4096)
		for {
			if _, err := w.Conn.Read(buf); err != nil {
				return
			}
			if _, err := w.Conn.Write(response); err != nil {
				return
			}
		}
	})
	k := start(b, oneService, m.addr)
	request := []byte("GET /index.html HTTP/1.1\r\nHost: example.org\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", k.addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		buf := make([]byte, 8192)
		for pb.Next() {
			if _, err := c.Write(request); err != nil {
				b.Error(err)
				return
			}
			got := 0
			for got < len(response) {
				n, err := c.Read(buf)
				if err != nil {
					b.Error(err)
					return
				}
				got += n
			}
		}
	})
}

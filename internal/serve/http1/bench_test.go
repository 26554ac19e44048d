package http1

import (
	"strings"
	"testing"
)

var heads = []struct{ name, head string }{
	{"wrk", "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"},
	{"curl", "GET /index.html HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"},
	{"browser", "GET /shop/items?category=tea&page=2 HTTP/1.1\r\nHost: shop.example.org\r\nConnection: keep-alive\r\n" +
		"Cache-Control: max-age=0\r\nsec-ch-ua: \"Chromium\";v=\"126\", \"Not/A)Brand\";v=\"8\"\r\nsec-ch-ua-mobile: ?0\r\n" +
		"sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
		"Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes\r\n\r\n"},
	{"long", "GET /" + strings.Repeat("path/", 100) + " HTTP/1.1\r\nHost: a\r\nCookie: " + strings.Repeat("k=0123456789abcdef; ", 300) + "k=v\r\n\r\n"},
}

func BenchmarkRequestParse(b *testing.B) {
	for _, h := range heads {
		b.Run(h.name, func(b *testing.B) {
			buf, r := []byte(h.head), new(Request)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				if n, err := r.Parse(buf, Limits{}); n != len(buf) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func BenchmarkRequestParseAndForward(b *testing.B) {
	for _, h := range heads {
		b.Run(h.name, func(b *testing.B) {
			buf, r, out := []byte(h.head), new(Request), make([]byte, 0, 16<<10)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				if n, err := r.Parse(buf, Limits{}); n != len(buf) || err != nil {
					b.Fatal(n, err)
				}
				out = r.AppendHead(out[:0])
				out = AppendField(out, "X-Forwarded-For", "192.0.2.1")
				out = append(out, '\r', '\n')
			}
		})
	}
}

func BenchmarkResponseParse(b *testing.B) {
	buf := []byte("HTTP/1.1 200 OK\r\nServer: nginx/1.26.0\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: text/html\r\n" +
		"Content-Length: 1024\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nConnection: keep-alive\r\nETag: \"6592aa00-400\"\r\nAccept-Ranges: bytes\r\n\r\n")
	r := new(Response)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := r.Parse(buf, Limits{}, GET); n != len(buf) || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkChunked(b *testing.B) {
	body := []byte(strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 16) + LastChunk)
	c := new(Chunked)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		c.Reset()
		for rest, done := body, false; !done; {
			var n int
			var err error
			if _, n, done, err = c.Next(rest); err != nil || n == 0 {
				b.Fatal(n, err)
			}
			rest = rest[n:]
		}
	}
}

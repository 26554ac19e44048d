package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// socketPair is a connection of 127.0.0.1 with itself.
func socketPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

func v2(command, family byte, payload ...byte) string {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20|command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	return string(append(b, payload...))
}

var v4addrs = []byte{192, 0, 2, 1, 198, 51, 100, 2, 0x1f, 0x90, 0, 80}

func TestProxyHeaderIn(t *testing.T) {
	ip6 := append(netip.MustParseAddr("2001:db8::1").AsSlice(), netip.MustParseAddr("2001:db8::2").AsSlice()...)
	long := bytes.Repeat([]byte{0xee, 0, 100}, 1)
	long = append(long, make([]byte, 100)...)
	const self = "self"
	cases := map[string]struct{ in, src, dst string }{
		"v1 tcp4":         {"PROXY TCP4 192.0.2.1 198.51.100.2 8080 80\r\n", "192.0.2.1:8080", "198.51.100.2:80"},
		"v1 tcp6":         {"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", "[2001:db8::1]:1", "[2001:db8::2]:65535"},
		"v1 unknown":      {"PROXY UNKNOWN\r\n", self, ""},
		"v1 unknown long": {"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", self, ""},
		"v2 tcp4":         {v2(1, 0x11, v4addrs...), "192.0.2.1:8080", "198.51.100.2:80"},
		"v2 tcp4 tlv":     {v2(1, 0x11, append(bytes.Clone(v4addrs), long...)...), "192.0.2.1:8080", "198.51.100.2:80"},
		"v2 tcp6":         {v2(1, 0x21, append(bytes.Clone(ip6), 0, 1, 0, 2)...), "[2001:db8::1]:1", "[2001:db8::2]:2"},
		"v2 local":        {v2(0, 0), self, ""},
		"v2 local v4":     {v2(0, 0x11, v4addrs...), self, ""},
		"v2 unix":         {v2(1, 0x31, make([]byte, 216)...), self, ""},
	}
	for name, c := range cases {
		for _, pieces := range []int{1 << 20, 1, 7} {
			t.Run(name, func(t *testing.T) {
				client, server := socketPair(t)
				go func() {
					in := []byte(c.in + "hello")
					for len(in) > 0 {
						n := min(pieces, len(in))
						if _, err := client.Write(in[:n]); err != nil {
							return
						}
						in = in[n:]
					}
				}()
				p, err := NewProxyIn([]string{"127.0.0.0/8"}, 0)
				if err != nil {
					t.Fatal(err)
				}
				h, err := p.Read(t.Context(), server)
				if err != nil {
					t.Fatal(err)
				}
				c := c
				if c.src == self {
					c.src, c.dst = server.RemoteAddr().String(), server.LocalAddr().String()
				}
				if h.Source.String() != c.src || h.Destination.String() != c.dst {
					t.Errorf("read %s to %s, want %s to %s", h.Source, h.Destination, c.src, c.dst)
				}
				rest := make([]byte, 5)
				if _, err := io.ReadFull(server, rest); err != nil || string(rest) != "hello" {
					t.Errorf("after the header: %q %v", rest, err)
				}
			})
		}
	}
}

func TestProxyHeaderRefused(t *testing.T) {
	for name, in := range map[string]string{
		"none":              "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"v1 bad port":       "PROXY TCP4 192.0.2.1 198.51.100.2 80800 80\r\n",
		"v1 zero port":      "PROXY TCP4 192.0.2.1 198.51.100.2 080 80\r\n",
		"v1 wrong family":   "PROXY TCP4 2001:db8::1 198.51.100.2 80 80\r\n",
		"v1 bare lf":        "PROXY TCP4 192.0.2.1 198.51.100.2 80 80\n",
		"v1 endless":        "PROXY UNKNOWN " + strings.Repeat("x", 200),
		"v1 udp":            "PROXY UDP4 192.0.2.1 198.51.100.2 80 80\r\n",
		"v2 version 3":      "\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x00",
		"v2 short":          v2(1, 0x11, 1, 2, 3),
		"v2 udp":            v2(1, 0x12, v4addrs...),
		"v2 unspec proxy":   v2(1, 0),
		"v2 too long":       v2(1, 0x11, make([]byte, maxV2+1)...),
		"closed in between": "PROXY TCP4 192.0.2.1 ",
		"closed at once":    "",
	} {
		t.Run(name, func(t *testing.T) {
			client, server := socketPair(t)
			if _, err := io.WriteString(client, in); err != nil {
				t.Fatal(err)
			}
			client.Close()
			p, _ := NewProxyIn([]string{"127.0.0.1"}, 0)
			if _, _, err := p.Accept(t.Context(), server); !errors.Is(err, ErrProxyHeader) || Reason(err) != "proxy_header" {
				t.Errorf("Accept = %v", err)
			}
		})
	}
}

func TestProxyTrustTimeoutAndCancel(t *testing.T) {
	client, server := socketPair(t)
	if _, err := io.WriteString(client, "PROXY TCP4 192.0.2.1 "); err != nil {
		t.Fatal(err)
	}
	stranger, _ := NewProxyIn([]string{"10.0.0.0/8", "::1"}, 0)
	if _, _, err := stranger.Accept(t.Context(), server); !errors.Is(err, ErrProxyUntrusted) {
		t.Errorf("from an address not trusted: %v", err)
	}
	for _, off := range []*ProxyIn{nil, {}} {
		if c, client, err := off.Accept(t.Context(), server); err != nil || c != server || client != AddrPort(server.RemoteAddr()) {
			t.Errorf("turned off: %v %v", client, err)
		}
	}
	slow, _ := NewProxyIn([]string{"127.0.0.1"}, 10*time.Millisecond)
	if _, _, err := slow.Accept(t.Context(), server); !errors.Is(err, ErrProxyTimeout) || Reason(err) != "proxy_timeout" {
		t.Errorf("half a header: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	patient, _ := NewProxyIn([]string{"127.0.0.1"}, 0)
	if _, _, err := patient.Accept(ctx, server); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if _, err := NewProxyIn([]string{"10.0.0.0/33"}, 0); err == nil {
		t.Error("a bad network was taken")
	}
}

func TestProxyHeaderOut(t *testing.T) {
	ap := netip.MustParseAddrPort
	for _, c := range []struct {
		version  string
		src, dst netip.AddrPort
		want     string
	}{
		{"v1", ap("192.0.2.1:8080"), ap("198.51.100.2:80"), "PROXY TCP4 192.0.2.1 198.51.100.2 8080 80\r\n"},
		{"v1", ap("[2001:db8::1]:1"), ap("198.51.100.2:80"), "PROXY TCP6 2001:db8::1 ::ffff:198.51.100.2 1 80\r\n"},
		{"v1", ap("[fe80::1%eth0]:1"), ap("[fe80::2%eth0]:80"), "PROXY TCP6 fe80::1 fe80::2 1 80\r\n"},
		{"v1", netip.AddrPort{}, ap("198.51.100.2:80"), "PROXY UNKNOWN\r\n"},
		{"v2", ap("192.0.2.1:8080"), ap("198.51.100.2:80"), v2(1, 0x11, v4addrs...)},
		{"v2", netip.AddrPort{}, netip.AddrPort{}, v2(0, 0)},
	} {
		var b bytes.Buffer
		if err := WriteProxyHeader(&b, c.version, c.src, c.dst); err != nil || b.String() != c.want {
			t.Errorf("%s %s: %q %v, want %q", c.version, c.src, b.String(), err, c.want)
		}
	}
	if err := WriteProxyHeader(io.Discard, "v3", netip.AddrPort{}, netip.AddrPort{}); err == nil {
		t.Error("v3 was written")
	}
}

// scripted is a connection that only reads, in pieces, and knows how far.
type scripted struct {
	net.Conn
	in    []byte
	taken int
	piece int
}

func (s *scripted) Read(b []byte) (int, error) {
	n := copy(b[:min(len(b), s.piece)], s.in[s.taken:])
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	s.taken += n
	return n, nil
}

// FuzzProxyHeader: what is accepted announces the same addresses when it is written again, in both versions, and nothing
// after the header is touched.
func FuzzProxyHeader(f *testing.F) {
	for _, seed := range []string{
		"PROXY TCP4 192.0.2.1 198.51.100.2 8080 80\r\nGET /", "PROXY TCP6 2001:db8::1 ::ffff:1.2.3.4 1 2\r\n", "PROXY UNKNOWN x y\r\n",
		v2(1, 0x11, v4addrs...) + "rest", v2(0, 0), v2(0, 0x11, 1, 2), v2(1, 0x21, make([]byte, 40)...), v2(1, 0x31, make([]byte, 216)...),
		"PROXY  TCP4", "\r\n\r\n\x00\r\nQUIT\n",
	} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, piece uint8) {
		conn := &scripted{in: in, piece: int(piece) + 1}
		h, err := readProxyHeader(conn)
		if err != nil {
			return
		}
		head := in[:conn.taken]
		switch {
		case h.Version == 1 && (bytes.IndexByte(head, '\n') != len(head)-1 || len(head) > maxV1):
			t.Fatalf("v1: took %q", head)
		case h.Version == 2 && len(head) != v2Head+int(binary.BigEndian.Uint16(head[14:])):
			t.Fatalf("v2: took %d bytes of %q", len(head), in)
		}
		for _, version := range []string{"v1", "v2"} {
			var out bytes.Buffer
			if err := WriteProxyHeader(&out, version, h.Source, h.Destination); err != nil {
				t.Fatalf("write %+v: %v", h, err)
			}
			again, err := readProxyHeader(&scripted{in: out.Bytes(), piece: 1 << 16})
			if err != nil || again.Source != h.Source || again.Destination != h.Destination {
				t.Fatalf("%s: %+v became %+v (%v)", version, h, again, err)
			}
		}
	})
}

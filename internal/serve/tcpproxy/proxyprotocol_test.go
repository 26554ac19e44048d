package tcpproxy

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
)

// announced is a member that tells who was announced to it, then echoes.
func announced(t testing.TB) string {
	return member(t, func(c *net.TCPConn) {
		r := bufio.NewReader(c)
		h, err := proxyproto.Read(r)
		if err != nil {
			_, _ = io.WriteString(c, "no header: "+err.Error()+"\n")
			return
		}
		said := "nobody"
		if src, dst, ok := h.TCPAddrs(); ok {
			said = src.String() + " to " + dst.String()
		}
		_, _ = io.WriteString(c, said+"\n")
		_, _ = io.Copy(c, r)
	})
}

func TestProxyProtocolOut(t *testing.T) {
	for _, version := range []string{"v1", "v2"} {
		k := start(t, one("", "proxy_protocol: "+version, announced(t)))
		c := k.dial()
		r := bufio.NewReader(c)
		line, err := r.ReadString('\n')
		if want := c.LocalAddr().String() + " to " + c.RemoteAddr().String() + "\n"; line != want || err != nil {
			t.Errorf("%s announced %q (%v), want %q", version, line, err, want)
		}
		_, _ = io.WriteString(c, "after")
		if got := read(t, r, 5); got != "after" {
			t.Errorf("%s: read %q", version, got)
		}
	}
}

func TestProxyProtocolThrough(t *testing.T) {
	k := start(t, one(", proxy_protocol: [127.0.0.0/8]", "proxy_protocol: v2", announced(t)))
	for header, want := range map[string]string{
		"PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n":                                         "192.0.2.1:1000 to 198.51.100.2:443\n",
		"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x02\x03\xe8\x01\xbb": "192.0.2.7:1000 to 198.51.100.2:443\n",
	} {
		c := k.dial()
		_, _ = io.WriteString(c, header+"after")
		r := bufio.NewReader(c)
		if line, err := r.ReadString('\n'); line != want || err != nil {
			t.Errorf("announced %q (%v), want %q", line, err, want)
		}
		if got := read(t, r, 5); got != "after" {
			t.Errorf("read %q", got)
		}
	}
	c := k.dial()
	_, _ = io.WriteString(c, "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00")
	if line, _ := bufio.NewReader(c).ReadString('\n'); !strings.HasPrefix(line, c.LocalAddr().String()+" to ") {
		t.Errorf("LOCAL announced %q", line)
	}
}

func TestProxyProtocolRefused(t *testing.T) {
	for name, c := range map[string]struct{ trust, send string }{
		"untrusted": {"192.0.2.0/24", "PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n"},
		"missing":   {"127.0.0.1", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		"late":      {"127.0.0.1", "PROXY"},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, one(", timeout: {head: 50ms}, proxy_protocol: ['"+c.trust+"']", "", member(t, says("never"))))
			k.refused(c.send)
			eventually(t, "it is counted", func() bool { return k.counter("backstay_listener_refused_total", "in", "proxy_protocol") == 1 })
		})
	}
}

// TestBulkAfterAHeaderIsSpliced: the header takes nothing that follows, so nothing stands between the sockets.
func TestBulkAfterAHeaderIsSpliced(t *testing.T) {
	k := start(t, one(", proxy_protocol: [127.0.0.1]", "", member(t, echo)))
	c := k.dial()
	go func() {
		_, _ = io.WriteString(c, "PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n")
		_, _ = io.Copy(c, stream(1, 16<<20))
		_ = c.CloseWrite()
	}()
	n, digest, err := sum(c)
	if _, want, _ := sum(stream(1, 16<<20)); n != 16<<20 || digest != want || err != nil {
		t.Errorf("read %d bytes (%v), right: %v", n, err, digest == want)
	}
	if k.server.spliced.Load() < 8<<20 {
		t.Errorf("only %d bytes were spliced", k.server.spliced.Load())
	}
}

package tcpproxy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// authority issues certificates for tests.
type authority struct {
	t    testing.TB
	dir  string
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.file = filepath.Join(a.dir, "ca.pem")
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) write(name, kind string, der []byte) {
	if err := os.WriteFile(filepath.Join(a.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// issue makes a certificate, and writes it to NAME.pem and NAME.key.
func (a *authority) issue(name string) tls.Certificate {
	a.t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", "CERTIFICATE", der)
	a.write(name+".key", "PRIVATE KEY", raw)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// listenerTLS is the configuration of a listener that ends TLS with the certificate for name.
func (a *authority) listenerTLS(name, more string) string {
	a.issue(name)
	return fmt.Sprintf(", tls: {certificates: [{cert: '%s/%s.pem', key: '%s/%s.key'}]%s}", a.dir, name, a.dir, name, more)
}

func TestTLSEndsHere(t *testing.T) {
	a := newAuthority(t)
	k := start(t, one(a.listenerTLS("front.test", ""), "", member(t, echo)))
	c := tls.Client(k.dial(), &tls.Config{RootCAs: a.pool(), ServerName: "front.test"})
	go func() {
		_, _ = io.Copy(c, stream(1, 4<<20))
		_ = c.CloseWrite() // a half-close inside TLS
	}()
	n, digest, err := sum(c)
	if _, want, _ := sum(stream(1, 4<<20)); n != 4<<20 || digest != want || err != nil {
		t.Errorf("read %d bytes (%v), right: %v", n, err, digest == want)
	}
	plain := k.dial()
	_, _ = io.WriteString(plain, "GET / HTTP/1.1\r\n\r\n")
	_, _ = io.ReadAll(plain)
	eventually(t, "the refusal is counted", func() bool { return k.counter("backstay_listener_refused_total", "in", "tls") == 1 })
}

func TestClientCertificates(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	k := start(t, one(a.listenerTLS("front.test", ", client_ca: '"+a.file+"', client_auth: require"), "", member(t, says("hello"))))
	for name, c := range map[string]struct {
		cert tls.Certificate
		ok   bool
	}{"good": {a.issue("client"), true}, "strange": {stranger.issue("client"), false}, "none": {tls.Certificate{}, false}} {
		cfg := &tls.Config{RootCAs: a.pool(), ServerName: "front.test"}
		if c.cert.Certificate != nil {
			cfg.Certificates = []tls.Certificate{c.cert}
		}
		got := make([]byte, 5)
		_, err := io.ReadFull(tls.Client(k.dial(), cfg), got)
		if (err == nil) != c.ok {
			t.Errorf("%s: %q %v", name, got, err)
		}
		var alert tls.AlertError
		if !c.ok && !errors.As(err, &alert) && !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: the client was not told why: %v", name, err)
		}
	}
}

func TestSlowHandshakesEnd(t *testing.T) {
	a := newAuthority(t)
	k := start(t, one(a.listenerTLS("front.test", "")+", timeout: {head: 50ms}", "", member(t, says("never"))))
	for _, sent := range []string{"", "\x16\x03\x01"} {
		c := k.dial()
		_, _ = io.WriteString(c, sent)
		if got, _ := io.ReadAll(c); len(got) > 0 {
			t.Errorf("read %q", got)
		}
	}
	eventually(t, "both are counted", func() bool { return k.counter("backstay_listener_refused_total", "in", "timeout") == 2 })
}

const sniServices = `
listeners:
  - name: in
    listen: 127.0.0.1:1
    timeout: {head: %s}
    sni:
      - {names: [a.test], service: a}
      - {names: ["*.b.test"], service: b}
services:
`

func TestPassThroughByName(t *testing.T) {
	certs := newAuthority(t)
	services := ""
	for _, name := range []string{"a", "b"} {
		ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certs.issue(map[string]string{"a": "a.test", "b": "x.b.test"}[name])}})
		if err != nil {
			t.Fatal(err)
		}
		accept(t, ln, func(c net.Conn) { _, _ = io.Copy(c, c) })
		services += fmt.Sprintf("  - {name: %s, members: [{address: '%s'}]}\n", name, ln.Addr())
	}
	k := start(t, fmt.Sprintf(sniServices, "10m")+services)
	for _, piece := range []int{1 << 20, 1, 100} {
		for _, name := range []string{"a.test", "x.b.test"} {
			conn := k.dial()
			c := tls.Client(pieces{conn, piece}, &tls.Config{RootCAs: certs.pool(), ServerName: name})
			if got := ask(t, c, "through"); got != "through" { // the member's certificate is for the name: it came to the right one
				t.Errorf("read %q", got)
			}
		}
	}
	if err := tls.Client(k.dial(), &tls.Config{ServerName: "c.test", InsecureSkipVerify: true}).Handshake(); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("a name without a service: %v", err)
	}
	plain := k.dial()
	_, _ = io.WriteString(plain, "SSH-2.0-x\r\n")
	_, _ = io.ReadAll(plain)
	for _, why := range []string{"no_route", "bad_request"} {
		eventually(t, why+" is counted", func() bool { return k.counter("backstay_listener_refused_total", "in", why) == 1 })
	}
	hasty := start(t, fmt.Sprintf(sniServices, "100ms")+services)
	slow := hasty.dial()
	_, _ = slow.Write([]byte{22, 3, 1})
	_, _ = io.ReadAll(slow) // silence ends with the timeout
	eventually(t, "the timeout is counted", func() bool { return hasty.counter("backstay_listener_refused_total", "in", "timeout") == 1 })
}

// pieces writes a few bytes at a time.
type pieces struct {
	net.Conn
	size int
}

func (p pieces) Write(b []byte) (int, error) {
	for i := 0; i < len(b); i += p.size {
		if n, err := p.Conn.Write(b[i:min(i+p.size, len(b))]); err != nil {
			return i + n, err
		}
	}
	return len(b), nil
}

// hello is the first message of Go's own client, in records of at most the given size.
func hello(t testing.TB, name string, record int) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	go func() {
		_ = tls.Client(b, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
		b.Close()
	}()
	head := make([]byte, 5)
	if _, err := io.ReadFull(a, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(a, body); err != nil {
		t.Fatal(err)
	}
	var out []byte
	for len(body) > 0 {
		n := min(record, len(body))
		out = append(append(out, 22, 3, 1, byte(n>>8), byte(n)), body[:n]...)
		body = body[n:]
	}
	return out
}

func TestReadHello(t *testing.T) {
	long := strings.Repeat("a.", 100) + "test"
	for _, name := range []string{"a.test", long, ""} {
		for _, record := range []int{1 << 14, 50, 1} {
			raw := append(hello(t, name, record), "what follows"...)
			for _, r := range []io.Reader{bytes.NewReader(raw), iotest.OneByteReader(bytes.NewReader(raw))} {
				got, read, err := readHello(r)
				if got != name || err != nil || !bytes.HasPrefix(raw, read) {
					t.Errorf("records of %d: %q, %v", record, got, err)
				}
			}
		}
	}
	for want, in := range map[error][]byte{
		errNotTLS:           []byte("GET / HTTP/1.1\r\n\r\n"),
		errHelloSize:        {22, 3, 1, 0, 4, 1, 1, 0, 0},
		errHello:            {22, 3, 1, 0, 6, 1, 0, 0, 2, 3, 3},
		io.ErrUnexpectedEOF: {22, 3, 1, 0, 100, 1, 0},
	} {
		if _, _, err := readHello(bytes.NewReader(in)); !errors.Is(err, want) {
			t.Errorf("%v: got %v, want %v", in, err, want)
		}
	}
	if _, _, err := readHello(bytes.NewReader([]byte{22, 3, 1, 0, 1, 2})); !errors.Is(err, errNotTLS) {
		t.Errorf("a ServerHello: %v", err)
	}
}

func FuzzHello(f *testing.F) {
	f.Add(hello(f, "a.test", 1<<14))
	f.Add(hello(f, "b.test", 9))
	f.Add([]byte{22, 3, 1, 0, 6, 1, 0, 0, 2, 3, 3})
	f.Fuzz(func(t *testing.T, in []byte) {
		name, read, err := readHello(bytes.NewReader(in))
		if !bytes.HasPrefix(in, read) || len(read) > maxHello {
			t.Fatalf("read %d bytes of %d that are not the first", len(read), len(in))
		}
		if err != nil {
			return
		}
		again, same, err := readHello(iotest.OneByteReader(bytes.NewReader(append(bytes.Clone(read), "more"...))))
		if again != name || err != nil || !bytes.Equal(same, read) {
			t.Fatalf("%q at once, %q in pieces (%v)", name, again, err)
		}
	})
}

package httpproxy

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate makes a self-signed certificate for localhost and 127.0.0.1 and returns its files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func dialTLS(t *testing.T, addr string) *wire {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return &wire{Conn: c, t: t, r: bufio.NewReader(c)}
}

// TestTLSBothSides: TLS to clients and, verified, to members, through the same driver.
func TestTLSBothSides(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
    tls: {ca: %q}
listeners:
  - listen: 127.0.0.1:0
    tls: {certificates: [{cert: %q, key: %q}]}
    timeout: {idle: %s}
    routes: [{service: web}]
`
	cert, key := certificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	b := newBackend(t, func(b *backend, w *wire) {
		c := tls.Server(w.Conn, &tls.Config{Certificates: []tls.Certificate{pair}})
		headEcho(b, &wire{Conn: c, t: t, r: bufio.NewReader(c)})
	})
	k := start(t, yaml, b.addr, cert, cert, key, "10m")
	w := dialTLS(t, k.addr)
	for range 3 {
		w.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n")
		w.send(strings.Repeat("x", 40000))
		head := w.head()
		if !strings.HasPrefix(head, "HTTP/1.1 200 ") {
			t.Fatalf("got %q", head)
		}
		if body, _ := readBody(w, head); !strings.Contains(string(body), "X-Forwarded-Proto: https\r\n") {
			t.Errorf("the member is not told of https: %s", body)
		}
	}
	if n := b.conns.Load(); n != 1 {
		t.Errorf("%d connections to the member, want 1 kept", n)
	}
	k.load(yaml, b.addr, cert, cert, key, "400ms") // for what follows the next answer
	if _, err := readBody(w, w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head()); err != nil {
		t.Error(err)
	}
	if rest := w.rest(); rest != "" { // by the idle timeout, in an orderly way
		t.Errorf("got %q", rest)
	}
}

func TestMemberWithAnotherCertificate(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
    tls: {ca: %q, name: elsewhere.example.org}
    retry: 1
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`
	cert, key := certificate(t)
	pair, _ := tls.LoadX509KeyPair(cert, key)
	b := newBackend(t, func(b *backend, w *wire) {
		c := tls.Server(w.Conn, &tls.Config{Certificates: []tls.Certificate{pair}})
		headEcho(b, &wire{Conn: c, t: t, r: bufio.NewReader(c)})
	})
	k := start(t, yaml, b.addr, cert)
	if head := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head(); !strings.HasPrefix(head, "HTTP/1.1 502 ") {
		t.Errorf("got %q", head)
	}
	if n := b.heads.Load(); n != 0 {
		t.Error("a request was sent to a member that could not prove who it is")
	}
}

// TestProxyProtocol: the client is announced to us, and by us.
func TestProxyProtocol(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
    proxy_protocol: v1
listeners:
  - listen: 127.0.0.1:0
    proxy_protocol: [127.0.0.0/8]
    routes: [{service: web}]
`
	b := newBackend(t, func(b *backend, w *wire) {
		line, err := w.r.ReadString('\n')
		if err != nil {
			return
		}
		head, ok := b.request(w)
		if ok {
			_, _ = io.WriteString(w.Conn, "HTTP/1.1 200 OK\r\nContent-Length: "+itoa(len(line+head))+"\r\n\r\n"+line+head)
		}
	})
	k := start(t, yaml, b.addr)
	w := k.dial().send("PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r\n")
	for range 2 {
		w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		body, err := readBody(w, w.head())
		if err != nil {
			t.Fatal(err)
		}
		if got := string(body); !strings.HasPrefix(got, "PROXY TCP4 192.0.2.7 ") || !strings.Contains(got, "X-Forwarded-For: 192.0.2.7\r\n") {
			t.Errorf("the member saw %q", got)
		}
	}
	bare := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if got, _ := io.ReadAll(bare.r); len(got) > 0 {
		t.Errorf("without the header that is due came %q", got)
	}
}

func itoa(n int) string { return big.NewInt(int64(n)).String() }

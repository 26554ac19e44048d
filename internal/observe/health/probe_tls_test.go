package health

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/backstay/backstay/internal/base/config"
)

// identityFiles writes a self-signed certificate, which is its own authority.
func identityFiles(t *testing.T, dir, name string, expires time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: expires.Add(-24 * time.Hour), NotAfter: expires, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func serverTLS(t *testing.T, cert, key string) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

func httpsServer(t *testing.T, conf *tls.Config, http2 bool) (address string) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS, server.EnableHTTP2 = conf, http2
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestHTTPSProbe(t *testing.T) {
	dir := t.TempDir()
	cert, key := identityFiles(t, dir, "shop.example", time.Now().Add(time.Hour))
	stranger, strangerKey := identityFiles(t, dir, "stranger.example", time.Now().Add(time.Hour))
	old, oldKey := identityFiles(t, dir, "old.example", time.Now().Add(-time.Hour))
	address := httpsServer(t, serverTLS(t, cert, key), true)
	expired := httpsServer(t, serverTLS(t, old, oldKey), false)
	mutual := serverTLS(t, cert, key)
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	strangerPEM, _ := os.ReadFile(stranger)
	mutual.ClientCAs.AppendCertsFromPEM(strangerPEM)
	asks := httpsServer(t, mutual, false)
	plain := serve(t, "tcp", "127.0.0.1:0", func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n"); hang(c) })

	for _, c := range []struct {
		name, address string
		tls           config.MemberTLS
		protocol      string
		body          string
		want          string
	}{
		{"good", address, config.MemberTLS{CA: cert, Name: "shop.example"}, "http1", "HTTP/1.1", ""},
		{"http2", address, config.MemberTLS{CA: cert, Name: "shop.example", MinVersion: "1.3"}, "http2", "HTTP/2.0", ""},
		{"other authority", address, config.MemberTLS{CA: stranger, Name: "shop.example"}, "", "", "the certificate is from an unknown authority"},
		{"system's authorities", address, config.MemberTLS{Name: "shop.example"}, "", "", "the certificate is from an unknown authority"},
		{"other name", address, config.MemberTLS{CA: cert, Name: "blog.example"}, "", "", "the certificate is not for blog.example"},
		{"name of the address", address, config.MemberTLS{CA: cert}, "", "", "the certificate is not for 127.0.0.1"},
		{"unchecked", address, config.MemberTLS{Insecure: true}, "", "", ""},
		{"expired", expired, config.MemberTLS{CA: old, Name: "old.example"}, "", "", "the certificate has expired or is not valid yet"},
		{"own certificate", asks, config.MemberTLS{CA: cert, Name: "shop.example", Cert: stranger, Key: strangerKey}, "", "", ""},
		{"own certificate is missing", asks, config.MemberTLS{CA: cert, Name: "shop.example"}, "", "", "TLS refused by the member: "},
		{"no such CA", address, config.MemberTLS{CA: "/nowhere.pem"}, "", "", "the check's CA cannot be read"},
		{"no CA in the file", address, config.MemberTLS{CA: key}, "", "", "the check's CA is wrong: no certificate in "},
		{"no such key", address, config.MemberTLS{Cert: cert, Key: "/nowhere"}, "", "", "the check's own certificate cannot be used"},
		{"no TLS there", plain, config.MemberTLS{Insecure: true}, "", "", "the answer is not TLS"},
	} {
		target := Target{Address: c.address, Protocol: c.protocol, TLS: &c.tls, Check: config.Check{
			HTTP: &config.HTTPCheck{Body: c.body}, Timeout: config.Duration(time.Minute)}}
		expect(t, c.name+", service's TLS", NewProber().Probe(t.Context(), target), c.want)
		target.Check.HTTP.TLS, target.TLS = &c.tls, &config.MemberTLS{Name: "not.asked"}
		expect(t, c.name+", check's TLS", NewProber().Probe(t.Context(), target), c.want)
	}
	named := Target{Address: address, Host: "shop.example", TLS: &config.MemberTLS{CA: cert}, Check: config.Check{HTTP: &config.HTTPCheck{}}}
	expect(t, "name that was looked up", NewProber().Probe(t.Context(), named), "")
}

func TestChangedCertificateFilesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	cert, key := identityFiles(t, dir, "shop.example", time.Now().Add(time.Hour))
	address := httpsServer(t, serverTLS(t, cert, key), false)
	authority := filepath.Join(dir, "ca.pem")
	stranger, _ := identityFiles(t, dir, "stranger.example", time.Now().Add(time.Hour))
	put := func(from string, age time.Duration) {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(authority, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if at := time.Now().Add(-age); os.Chtimes(authority, at, at) != nil {
			t.Fatal("cannot date the file")
		}
	}
	p := NewProber()
	target := Target{Address: address, TLS: &config.MemberTLS{CA: authority, Name: "shop.example"}, Check: config.Check{HTTP: &config.HTTPCheck{}}}
	put(stranger, time.Hour)
	expect(t, "before", p.Probe(t.Context(), target), "the certificate is from an unknown authority")
	put(cert, 0)
	expect(t, "after", p.Probe(t.Context(), target), "")
}

func TestHTTP2WithPriorKnowledge(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	target := Target{Address: server.Listener.Addr().String(), Protocol: "http2", Check: config.Check{HTTP: &config.HTTPCheck{Body: `HTTP/2\.0`}}}
	expect(t, "http2", NewProber().Probe(t.Context(), target), "")
}

func TestGRPCProbe(t *testing.T) {
	dir := t.TempDir()
	cert, key := identityFiles(t, dir, "shop.example", time.Now().Add(time.Hour))
	start := func(o ...grpc.ServerOption) (*health.Server, string) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server, state := grpc.NewServer(o...), health.NewServer()
		grpc_health_v1.RegisterHealthServer(server, state)
		go server.Serve(l)
		t.Cleanup(server.Stop)
		return state, l.Addr().String()
	}
	state, open := start()
	state.SetServingStatus("cart", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	_, closed := start(grpc.Creds(credentials.NewTLS(serverTLS(t, cert, key))))
	bare := grpc.NewServer()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go bare.Serve(l)
	t.Cleanup(bare.Stop)
	trusted := &config.MemberTLS{CA: cert, Name: "shop.example"}

	for _, c := range []struct {
		name, address string
		grpc          config.GRPCCheck
		tls           *config.MemberTLS
		want          string
	}{
		{"serving", open, config.GRPCCheck{}, nil, ""},
		{"not serving", open, config.GRPCCheck{Service: "cart"}, nil, "status NOT_SERVING"},
		{"unknown", open, config.GRPCCheck{Service: "none"}, nil, `the member knows no service "none"`},
		{"not offered", l.Addr().String(), config.GRPCCheck{}, nil, "the member does not offer grpc.health.v1"},
		{"nobody", dead(t), config.GRPCCheck{}, nil, "connection refused"},
		{"TLS of the service", closed, config.GRPCCheck{}, trusted, ""},
		{"TLS of the check", closed, config.GRPCCheck{TLS: trusted}, &config.MemberTLS{}, ""},
		{"other name", closed, config.GRPCCheck{TLS: &config.MemberTLS{CA: cert, Name: "blog.example"}}, nil, "the certificate is not for blog.example"},
		{"no TLS there", open, config.GRPCCheck{}, trusted, "the answer is not TLS"},
		{"hangs", serve(t, "tcp", "127.0.0.1:0", hang), config.GRPCCheck{}, nil, "timed out after 100ms"},
	} {
		limit := time.Minute
		if c.name == "hangs" {
			limit = 100 * time.Millisecond
		}
		target := Target{Address: c.address, TLS: c.tls, Check: config.Check{GRPC: &c.grpc, Timeout: config.Duration(limit)}}
		expect(t, c.name, NewProber().Probe(t.Context(), target), c.want)
	}
	path := filepath.Join(dir, "s")
	unix, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go server.Serve(unix)
	t.Cleanup(server.Stop)
	expect(t, "unix", probe(t, "unix:"+path, config.Check{GRPC: &config.GRPCCheck{}}), "")
}

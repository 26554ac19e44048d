package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

// issuer signs certificates for tests.
type issuer struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(100 * 365 * 24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, dir: t.TempDir(), cert: cert, key: key}
	i.write("ca.pem", "CERTIFICATE", der)
	return i
}

func (i *issuer) write(name, kind string, der []byte) string {
	i.t.Helper()
	path := filepath.Join(i.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		i.t.Fatal(err)
	}
	return path
}

func (i *issuer) ca() string { return filepath.Join(i.dir, "ca.pem") }

// issue writes a certificate for names to FILE.pem and FILE.key.
func (i *issuer) issue(file string, useRSA bool, expires time.Time, names ...string) config.Certificate {
	i.t.Helper()
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: time.Unix(0, 0), NotAfter: expires,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	var public, private any
	if useRSA {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			i.t.Fatal(err)
		}
		public, private = &k.PublicKey, k
	} else {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			i.t.Fatal(err)
		}
		public, private = &k.PublicKey, k
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.cert, public, i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		i.t.Fatal(err)
	}
	return config.Certificate{Cert: i.write(file+".pem", "CERTIFICATE", der), Key: i.write(file+".key", "PRIVATE KEY", raw)}
}

var nextYear = time.Now().Add(365 * 24 * time.Hour).Truncate(time.Second)

// shake shakes hands over a connection and says what the client saw.
func shake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	a, b := socketPair(t)
	done := make(chan error, 1)
	go func() {
		s := tls.Server(b, server)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x")) // carries the session ticket along
		} else {
			b.Close()
		}
		done <- err
	}()
	c := tls.Client(a, client)
	_, err := c.Read(make([]byte, 1))
	if err == nil {
		err = <-done
	} else {
		a.Close()
		<-done
	}
	return c.ConnectionState(), err
}

func TestServerCertificateIsChosenByName(t *testing.T) {
	i := newIssuer(t)
	cfg := &config.ListenerTLS{Certificates: []config.Certificate{
		i.issue("first", false, nextYear, "first.test"),
		i.issue("wild", false, nextYear, "*.wild.test", "wild.test"),
		i.issue("exact", false, nextYear, "exact.wild.test"),
		i.issue("rsa", true, nextYear, "both.test"),
		i.issue("ecdsa", false, nextYear, "both.test"),
	}}
	s, err := ServerTLS(cfg, true)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"first.test": "first.test", "a.wild.test": "*.wild.test", "WILD.test": "*.wild.test", "exact.wild.test": "exact.wild.test",
		"a.b.wild.test": "first.test", "other.test": "first.test", "": "first.test", "both.test": "both.test",
	} {
		state, err := shake(t, s.Config(), &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"http/1.1", "h2"}})
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if got := state.PeerCertificates[0].Subject.CommonName; got != want {
			t.Errorf("%q got the certificate of %q, want %q", name, got, want)
		}
		if state.NegotiatedProtocol != "h2" {
			t.Errorf("ALPN chose %q", state.NegotiatedProtocol)
		}
	}
	ecdsaOnly := &tls.Config{ServerName: "both.test", InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
	if state, err := shake(t, s.Config(), ecdsaOnly); err != nil || state.PeerCertificates[0].PublicKeyAlgorithm != x509.ECDSA {
		t.Errorf("a client that knows no RSA: %v", err)
	}
	infos := s.Certificates()
	if len(infos) != 5 || !infos[0].NotAfter.Equal(nextYear) || infos[1].Names[0] != "*.wild.test" || infos[0].File != cfg.Certificates[0].Cert {
		t.Errorf("Certificates() = %+v", infos)
	}
}

func TestServerAsksForClientCertificates(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	good, bad := i.issue("client", false, nextYear, "client"), other.issue("client", false, nextYear, "client")
	cfg := &config.ListenerTLS{Certificates: []config.Certificate{i.issue("s", false, nextYear, "s.test")}, ClientCA: i.ca(), ClientAuth: "require", MinVersion: "1.3"}
	server := func(auth string) *tls.Config {
		c := *cfg
		c.ClientAuth = auth
		s, err := ServerTLSPlain(&c)
		if err != nil {
			t.Fatal(err)
		}
		return s.Config()
	}
	for _, c := range []struct {
		auth string
		cert config.Certificate
		ok   bool
	}{
		{"require", good, true}, {"require", bad, false}, {"require", config.Certificate{}, false},
		{"optional", good, true}, {"optional", bad, false}, {"optional", config.Certificate{}, true},
		{"none", bad, true}, {"none", config.Certificate{}, true},
	} {
		client, err := ClientTLS(&config.MemberTLS{CA: i.ca(), Cert: c.cert.Cert, Key: c.cert.Key}, "s.test:443", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := shake(t, server(c.auth), client); (err == nil) != c.ok {
			t.Errorf("%s with %q: %v", c.auth, c.cert.Cert, err)
		}
	}
	if _, err := shake(t, server("none"), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 was taken where 1.3 is the oldest")
	}
}

func TestClientChecksTheMember(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	s, err := ServerTLSPlain(&config.ListenerTLS{Certificates: []config.Certificate{i.issue("s", false, nextYear, "s.test")}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg     config.MemberTLS
		address string
		ok      bool
	}{
		"host of the address": {config.MemberTLS{CA: i.ca()}, "s.test:443", true},
		"name":                {config.MemberTLS{CA: i.ca(), Name: "s.test"}, "127.0.0.1:443", true},
		"name on unix":        {config.MemberTLS{CA: i.ca(), Name: "s.test"}, "unix:/run/s", true},
		"wrong name":          {config.MemberTLS{CA: i.ca()}, "127.0.0.1:443", false},
		"wrong authority":     {config.MemberTLS{CA: other.ca(), Name: "s.test"}, "127.0.0.1:443", false},
		"system's":            {config.MemberTLS{Name: "s.test"}, "127.0.0.1:443", false},
		"insecure":            {config.MemberTLS{Insecure: true}, "unix:/run/s", true},
	} {
		client, err := ClientTLS(&c.cfg, c.address, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err = shake(t, s.Config(), client)
		if (err == nil) != c.ok || (!c.ok && Reason(err) != "tls") {
			t.Errorf("%s: %v (%s)", name, err, Reason(err))
		}
	}
	for _, c := range []config.MemberTLS{{}, {CA: "/none"}, {Name: "x", Cert: i.ca()}, {Name: "x", Cert: i.ca(), Key: i.ca()}} {
		if _, err := ClientTLS(&c, "unix:/run/s", nil); err == nil {
			t.Errorf("ClientTLS(%+v) was taken", c)
		}
	}
}

func TestServerTLSErrorsNameTheFile(t *testing.T) {
	i := newIssuer(t)
	a, b := i.issue("a", false, nextYear, "a"), i.issue("b", false, nextYear, "b")
	empty := i.write("empty.pem", "NOTHING", nil)
	for want, cfg := range map[string]config.ListenerTLS{
		"no certificate":  {},
		"/none.pem":       {Certificates: []config.Certificate{{Cert: "/none.pem", Key: a.Key}}},
		"/none.key":       {Certificates: []config.Certificate{{Cert: a.Cert, Key: "/none.key"}}},
		b.Key:             {Certificates: []config.Certificate{{Cert: a.Cert, Key: b.Key}}},
		empty:             {Certificates: []config.Certificate{a}, ClientCA: empty, ClientAuth: "require"},
		"needs client_ca": {Certificates: []config.Certificate{a}, ClientAuth: "require"},
	} {
		if _, err := ServerTLS(&cfg, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

func TestCertificateFilesAreReadAgain(t *testing.T) {
	i := newIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		pair := i.issue("s", false, nextYear, "old.test")
		s, err := ServerTLS(&config.ListenerTLS{Certificates: []config.Certificate{pair}}, false)
		if err != nil {
			t.Fatal(err)
		}
		var told []FileChange
		s.OnChange = func(c FileChange) { told = append(told, c) }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		serves := func(name string) {
			t.Helper()
			time.Sleep(2 * pollEvery)
			synctest.Wait()
			state, err := shake(t, s.Config(), &tls.Config{InsecureSkipVerify: true})
			if err != nil || state.PeerCertificates[0].Subject.CommonName != name {
				t.Fatalf("serves %v (%v), want %s", state.PeerCertificates, err, name)
			}
		}
		serves("old.test")
		if len(told) != 0 {
			t.Errorf("nothing changed, told %+v", told)
		}
		if err := os.WriteFile(pair.Cert, []byte("-----BEGIN CERT"), 0o600); err != nil {
			t.Fatal(err)
		}
		serves("old.test")
		serves("old.test")
		if len(told) != 1 || told[0].Err == nil || !strings.Contains(told[0].Err.Error(), "stays in use") || told[0].File != pair.Cert {
			t.Fatalf("a bad file, told %+v", told)
		}
		later := nextYear.Add(time.Hour)
		i.issue("s", false, later, "new.test")
		serves("new.test")
		if len(told) != 2 || told[1].Err != nil || !told[1].NotAfter.Equal(later) {
			t.Errorf("a good file, told %+v", told)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestSessionsAreResumedAcrossReloads(t *testing.T) {
	i := newIssuer(t)
	cfg := config.ListenerTLS{Certificates: []config.Certificate{i.issue("s", false, nextYear, "s.test")}}
	server := func(cfg config.ListenerTLS, prev *ServerConfig) *ServerConfig {
		s, err := ServerTLS(&cfg, false)
		if err != nil {
			t.Fatal(err)
		}
		s.Inherit(prev)
		return s
	}
	client, err := ClientTLS(&config.MemberTLS{CA: i.ca()}, "s.test:443", nil)
	if err != nil {
		t.Fatal(err)
	}
	first := server(cfg, nil)
	strict := cfg
	strict.ClientCA, strict.ClientAuth = i.ca(), "optional"
	for n, c := range []struct {
		s       *ServerConfig
		resumed bool
	}{{first, false}, {first, true}, {server(cfg, first), true}, {server(strict, first), false}} {
		state, err := shake(t, c.s.Config(), client)
		if err != nil || state.DidResume != c.resumed {
			t.Errorf("%d: resumed %v (%v)", n, state.DidResume, err)
		}
	}
}

func TestOwnCertificateIsReadAgain(t *testing.T) {
	i := newIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		pair := i.issue("c", false, nextYear, "old")
		c, err := ClientTLS(&config.MemberTLS{Name: "x", Cert: pair.Cert, Key: pair.Key}, "m:1", nil)
		if err != nil {
			t.Fatal(err)
		}
		name := func() string {
			cert, err := c.GetClientCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			return cert.Leaf.Subject.CommonName
		}
		i.issue("c", false, nextYear, "new")
		if got := name(); got != "old" {
			t.Errorf("looked again at once: %s", got)
		}
		time.Sleep(pollEvery)
		if got := name(); got != "new" {
			t.Errorf("after a while: %s", got)
		}
	})
}

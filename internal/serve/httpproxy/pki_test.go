package httpproxy

import (
	"crypto/x509"
	"os"
	"testing"
)

// A pki is a certificate for 127.0.0.1 that is its own authority: in files, and as what clients trust.
type pki struct {
	cert, key, ca string
	pool          *x509.CertPool
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	p := &pki{pool: x509.NewCertPool()}
	p.cert, p.key = certificate(t)
	p.ca = p.cert
	b, err := os.ReadFile(p.cert)
	if err != nil {
		t.Fatal(err)
	}
	p.pool.AppendCertsFromPEM(b)
	return p
}

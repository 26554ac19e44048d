package transport

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

// stamp tells whether a file changed without reading it.
type stamp struct {
	size     int64
	modified time.Time
	file     os.FileInfo // the same path may be another file: links are swapped
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{info.Size(), info.ModTime(), info}
}

func (s stamp) same(o stamp) bool {
	if (s.file == nil) != (o.file == nil) {
		return false
	}
	return s.size == o.size && s.modified.Equal(o.modified) && (s.file == nil || os.SameFile(s.file, o.file))
}

// watched notices changes of files and remembers what was wrong with them last.
type watched struct {
	stamps  []stamp
	problem string // the error told last; "" while the newest content is in use
}

// mark remembers the files' state; call it before they are read, so that a change in between is noticed.
func (w *watched) mark(paths ...string) {
	w.stamps = w.stamps[:0]
	for _, p := range paths {
		w.stamps = append(w.stamps, stampOf(p))
	}
}

// due says whether paths should be read again: they changed, or the last reading failed, as a file may
// have been half-written and show the same time once it is whole.
func (w *watched) due(paths ...string) bool {
	if w.problem != "" {
		return true
	}
	for i, p := range paths {
		if !w.stamps[i].same(stampOf(p)) {
			return true
		}
	}
	return false
}

// outcome is what to tell of a reading: each problem once.
func (w *watched) outcome(path string, notAfter time.Time, err error) (FileChange, bool) {
	if err == nil {
		w.problem = ""
		return FileChange{File: path, NotAfter: notAfter}, true
	}
	if w.problem == err.Error() {
		return FileChange{}, false
	}
	w.problem = err.Error()
	return FileChange{File: path, Err: fmt.Errorf("%w; the one read before stays in use", err)}, true
}

// keyPair is a certificate with its key, as last read from its files.
type keyPair struct {
	files config.Certificate
	watch watched
	cert  *tls.Certificate
}

func (p *keyPair) load() error {
	p.watch.mark(p.files.Cert, p.files.Key)
	cert, err := loadKeyPair(p.files.Cert, p.files.Key)
	if err != nil {
		return err
	}
	p.cert = cert
	return nil
}

func (p *keyPair) poll() (FileChange, bool) {
	if !p.watch.due(p.files.Cert, p.files.Key) {
		return FileChange{}, false
	}
	old := p.cert
	if err := p.load(); err != nil {
		return p.watch.outcome(p.files.Cert, time.Time{}, err)
	}
	recovered := p.watch.problem != ""
	change, _ := p.watch.outcome(p.files.Cert, p.cert.Leaf.NotAfter, nil)
	return change, recovered || !bytes.Equal(old.Leaf.Raw, p.cert.Leaf.Raw)
}

func loadKeyPair(certFile, keyFile string) (*tls.Certificate, error) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w; both must be PEM, the key unencrypted and the certificate's own", certFile, keyFile, err)
	}
	if cert.Leaf == nil {
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return nil, fmt.Errorf("certificate %s: %w", certFile, err)
		}
	}
	return &cert, nil
}

// authority is a file of trusted certificates, as last read.
type authority struct {
	file  string
	watch watched
	hash  [sha256.Size]byte
	pool  *x509.CertPool
}

func (a *authority) load() error {
	a.watch.mark(a.file)
	raw, err := os.ReadFile(a.file)
	if err != nil {
		return fmt.Errorf("authorities: %w", err)
	}
	pool, err := parsePool(raw)
	if err != nil {
		return fmt.Errorf("authorities %s: %w", a.file, err)
	}
	a.pool, a.hash = pool, sha256.Sum256(raw)
	return nil
}

func (a *authority) poll() (FileChange, bool) {
	if !a.watch.due(a.file) {
		return FileChange{}, false
	}
	old := a.hash
	if err := a.load(); err != nil {
		return a.watch.outcome(a.file, time.Time{}, err)
	}
	recovered := a.watch.problem != ""
	change, _ := a.watch.outcome(a.file, time.Time{}, nil)
	return change, recovered || old != a.hash
}

// sum tells one content from another; zero for none.
func (a *authority) sum() [sha256.Size]byte {
	if a == nil {
		return [sha256.Size]byte{}
	}
	return a.hash
}

// parsePool is x509's AppendCertsFromPEM, which is silent about certificates it cannot read.
func parsePool(raw []byte) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", n+1, err)
		}
		pool.AddCert(cert)
		n++
	}
	if n == 0 {
		return nil, fmt.Errorf("it holds no certificate (PEM, BEGIN CERTIFICATE)")
	}
	return pool, nil
}

package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

// ErrTLS marks what went wrong in a TLS handshake for those who wrap it so.
var ErrTLS = errors.New("TLS handshake")

// pollEvery is how often certificate files are looked at, more or less by a fifth.
const pollEvery = 10 * time.Second

// FileChange is a certificate file that was read again, or could not be.
type FileChange struct {
	// File is the path.
	File string
	// NotAfter is when the new certificate expires; zero for authorities and errors.
	NotAfter time.Time
	// Err says why the old content is kept; nil when the new one is in use.
	Err error
}

// CertificateInfo describes one certificate in use.
type CertificateInfo struct {
	// File is the path of its chain.
	File string
	// Names are those it is good for.
	Names []string
	// NotAfter is when it expires.
	NotAfter time.Time
}

// ServerConfig is a listener's side of TLS, its certificates following their files.
type ServerConfig struct {
	// OnChange is told of each certificate or authority read again after its file changed, and of each new file that is no
	// good (Err), in which case the old content stays. Set before Run; may be nil.
	OnChange func(FileChange)

	cfg   *config.ListenerTLS
	alpn  []string
	outer *tls.Config

	current atomic.Pointer[tls.Config] // what connections get
	mu      sync.Mutex
	pairs   []*keyPair // as configured
	clients *authority // nil without client_ca
	tickets *tls.Config
}

// ServerTLS reads the files of cfg now; an error names the file that is no good. ALPN offers http/1.1, with http2 h2 before
// it; see ServerTLSPlain for listeners without HTTP.
func ServerTLS(cfg *config.ListenerTLS, http2 bool) (*ServerConfig, error) {
	alpn := []string{"http/1.1"}
	if http2 {
		alpn = []string{"h2", "http/1.1"}
	}
	return newServerConfig(cfg, alpn)
}

// ServerTLSPlain is ServerTLS without ALPN, for listeners of TCP services: any protocol may be inside.
func ServerTLSPlain(cfg *config.ListenerTLS) (*ServerConfig, error) { return newServerConfig(cfg, nil) }

func newServerConfig(cfg *config.ListenerTLS, alpn []string) (*ServerConfig, error) {
	c := &ServerConfig{cfg: cfg, alpn: alpn, tickets: &tls.Config{}}
	if len(cfg.Certificates) == 0 {
		return nil, errors.New("tls: no certificate; add certificates: [{cert: FILE, key: FILE}]")
	}
	for _, f := range cfg.Certificates {
		p := &keyPair{files: f}
		if err := p.load(); err != nil {
			return nil, err
		}
		c.pairs = append(c.pairs, p)
	}
	if cfg.ClientCA != "" {
		c.clients = &authority{file: cfg.ClientCA}
		if err := c.clients.load(); err != nil {
			return nil, err
		}
	} else if cfg.ClientAuth == "require" || cfg.ClientAuth == "optional" {
		return nil, fmt.Errorf("tls: client_auth: %s needs client_ca, a file with the authorities of clients' certificates", cfg.ClientAuth)
	}
	c.outer = &tls.Config{
		MinVersion:         minVersion(cfg.MinVersion),
		NextProtos:         alpn,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load(), nil },
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return nil, errors.New("unreachable: every client gets its own configuration")
		},
	}
	c.rebuild()
	return c, nil
}

func minVersion(s string) uint16 {
	if s == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// rebuild makes what connections get from the files as read last. c.mu is held, or c not yet shared.
func (c *ServerConfig) rebuild() {
	chosen := chooser(c.pairs)
	next := &tls.Config{
		MinVersion:     minVersion(c.cfg.MinVersion),
		NextProtos:     c.alpn,
		GetCertificate: chosen.get,
		WrapSession:    c.tickets.EncryptTicket,
		UnwrapSession:  c.tickets.DecryptTicket,
	}
	if c.clients != nil {
		next.ClientCAs = c.clients.pool
		switch c.cfg.ClientAuth {
		case "require":
			next.ClientAuth = tls.RequireAndVerifyClientCert
		case "optional":
			next.ClientAuth = tls.VerifyClientCertIfGiven
		}
	}
	c.current.Store(next)
}

// Config is what to hand to tls.Server; it follows the files by itself. Safe to share and keep.
func (c *ServerConfig) Config() *tls.Config { return c.outer }

// Inherit takes over the session tickets of the configuration that c replaces on the same listener, so that clients
// resume across a reload; only where both trust the same clients. Call before the first use.
func (c *ServerConfig) Inherit(prev *ServerConfig) {
	if prev == nil || prev == c {
		return
	}
	prev.mu.Lock()
	tickets, auth, min, clients := prev.tickets, prev.cfg.ClientAuth, prev.cfg.MinVersion, prev.clients.sum()
	prev.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if auth == c.cfg.ClientAuth && min == c.cfg.MinVersion && clients == c.clients.sum() {
		c.tickets = tickets
		c.rebuild()
	}
}

// Certificates lists the certificates in use, as configured.
func (c *ServerConfig) Certificates() []CertificateInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	infos := make([]CertificateInfo, 0, len(c.pairs))
	for _, p := range c.pairs {
		leaf := p.cert.Leaf
		infos = append(infos, CertificateInfo{File: p.files.Cert, Names: namesOf(leaf), NotAfter: leaf.NotAfter})
	}
	return infos
}

func namesOf(leaf *x509.Certificate) []string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 && leaf.Subject.CommonName != "" {
		names = append(names, leaf.Subject.CommonName)
	}
	return names
}

// Run reads changed files again until ctx is done.
func (c *ServerConfig) Run(ctx context.Context) error {
	for wait(ctx, pollEvery*4/5+rand.N(pollEvery*2/5), nil) {
		c.poll()
	}
	return nil
}

// poll reads what changed, each file by itself: one that is no good keeps no other from being replaced.
func (c *ServerConfig) poll() {
	c.mu.Lock()
	var told []FileChange
	for _, p := range c.pairs {
		if ch, changed := p.poll(); changed {
			told = append(told, ch)
		}
	}
	if c.clients != nil {
		if ch, changed := c.clients.poll(); changed {
			told = append(told, ch)
			if ch.Err == nil {
				c.tickets = &tls.Config{} // no session outlives the authority that admitted it
			}
		}
	}
	if slices.ContainsFunc(told, func(ch FileChange) bool { return ch.Err == nil }) {
		c.rebuild()
	}
	c.mu.Unlock()
	if c.OnChange != nil {
		for _, ch := range told {
			c.OnChange(ch)
		}
	}
}

package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

// sessionsKept is how many sessions of TLS to members are kept for resumption, per configuration.
const sessionsKept = 256

// ClientTLS is the side of TLS towards the member at address. It reads the files of cfg now; this side's own certificate
// is read again when its files change. One configuration may serve many connections: sessions are resumed. With an empty
// address and no name in cfg ServerName stays empty, and whoever connects sets it (ForMember).
func ClientTLS(cfg *config.MemberTLS, address string, alpn []string) (*tls.Config, error) {
	name := cfg.Name
	if name == "" && address != "" {
		network, addr := SplitAddress(address)
		host, _, err := net.SplitHostPort(addr)
		if (network == "unix" || err != nil || host == "") && !cfg.Insecure {
			return nil, fmt.Errorf("tls to %s: its address has no host name to check the certificate against; give it as tls: {name: NAME}", address)
		}
		name = host
	}
	c := &tls.Config{
		ServerName:         name,
		MinVersion:         minVersion(cfg.MinVersion),
		NextProtos:         alpn,
		InsecureSkipVerify: cfg.Insecure, // the configuration says so, and that it is for trials
		ClientSessionCache: tls.NewLRUClientSessionCache(sessionsKept),
	}
	if cfg.CA != "" {
		ca := &authority{file: cfg.CA}
		if err := ca.load(); err != nil {
			return nil, fmt.Errorf("tls to %s: %w", address, err)
		}
		c.RootCAs = ca.pool
	}
	if (cfg.Cert == "") != (cfg.Key == "") {
		return nil, errors.New("tls: cert and key go together")
	}
	if cfg.Cert != "" {
		own := &ownCertificate{pair: keyPair{files: config.Certificate{Cert: cfg.Cert, Key: cfg.Key}}}
		if err := own.pair.load(); err != nil {
			return nil, fmt.Errorf("tls to %s: %w", address, err)
		}
		own.looked = time.Now()
		c.GetClientCertificate = own.get
	}
	return c, nil
}

// ForMember is c for the member at address: host (or the address's own, where empty) is what the certificate must be for,
// unless c says so already. Errors: an address without a host, such as a unix socket, cannot be checked.
func ForMember(c *tls.Config, address, host string) (*tls.Config, error) {
	if c.ServerName != "" {
		return c, nil
	}
	if host == "" {
		if network, addr := SplitAddress(address); network == "tcp" {
			host, _, _ = net.SplitHostPort(addr)
		}
	}
	if host == "" && !c.InsecureSkipVerify {
		return nil, fmt.Errorf("%w: %s has no host name to check the certificate against; give it as tls: {name: NAME}", ErrTLS, address)
	}
	c = c.Clone()
	c.ServerName = host
	return c, nil
}

// ownCertificate is this side's certificate, looked at again as handshakes need it.
type ownCertificate struct {
	mu     sync.Mutex
	looked time.Time
	pair   keyPair
}

func (o *ownCertificate) get(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := time.Now(); now.Sub(o.looked) >= pollEvery {
		o.looked = now
		o.pair.poll() // a file that is no good leaves the certificate as it was
	}
	return o.pair.cert, nil
}

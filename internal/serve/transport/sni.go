package transport

import (
	"crypto/tls"
	"strings"
)

// certChooser picks a certificate by the name a client asks for: the exact one, a wildcard for it, else the first.
// Where several fit (RSA beside ECDSA) the first that the client can use is taken.
type certChooser struct {
	byName map[string][]*tls.Certificate
	first  *tls.Certificate
}

func chooser(pairs []*keyPair) *certChooser {
	c := &certChooser{byName: map[string][]*tls.Certificate{}, first: pairs[0].cert}
	for _, p := range pairs {
		for _, name := range namesOf(p.cert.Leaf) {
			name = strings.ToLower(name)
			c.byName[name] = append(c.byName[name], p.cert)
		}
	}
	return c
}

func (c *certChooser) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	fit := c.byName[name]
	if fit == nil {
		if _, parent, ok := strings.Cut(name, "."); ok {
			fit = c.byName["*."+parent]
		}
	}
	for _, cert := range fit {
		if len(fit) == 1 || hello.SupportsCertificate(cert) == nil {
			return cert, nil
		}
	}
	return c.first, nil
}

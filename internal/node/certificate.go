package node

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/backstay/backstay/internal/act/postgres"
	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/cluster/trust"
)

// instanceTLS is what an instance shows itself by: files of the user's, or a certificate of its own from the cluster's
// authority. It is not the node's, whose key is not for PostgreSQL's user to read.
func (s *stateful) instanceTLS(i *instance, service string, c config.PostgresTLS) *postgres.TLS {
	switch {
	case c.Off:
		return nil
	case c.Cert != "":
		return &postgres.TLS{Cert: c.Cert, Key: c.Key, CA: c.CA, Full: c.Verify == "full"}
	}
	dir := trustDir(s.node.options.Data)
	file := filepath.Join(dir, "services", service+".pem")
	i.certificate = trust.NewRenewer(trust.RenewerOptions{
		Dir: dir, File: file, Endpoints: s.endpoints, Log: s.log,
		Current: func() trust.Node {
			n := trust.Node{Name: s.self.Name, Service: service}
			for _, node := range s.config().Nodes { // clients reach the instance by way of any of them
				if node.Address != "" {
					n.Addresses = append(n.Addresses, node.Address)
				}
			}
			return n
		},
		OnRenewed: func(until time.Time, err error) {
			r := event.Record{Kind: event.CertificateRenewed, Service: service, Member: s.self.Name, Message: fmt.Sprintf("the certificate of %s was renewed; it expires %s", service, until.UTC().Format(time.RFC3339))}
			if err != nil {
				r.Kind, r.Evidence = event.CertificateFailed, err.Error()
				r.Message = fmt.Sprintf("the certificate of %s was not renewed and is tried again; it expires %s", service, until.UTC().Format(time.RFC3339))
			}
			s.node.append(r)
		},
	})
	return &postgres.TLS{Cert: file, Key: file, CA: trust.Files(dir).CA, Full: true}
}

// engineTLS is how this node itself, rather than its clients through it, speaks to the instances of a service: with those
// authorities that the instances hold each other against.
func (n *Node) engineTLS(sc config.Service) (*tls.Config, error) {
	if sc.Engine == nil || sc.Engine.Postgres == nil || sc.Engine.Postgres.TLS.Off {
		return nil, nil
	}
	c := sc.Engine.Postgres.TLS
	file := cmp.Or(c.CA, trust.Files(trustDir(n.options.Data)).CA)
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("no certificate in %s", file)
	}
	out := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if c.CA != "" && c.Verify == "ca" {
		out.InsecureSkipVerify = true // of the name only: the chain is held against the authorities below
		out.VerifyConnection = func(s tls.ConnectionState) error {
			between := x509.NewCertPool()
			for _, cert := range s.PeerCertificates[1:] {
				between.AddCert(cert)
			}
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool, Intermediates: between})
			return err
		}
	}
	return out, nil
}

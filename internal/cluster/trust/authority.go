// Package trust is who may speak to whom: the cluster's own certificate authority, the nodes' short-lived certificates
// and the one-time tokens by which a new node gets its first one.
//
// It decides nothing about membership. The joining node verifies the cluster (by the fingerprint in its token) before
// it sends anything; the cluster verifies the node by the token's secret, of which the store keeps a hash only.
package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/backstay/backstay/internal/cluster"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	// Lifetime of a node's certificate where nothing else is said; it is renewed at half of it.
	Lifetime = 7 * 24 * time.Hour
	// clockSkew is by how much nodes' clocks may differ.
	clockSkew = 2 * time.Hour
)

// ErrNoAuthority says that the authority's key is not on this node.
var ErrNoAuthority = errors.New("this node does not have the key of the cluster's certificate authority")

// A Node is whom a certificate is for.
type Node struct {
	Name      string
	Addresses []string // IP addresses and host names it is reached at
	// Service, where set, makes it the certificate of that service's instance on the node, whose key another user of the
	// operating system has: it shows to clients who serves them, and opens nothing within the cluster.
	Service string `json:",omitempty"`
}

// Files returns where the files of a directory are: ca.crt, and node.pem with the node's certificate, its chain and its
// key; the authority's ca.key is beside.
func Files(dir string) cluster.TLSFiles {
	return cluster.TLSFiles{CA: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, "node.pem"), Key: filepath.Join(dir, "node.pem")}
}

func authorityKey(dir string) string { return filepath.Join(dir, "ca.key") }

// An authority is the cluster's certificate authority, with its key where this node has it.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Init makes the certificate authority of a new cluster in dir and this first node's certificate. It refuses a
// directory that has an authority already.
func Init(dir, clusterName string, node Node) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(Files(dir).CA); err == nil {
		return fmt.Errorf("%s has a certificate authority already: another would shut out every node that trusts it", dir)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Backstay cluster " + clusterName, Organization: []string{clusterName}},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(authorityLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	if err := writeKey(authorityKey(dir), key); err != nil {
		return err
	}
	if err := writeFile(Files(dir).CA, encodeCert(der), 0o644); err != nil {
		return err
	}
	return Issue(dir, node, 0)
}

// Issue makes a certificate and key for the node itself with the authority's key in dir; ErrNoAuthority without one.
// lifetime 0 is Lifetime.
func Issue(dir string, node Node, lifetime time.Duration) error {
	a, err := loadAuthority(dir)
	if err != nil {
		return err
	}
	if a.key == nil {
		return ErrNoAuthority
	}
	return a.issue(Files(dir).Cert, node, lifetime)
}

// issue writes a new certificate, its chain and its key to one file.
func (a authority) issue(path string, node Node, lifetime time.Duration) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	chain, err := a.sign(&key.PublicKey, node, lifetime)
	if err != nil {
		return err
	}
	return writePair(path, chain, key)
}

// Fingerprint returns that of the authority in dir: the hex SHA-256 of its public key.
func Fingerprint(dir string) (string, error) {
	a, err := loadAuthority(dir)
	if err != nil {
		return "", err
	}
	return fingerprint(a.cert), nil
}

func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// clusterName is what the authority says it is of.
func (a authority) clusterName() string {
	if len(a.cert.Subject.Organization) == 0 {
		return ""
	}
	return a.cert.Subject.Organization[0]
}

// sign returns a node's certificate, as PEM, the authority's after it.
func (a authority) sign(public any, node Node, lifetime time.Duration) ([]byte, error) {
	if node.Name == "" {
		return nil, errors.New("a certificate needs the node's name")
	}
	if lifetime == 0 {
		lifetime = Lifetime
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: node.Name, Organization: []string{a.clusterName()}},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(lifetime), DNSNames: []string{node.Name},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if node.Service != "" {
		template.Subject.CommonName = fmt.Sprintf("%s on %s", node.Service, node.Name)
		template.DNSNames, template.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, address := range node.Addresses {
		if ip := net.ParseIP(address); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if address != "" && !slices.Contains(template.DNSNames, address) {
			template.DNSNames = append(template.DNSNames, address)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", node.Name, err)
	}
	return append(encodeCert(der), encodeCert(a.cert.Raw)...), nil
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return n
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

package trust

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

const askTimeout = 20 * time.Second

// A Grant is what a node that joins learns besides its certificates.
type Grant struct {
	Cluster string
	Members []string // where the store's members are reached, host:port each
}

// Join gets this node's certificates from one of the nodes at addresses (host:port of their endpoints) and writes them
// to dir. Nothing of the token is sent before the other side has proven to be of the cluster that the token names.
func Join(ctx context.Context, text string, addresses []string, node Node, dir string) (Grant, error) {
	t, err := parseToken(text)
	if err != nil {
		return Grant{}, fmt.Errorf("join: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Grant{}, err
	}
	if print, err := Fingerprint(dir); err == nil && print != t.fingerprint {
		return Grant{}, fmt.Errorf("join: %s has certificates of another cluster; use another directory, or remove them", dir)
	}
	key, csr, err := newRequest(node)
	if err != nil {
		return Grant{}, err
	}
	config := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // verified by the token's fingerprint instead: there is no authority to trust yet
		VerifyConnection:   t.state,
	}
	q := request{ID: t.id, Secret: t.secret, Node: node, Request: csr}
	a, err := askAny(ctx, config, addresses, joinPath, q)
	if err != nil {
		return Grant{}, fmt.Errorf("join: %w", err)
	}
	if err := t.accept(a, key); err != nil {
		return Grant{}, fmt.Errorf("join: %w", err)
	}
	return Grant{Cluster: a.Cluster, Members: a.Members}, save(dir, a, key)
}

func (t token) state(s tls.ConnectionState) error { return t.verify(s.PeerCertificates) }

// verify accepts a server that shows a certificate of the authority with the token's fingerprint.
func (t token) verify(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("no certificate")
	}
	roots := x509.NewCertPool()
	for _, c := range chain {
		if c.IsCA && fingerprint(c) == t.fingerprint {
			roots.AddCert(c)
		}
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		return fmt.Errorf("the node is not of the cluster that the token is for: %w", err)
	}
	return nil
}

// accept checks that what came is of this authority and for this node's key.
func (t token) accept(a answer, key *ecdsa.PrivateKey) error {
	authority, err := decodeCert(a.Authority)
	if err != nil {
		return err
	}
	if fingerprint(authority[0]) != t.fingerprint {
		return errors.New("the authority in the answer is not the token's")
	}
	return checkChain(a.Chain, authority[0], key)
}

func checkChain(text []byte, authority *x509.Certificate, key *ecdsa.PrivateKey) error {
	chain, err := decodeCert(text)
	if err != nil {
		return err
	}
	if err := chain[0].CheckSignatureFrom(authority); err != nil {
		return fmt.Errorf("the certificate in the answer is not the authority's: %w", err)
	}
	if !key.PublicKey.Equal(chain[0].PublicKey) {
		return errors.New("the certificate in the answer is for another key")
	}
	return nil
}

func save(dir string, a answer, key *ecdsa.PrivateKey) error {
	if len(a.Key) > 0 {
		if _, err := parseKey(a.Key); err != nil {
			return err
		}
		if err := writeFile(authorityKey(dir), a.Key, 0o600); err != nil {
			return err
		}
	}
	if err := writeFile(Files(dir).CA, a.Authority, 0o644); err != nil {
		return err
	}
	return writePair(Files(dir).Cert, a.Chain, key)
}

// newRequest makes a key and asks for its certificate.
func newRequest(node Node) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: node.Name}}
	csr, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	return key, csr, err
}

// askAny asks one node after the other until one gives or refuses.
func askAny(ctx context.Context, config *tls.Config, addresses []string, path string, q request) (answer, error) {
	if len(addresses) == 0 {
		return answer{}, errors.New("no node to ask is given")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: askTimeout}
	body, err := json.Marshal(q)
	if err != nil {
		return answer{}, err
	}
	var failures []error
	for _, address := range addresses {
		a, err := ask(ctx, client, "https://"+address+path, body)
		if err == nil || errors.Is(err, ErrRefused) {
			return a, err
		}
		failures = append(failures, fmt.Errorf("%s: %w", address, err))
	}
	return answer{}, errors.Join(failures...)
}

func ask(ctx context.Context, client *http.Client, url string, body []byte) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	got, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer got.Body.Close()
	var a answer
	if err := json.NewDecoder(io.LimitReader(got.Body, bodyLimit)).Decode(&a); err != nil {
		return answer{}, fmt.Errorf("no answer of a Backstay node: %w", err)
	}
	switch {
	case a.Refused:
		return answer{}, refusal(a.Error)
	case a.Error != "" || got.StatusCode != http.StatusOK:
		return answer{}, fmt.Errorf("status %d: %s", got.StatusCode, a.Error)
	}
	return a, nil
}

// A refusal is another node's ErrRefused, in its own words.
type refusal string

// Error returns the other node's words.
func (r refusal) Error() string { return string(r) }

// Is makes it an ErrRefused.
func (r refusal) Is(target error) bool { return target == ErrRefused }

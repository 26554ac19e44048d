package trust

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The certificate of a service's instance shows who serves, is renewed like a node's, and opens nothing within the cluster.
func TestCertificateOfAnInstance(t *testing.T) {
	r := newRig(t, nil)
	plain := t.TempDir()
	if _, err := r.join(t, r.invite(t, Invitation{Plain: true}), "b", plain); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"a": r.dir, "b": plain} {
		addresses := []string{"10.0.0.1", "db.example.org"}
		renewer := NewRenewer(RenewerOptions{
			Dir: dir, File: filepath.Join(dir, "services", "db.pem"), Endpoints: func() []string { return []string{r.address} },
			Current: func() Node { return Node{Name: name, Service: "db", Addresses: addresses} },
		})
		if err := renewer.Ensure(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		first, err := loadCert(renewer.o.File)
		if err != nil {
			t.Fatal(err)
		}
		roots, err := pool(dir)
		if err != nil {
			t.Fatal(err)
		}
		verify := func(host string, usage x509.ExtKeyUsage) error {
			_, err := first.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}})
			return err
		}
		for _, host := range addresses {
			if err := verify(host, x509.ExtKeyUsageServerAuth); err != nil {
				t.Errorf("%s as %s: %v", name, host, err)
			}
		}
		if verify("", x509.ExtKeyUsageClientAuth) == nil || verify(name, x509.ExtKeyUsageServerAuth) == nil {
			t.Errorf("%s: its instance can pass for the node", name)
		}
		if _, err := tls.LoadX509KeyPair(renewer.o.File, renewer.o.File); err != nil {
			t.Errorf("%s: with its key: %v", name, err)
		}
		if err := renewer.Ensure(t.Context()); err != nil {
			t.Fatal(err)
		}
		if again, err := loadCert(renewer.o.File); err != nil || again.SerialNumber.Cmp(first.SerialNumber) != 0 {
			t.Errorf("%s: a good one was replaced, %v", name, err)
		}
		addresses = append(addresses, "10.0.0.2") // another node's
		if err := renewer.Ensure(t.Context()); err != nil {
			t.Fatal(err)
		}
		if now, err := loadCert(renewer.o.File); err != nil || now.VerifyHostname("10.0.0.2") != nil {
			t.Errorf("%s: it is not good for the new address, %v", name, err)
		}
		// Who has its key does not get one as the node.
		text, err := os.ReadFile(renewer.o.File)
		if err != nil {
			t.Fatal(err)
		}
		thief := t.TempDir()
		ca, err := os.ReadFile(Files(dir).CA)
		if err != nil {
			t.Fatal(err)
		}
		for path, text := range map[string][]byte{Files(thief).Cert: text, Files(thief).CA: ca} {
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err = NewRenewer(RenewerOptions{Dir: thief, Node: Node{Name: name}, Endpoints: func() []string { return []string{r.address} }}).Renew(t.Context())
		if err == nil || strings.Contains(err.Error(), "no node to ask") {
			t.Errorf("%s: with its instance's key the node's certificate was got: %v", name, err)
		}
	}
}

package tcpproxy

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
)

// TestPassThroughIsNotWrapped: a service whose members HTTP listeners reach over TLS can be passed through to as well; the
// client's own TLS is the one that its members get.
func TestPassThroughIsNotWrapped(t *testing.T) {
	certs := newAuthority(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certs.issue("a.test")}})
	if err != nil {
		t.Fatal(err)
	}
	accept(t, ln, func(c net.Conn) { _, _ = io.Copy(c, c) })
	k := start(t, fmt.Sprintf(`
listeners:
  - {name: in, listen: 127.0.0.1:1, sni: [{names: [a.test], service: a}]}
  - {name: web, listen: 127.0.0.1:2, routes: [{service: a}]}
services:
  - {name: a, members: [{address: '%s'}], tls: {ca: '%s', name: a.test}}
`, ln.Addr(), certs.file))
	c := tls.Client(k.dial(), &tls.Config{RootCAs: certs.pool(), ServerName: "a.test"})
	if got := ask(t, c, "through"); got != "through" {
		t.Errorf("read %q", got)
	}
}

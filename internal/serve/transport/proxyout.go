package transport

import (
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// WriteProxyHeader writes a header of version "v1" or "v2" that announces src; without valid addresses (unix sockets,
// the node's own probes) it is UNKNOWN or LOCAL. It is one write, as the protocol asks for.
func WriteProxyHeader(w io.Writer, version string, src, dst netip.AddrPort) error {
	h := proxyproto.Header{Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}
	switch version {
	case "v1":
		h.Version = 1
	case "v2":
		h.Version = 2
	default:
		return fmt.Errorf("PROXY protocol %q: there are v1 and v2", version)
	}
	if src.IsValid() && dst.IsValid() {
		h.Command = proxyproto.PROXY
		h.TransportProtocol = proxyproto.TCPv6 // the one that is not IPv6 is written as ::ffff:a.b.c.d
		if src.Addr().Unmap().Is4() && dst.Addr().Unmap().Is4() {
			h.TransportProtocol = proxyproto.TCPv4
		}
		h.SourceAddr, h.DestinationAddr = net.TCPAddrFromAddrPort(src), net.TCPAddrFromAddrPort(dst)
	}
	raw, err := h.Format()
	if err != nil {
		return fmt.Errorf("PROXY protocol header for %s: %w", src, err)
	}
	_, err = w.Write(raw)
	return err
}

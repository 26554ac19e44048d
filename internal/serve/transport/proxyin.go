package transport

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/pires/go-proxyproto"
)

// What can be wrong with a connection to a listener that speaks the PROXY protocol.
var (
	// ErrProxyUntrusted is a connection from an address that may not announce clients.
	ErrProxyUntrusted = errors.New("the address is not among the listener's proxy_protocol networks")
	// ErrProxyHeader is a connection from a trusted address without a (proper) header.
	ErrProxyHeader = errors.New("no valid PROXY protocol header")
	// ErrProxyTimeout is a header that did not come in time.
	ErrProxyTimeout = errors.New("the PROXY protocol header did not come in time")
)

const (
	defaultProxyTimeout = 5 * time.Second
	// maxV1 is the longest header of v1, its line end included.
	maxV1 = 107
	// v2Head is the part of a v2 header before what its length counts; no header of v1 is shorter than the signature in it.
	v2Head, signature = 16, 12
	// maxV2 bounds what follows: addresses and as much of TLVs as anyone is known to send.
	maxV2 = 4096
)

// ProxyIn reads PROXY protocol headers, v1 and v2, ahead of clients' connections.
type ProxyIn struct {
	trusted []netip.Prefix
	timeout time.Duration
}

// NewProxyIn trusts the networks (addresses or prefixes); a header must be there within timeout (0: 5s).
// Without networks the protocol is not spoken. Who can connect to a unix socket is trusted.
func NewProxyIn(networks []string, timeout time.Duration) (*ProxyIn, error) {
	if timeout <= 0 {
		timeout = defaultProxyTimeout
	}
	p := &ProxyIn{timeout: timeout}
	for _, n := range networks {
		prefix, err := parseNetwork(n)
		if err != nil {
			return nil, fmt.Errorf("proxy_protocol: %q is no address or network such as 10.0.0.0/8", n)
		}
		p.trusted = append(p.trusted, prefix)
	}
	return p, nil
}

func parseNetwork(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// ProxyHeader is what a PROXY protocol header says.
type ProxyHeader struct {
	// Version is 1 or 2; 0 where no header was asked for.
	Version int
	// Source and Destination are the client's connection to the proxy in front; the connection's own
	// ends where the header has none (LOCAL, UNKNOWN, unix sockets).
	Source, Destination netip.AddrPort
}

// Accept reads the header from conn where one is due. The returned connection continues after it (it is conn itself:
// nothing is buffered, so it can be spliced), client is whom the header announces. Errors match
// ErrProxyUntrusted, ErrProxyHeader or ErrProxyTimeout; the caller then closes conn.
func (p *ProxyIn) Accept(ctx context.Context, conn net.Conn) (net.Conn, netip.AddrPort, error) {
	h, err := p.Read(ctx, conn)
	return conn, h.Source, err
}

// Read is Accept with all that the header says. It takes nothing from conn but the header.
func (p *ProxyIn) Read(ctx context.Context, conn net.Conn) (ProxyHeader, error) {
	own := ProxyHeader{Source: AddrPort(conn.RemoteAddr()), Destination: AddrPort(conn.LocalAddr())}
	if p == nil || len(p.trusted) == 0 {
		return own, nil
	}
	if own.Source.IsValid() && !p.trusts(own.Source.Addr()) {
		return own, ErrProxyUntrusted
	}
	if err := conn.SetReadDeadline(time.Now().Add(p.timeout)); err != nil {
		return own, fmt.Errorf("%w: %w", ErrProxyHeader, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	h, err := readProxyHeader(conn)
	if !stop() {
		return own, context.Cause(ctx)
	}
	if err != nil {
		return own, proxyError(err)
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return own, fmt.Errorf("%w: %w", ErrProxyHeader, err)
	}
	if !h.Source.IsValid() {
		h.Source, h.Destination = own.Source, own.Destination
	}
	return h, nil
}

func (p *ProxyIn) trusts(a netip.Addr) bool {
	a = a.WithZone("")
	for _, n := range p.trusted {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

func proxyError(err error) error {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return ErrProxyTimeout
	}
	return fmt.Errorf("%w: %w", ErrProxyHeader, err)
}

// readProxyHeader reads one header and not a byte more. Source is invalid where the header announces nobody.
func readProxyHeader(conn net.Conn) (ProxyHeader, error) {
	raw, err := takeProxyHeader(conn)
	if err != nil {
		return ProxyHeader{}, err
	}
	return parseProxyHeader(raw)
}

// takeProxyHeader takes the bytes of a header off conn.
func takeProxyHeader(conn net.Conn) ([]byte, error) {
	buf := make([]byte, signature, maxV1)
	// No header is shorter. A client that is no proxy and sends less runs into the timeout.
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, err
	}
	switch {
	case bytes.Equal(buf, proxyproto.SIGV2):
		return takeV2(conn, buf)
	case bytes.HasPrefix(buf, []byte("PROXY ")):
		return takeV1(conn, buf)
	}
	return nil, proxyproto.ErrNoProxyProtocol
}

func takeV2(conn net.Conn, buf []byte) ([]byte, error) {
	buf = buf[:v2Head]
	if _, err := io.ReadFull(conn, buf[signature:]); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(buf[v2Head-2:]))
	if length > maxV2 {
		return nil, fmt.Errorf("its length of %d bytes is over %d", length, maxV2)
	}
	all := make([]byte, v2Head+length)
	copy(all, buf)
	_, err := io.ReadFull(conn, all[v2Head:])
	return all, err
}

// takeV1 reads up to the end of the line: it looks at what is there before it takes it, or goes byte by byte where it cannot.
func takeV1(conn net.Conn, buf []byte) ([]byte, error) {
	for len(buf) < maxV1 {
		next := buf[len(buf):maxV1]
		n, ok, err := peek(conn, next)
		if err != nil {
			return nil, err
		}
		if !ok {
			n = 1
		} else if end := bytes.IndexByte(next[:n], '\n'); end >= 0 {
			n = end + 1
		}
		if _, err := io.ReadFull(conn, next[:n]); err != nil {
			return nil, err
		}
		buf = buf[:len(buf)+n]
		if buf[len(buf)-1] == '\n' {
			return buf, nil
		}
	}
	return nil, proxyproto.ErrVersion1HeaderTooLong
}

// parseProxyHeader reads raw, which is exactly one header.
func parseProxyHeader(raw []byte) (ProxyHeader, error) {
	in := bytes.NewReader(raw)
	buffered := bufio.NewReaderSize(in, len(raw)+1)
	h, err := proxyproto.Read(buffered)
	if err != nil {
		return ProxyHeader{}, err
	}
	if in.Len()+buffered.Buffered() > 0 {
		return ProxyHeader{}, proxyproto.ErrInvalidLength
	}
	out := ProxyHeader{Version: int(h.Version)}
	if h.Command.IsLocal() {
		return out, nil
	}
	if h.TransportProtocol.IsDatagram() {
		return ProxyHeader{}, proxyproto.ErrUnsupportedAddressFamilyAndProtocol
	}
	if src, dst, ok := h.TCPAddrs(); ok {
		out.Source, out.Destination = AddrPort(src), AddrPort(dst)
	}
	return out, nil
}

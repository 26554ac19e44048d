package transport

import (
	"net"
	"net/netip"
	"strings"
)

// SplitAddress says how to dial or listen on addr as written in the configuration: unix:/path is
// ("unix", "/path"), anything else is ("tcp", addr).
func SplitAddress(addr string) (network, address string) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return "unix", path
	}
	return "tcp", addr
}

// AddrPort is the address behind a, IPv4 in its own form; the zero AddrPort for what is not TCP, such as unix sockets.
func AddrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || tcp == nil {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

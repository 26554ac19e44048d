package snapshot

import (
	"fmt"
	"net/netip"
	"strings"
)

// Networks is a set of addresses.
type Networks []netip.Prefix

func newNetworks(list []string) (Networks, error) {
	var out Networks
	for _, text := range list {
		if !strings.Contains(text, "/") {
			a, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("%q is neither an address nor a network", text)
			}
			out = append(out, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a network", text)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// Contains reports whether the address is in the set. IPv4 addresses in IPv6 form count as IPv4.
func (n Networks) Contains(a netip.Addr) bool {
	a = a.Unmap()
	for _, p := range n {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

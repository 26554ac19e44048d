package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// bindable checks an address to listen on.
func (v *validator) bindable(address string, p path) {
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		v.socket(socket, p)
		return
	}
	v.hostPort(address, p, true)
}

func (v *validator) socket(file string, p path) {
	switch {
	case !strings.HasPrefix(file, "/") && !strings.HasPrefix(file, "@"):
		v.problem(p, fmt.Sprintf("%q is not the path of a socket", file), "write unix:/run/name.sock")
	case len(file) > 107: // sun_path
		v.problem(p, "the path of a socket can have at most 107 bytes", "move it up")
	}
}

// hostPort checks host:port.
func (v *validator) hostPort(address string, p path, listen bool) {
	if address == "" || v.places.doubtful(p) {
		return
	}
	example := "10.0.0.1:80"
	if listen {
		example = `":80"`
	}
	if _, rest, found := strings.Cut(address, "://"); found {
		hint := "write " + strings.TrimRight(rest, "/") + "; to speak TLS to members, give the service tls: {}"
		if listen {
			hint = "write host:port, such as " + example
		}
		v.problem(p, fmt.Sprintf("%q is a URL, not an address", address), hint)
		return
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		v.problem(p, fmt.Sprintf("%q is not an address", address), addressHint(address, example, listen))
		return
	}
	port, err := strconv.Atoi(service)
	if err != nil || port < 0 || port > 65535 || (port == 0 && !listen) {
		v.problem(p, fmt.Sprintf("%q is not a port", service), "write a number from 1 to 65535")
		return
	}
	if host == "" && !listen {
		v.problem(p, "the host is missing", "write host:port, such as "+example)
	}
	if host != "" && !hostName(host) {
		v.problem(p, fmt.Sprintf("%q is not a host", host), "write an IP address or a host name")
	}
}

func addressHint(address, example string, listen bool) string {
	if a, err := netip.ParseAddr(strings.Trim(address, "[]")); err == nil {
		return fmt.Sprintf("add the port: %s", netip.AddrPortFrom(a, 80))
	}
	if _, err := strconv.Atoi(address); err == nil && listen {
		return fmt.Sprintf(`write ":%s"`, address)
	}
	if hostName(address) {
		return fmt.Sprintf("add the port: %s:80", address)
	}
	return "write host:port, such as " + example + ", or unix:/path"
}

// hostName tells whether s is an IP address or could be a host's name.
func hostName(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
			return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		}) {
			return false
		}
	}
	return true
}

// memberAddress checks host:port, unix:/path and srv:_service._proto.domain.
func (v *validator) memberAddress(address string, p path) {
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		v.socket(socket, p)
		return
	}
	if record, ok := strings.CutPrefix(address, "srv:"); ok {
		if !hostName(record) || !strings.HasPrefix(record, "_") {
			v.problem(p, fmt.Sprintf("%q is not the name of an SRV record", record), "write srv:_http._tcp.example.org")
		}
		return
	}
	v.hostPort(address, p, false)
}

// networks checks a list of addresses and networks.
func (v *validator) networks(list []string, p path) {
	for i, text := range list {
		if _, err := netip.ParsePrefix(text); err == nil {
			continue
		}
		if _, err := netip.ParseAddr(text); err == nil {
			continue
		}
		hint := "write an address or a network, such as 10.0.0.0/8 or fd00::/8"
		if text == "*" || text == "all" || text == "any" {
			hint = "for every address write 0.0.0.0/0 and ::/0"
		}
		v.problem(p.item(i, ""), fmt.Sprintf("%q is neither an address nor a network", text), hint)
	}
}

// hostPattern checks a host name that may begin with *. in place of one label.
func (v *validator) hostPattern(pattern string, p path) {
	if pattern == "" {
		return
	}
	if hostName(strings.TrimPrefix(pattern, "*.")) {
		return
	}
	hint := "write a name such as shop.example.org, or *.example.org for any one label"
	if u, err := url.Parse(pattern); err == nil && u.Host != "" {
		hint = "write the name alone: " + u.Hostname()
	} else if host, _, err := net.SplitHostPort(pattern); err == nil && hostName(strings.TrimPrefix(host, "*.")) {
		hint = "leave out the port: " + host
	}
	v.problem(p, fmt.Sprintf("%q is not a host name", pattern), hint)
}

// web checks the URL of a collector.
func (v *validator) web(address string, p path) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		v.problem(p, fmt.Sprintf("%q is not a URL", address), "write http://host:4318 or https://host:4318")
	}
}

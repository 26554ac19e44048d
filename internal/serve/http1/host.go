package http1

// ValidHost tells whether host is a host name, an IPv4 address or an IPv6 address in brackets, with an optional port. It is
// narrower than RFC 3986, section 3.2.2: no percent-encoding, no sub-delimiters, no empty name and no empty port, none of which is
// found in practice but in attempts to have two parsers see two hosts.
func ValidHost(host []byte) bool {
	if len(host) == 0 {
		return false
	}
	i := 0
	if host[0] == '[' {
		for i = 1; i < len(host) && class[host[i]]&isAddr6 != 0; i++ {
		}
		if i < 4 || i == len(host) || host[i] != ']' { // [::] is the shortest
			return false
		}
		i++
	} else {
		for i < len(host) && class[host[i]]&isLabel != 0 {
			i++
		}
		if i == 0 {
			return false
		}
	}
	return i == len(host) || host[i] == ':' && validPort(host[i+1:])
}

func validPort(port []byte) bool {
	if len(port) == 0 || len(port) > 5 {
		return false
	}
	n := 0
	for _, c := range port {
		if class[c]&isDigit == 0 {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= 65535
}

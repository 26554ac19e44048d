package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// hostsTTL is how long what /etc/hosts says is believed.
	hostsTTL = 5 * time.Second
	// maxTry is how long one server is waited for at most, whatever resolv.conf says.
	maxTry = 2 * time.Second
	// maxTargets of an SRV answer are looked up.
	maxTargets = 64
)

// errNoName is a sure answer that there is nothing: of a server that failed one never knows.
var errNoName = errors.New("no such name (NXDOMAIN)")

// errNoAddress is the same for a name that has records of other kinds only.
var errNoAddress = errors.New("the name has no address")

// system looks names up as the machine's own resolver would: hosts file, search list, servers in order.
type system struct {
	servers []string // instead of resolv.conf's
	conf    string
	hosts   string
	reach   func(netip.Addr) bool
	try     time.Duration // one server is waited for at most

	mu    sync.Mutex
	files map[string]parsed
}

// parsed is the content of a file as long as the file stays as it is.
type parsed struct {
	mod   time.Time
	size  int64
	value any
}

func newSystem(servers []string) *system {
	return &system{servers: servers, conf: "/etc/resolv.conf", hosts: "/etc/hosts", reach: reachable, try: maxTry, files: map[string]parsed{}}
}

// look answers a question. Its error is a few plain words.
func (s *system) look(ctx context.Context, q question) (answer, error) {
	if !q.srv {
		if addrs := s.inHosts(q.name); len(addrs) > 0 {
			return plainAnswer(s.prefer(addrs), hostsTTL), nil
		}
	}
	conf, err := s.config()
	if err != nil {
		return answer{}, err
	}
	ask := query{conf: conf, system: s}
	var last error
	for _, name := range conf.NameList(q.name) {
		var a answer
		var err error
		if q.srv {
			a, err = ask.services(ctx, name)
		} else {
			a, err = ask.addresses(ctx, name)
		}
		if err == nil {
			return a, nil
		}
		if last == nil || nothing(last) {
			last = err // what is not sure says more than what is
		}
		if ctx.Err() != nil || errors.Is(err, errSilent) {
			break
		}
	}
	if last == nil {
		last = errNoName
	}
	return answer{}, last
}

func nothing(err error) bool { return errors.Is(err, errNoName) || errors.Is(err, errNoAddress) }

func plainAnswer(addrs []netip.Addr, ttl time.Duration) answer {
	a := answer{ttl: ttl}
	for _, addr := range addrs {
		a.records = append(a.records, record{addr: addr})
	}
	return a
}

// prefer picks the family that can be reached from here, IPv4 first: the two mostly lead to the same machine, which must
// not count as two members.
func (s *system) prefer(addrs []netip.Addr) []netip.Addr {
	var v4, v6 []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	switch {
	case slices.ContainsFunc(v4, s.reach):
		return v4
	case slices.ContainsFunc(v6, s.reach):
		return v6
	case len(v4) > 0:
		return v4
	}
	return v6
}

// reachable reports whether there is a route. It sends nothing: connecting a UDP socket only looks the route up.
func reachable(a netip.Addr) bool {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 9)))
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// config is resolv.conf as it stands now. Without the file the machine itself is asked, as resolv.conf(5) has it.
func (s *system) config() (*dns.ClientConfig, error) {
	v, err := s.file(s.conf, func(b string) any {
		c, err := dns.ClientConfigFromReader(strings.NewReader(b))
		if err != nil {
			return fmt.Errorf("%s cannot be understood: %w", s.conf, err)
		}
		return c
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s cannot be read: %w", s.conf, errors.Unwrap(err))
	}
	conf := dns.ClientConfig{Port: "53", Ndots: 1, Timeout: 5, Attempts: 2}
	switch v := v.(type) {
	case error:
		return nil, v
	case *dns.ClientConfig:
		conf = *v
	}
	if len(s.servers) > 0 {
		conf.Servers = s.servers
	}
	if len(conf.Servers) == 0 {
		conf.Servers = []string{"127.0.0.1"}
	}
	return &conf, nil
}

// inHosts looks into the hosts file; localhost needs none (RFC 6761).
func (s *system) inHosts(name string) []netip.Addr {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	v, _ := s.file(s.hosts, func(b string) any { return parseHosts(b) })
	if hosts, ok := v.(map[string][]netip.Addr); ok && len(hosts[name]) > 0 {
		return hosts[name]
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return nil
}

func parseHosts(content string) map[string][]netip.Addr {
	hosts := map[string][]netip.Addr{}
	for l := range strings.Lines(content) {
		l, _, _ = strings.Cut(l, "#")
		words := strings.Fields(l)
		if len(words) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(words[0])
		if err != nil {
			continue
		}
		for _, w := range words[1:] {
			w = strings.ToLower(w)
			hosts[w] = append(hosts[w], addr)
		}
	}
	return hosts
}

// file parses a file again when it changed.
func (s *system) file(path string, parse func(string) any) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if p, ok := s.files[path]; ok && p.mod.Equal(info.ModTime()) && p.size == info.Size() {
		return p.value, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := parsed{info.ModTime(), info.Size(), parse(string(b))}
	s.files[path] = p
	return p.value, nil
}

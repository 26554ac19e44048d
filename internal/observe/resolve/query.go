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
	"time"

	"github.com/miekg/dns"
)

// errSilent is that no server answered at all, so that asking for other names makes no sense.
var errSilent = errors.New("no name server answers")

// udpSize is how large an answer over UDP may be without being cut into fragments (DNS Flag Day 2020).
const udpSize = 1232

// query asks the servers of one resolv.conf.
type query struct {
	conf   *dns.ClientConfig
	system *system
}

// addresses asks for A, and for AAAA where there is none that can be reached.
func (q query) addresses(ctx context.Context, name string) (answer, error) {
	addrs, ttl, err := q.family(ctx, name, dns.TypeA)
	if err != nil && !errors.Is(err, errNoAddress) {
		return answer{}, err
	}
	if !slices.ContainsFunc(addrs, q.system.reach) {
		six, ttl6, err := q.family(ctx, name, dns.TypeAAAA)
		if err != nil && len(addrs) == 0 {
			return answer{}, err
		}
		if len(six) > 0 {
			ttl = shorter(ttl, ttl6)
		}
		addrs = q.system.prefer(append(addrs, six...))
	}
	return plainAnswer(addrs, ttl), nil
}

// family returns the addresses of one type, following aliases within the answer.
func (q query) family(ctx context.Context, name string, kind uint16) ([]netip.Addr, time.Duration, error) {
	r, err := q.ask(ctx, name, kind)
	if err != nil {
		return nil, 0, err
	}
	found, ttl := follow(r.Answer, name, kind)
	var addrs []netip.Addr
	for _, rr := range found {
		if a, ok := address(rr); ok {
			addrs = append(addrs, a)
		}
	}
	if len(addrs) == 0 {
		return nil, 0, errNoAddress
	}
	return addrs, ttl, nil
}

func address(rr dns.RR) (netip.Addr, bool) {
	var ip net.IP
	switch rr := rr.(type) {
	case *dns.A:
		ip = rr.A
	case *dns.AAAA:
		ip = rr.AAAA
	}
	a, ok := netip.AddrFromSlice(ip)
	return a.Unmap(), ok
}

// follow returns the records of one type that a name leads to, and the shortest ttl on the way.
func follow(rrs []dns.RR, name string, kind uint16) (found []dns.RR, ttl time.Duration) {
	name = dns.CanonicalName(name)
	for range len(rrs) + 1 { // no chain is longer
		alias := ""
		for _, rr := range rrs {
			if h := rr.Header(); dns.CanonicalName(h.Name) == name {
				if c, ok := rr.(*dns.CNAME); ok && kind != dns.TypeCNAME {
					alias = dns.CanonicalName(c.Target)
					ttl = shorter(ttl, seconds(h.Ttl))
				}
				if h.Rrtype == kind {
					found = append(found, rr)
					ttl = shorter(ttl, seconds(h.Ttl))
				}
			}
		}
		if len(found) > 0 || alias == "" {
			break
		}
		name = alias
	}
	return found, ttl
}

// services asks for SRV and for the addresses of the targets. A target that is known not to exist is left out; one that cannot be
// looked up fails the whole, which keeps the last answer.
func (q query) services(ctx context.Context, name string) (answer, error) {
	r, err := q.ask(ctx, name, dns.TypeSRV)
	if err != nil {
		return answer{}, err
	}
	found, ttl := follow(r.Answer, name, dns.TypeSRV)
	a := answer{ttl: ttl}
	missing := errors.New("the name has no SRV records")
	for _, rr := range found[:min(len(found), maxTargets)] {
		srv := rr.(*dns.SRV)
		if srv.Target == "." { // RFC 2782: decidedly not available
			missing = errors.New("its SRV record says that the service is not available")
			continue
		}
		target, err := q.target(ctx, srv.Target, r.Extra)
		host := strings.TrimSuffix(srv.Target, ".")
		if err != nil && nothing(err) {
			missing = fmt.Errorf("%s: %w", host, err)
			continue
		}
		if err != nil {
			return answer{}, fmt.Errorf("%s: %w", host, err)
		}
		a.ttl = shorter(a.ttl, target.ttl)
		for _, one := range target.records {
			a.records = append(a.records, record{addr: one.addr, host: host, port: srv.Port, weight: srv.Weight, priority: srv.Priority})
		}
	}
	if len(a.records) == 0 {
		return answer{}, missing
	}
	return a, nil
}

// target takes the addresses that came along with the SRV answer, or asks.
func (q query) target(ctx context.Context, name string, extra []dns.RR) (answer, error) {
	four, ttl := follow(extra, name, dns.TypeA)
	var addrs []netip.Addr
	for _, rr := range four {
		if a, ok := address(rr); ok {
			addrs = append(addrs, a)
		}
	}
	if slices.ContainsFunc(addrs, q.system.reach) {
		return plainAnswer(addrs, ttl), nil
	}
	return q.addresses(ctx, name)
}

// shorter is the smaller of two ttls, where the first may not be known yet.
func shorter(known, other time.Duration) time.Duration {
	if known == 0 {
		return max(other, time.Nanosecond)
	}
	return min(known, max(other, time.Nanosecond))
}

func seconds(ttl uint32) time.Duration { return time.Duration(ttl) * time.Second }

// ask asks the servers in order, as often as resolv.conf says, until one knows.
func (q query) ask(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	var last error
	for range min(max(q.conf.Attempts, 1), 5) {
		for _, server := range q.conf.Servers {
			r, err := q.exchange(ctx, q.dialable(server), name, kind)
			if ctx.Err() != nil && last != nil {
				return nil, last
			}
			if err != nil {
				last = fmt.Errorf("%w: %w from %s", errSilent, err, server)
				continue
			}
			switch r.Rcode {
			case dns.RcodeSuccess:
				return r, nil
			case dns.RcodeNameError:
				return nil, errNoName
			}
			last = fmt.Errorf("name server %s says %s", server, dns.RcodeToString[r.Rcode])
		}
	}
	return nil, last
}

func (q query) dialable(server string) string {
	if _, _, err := net.SplitHostPort(server); err == nil {
		return server
	}
	return net.JoinHostPort(server, q.conf.Port)
}

// exchange asks one server over UDP, again without EDNS where it does not understand that, and over TCP where the answer is cut.
func (q query) exchange(ctx context.Context, server, name string, kind uint16) (*dns.Msg, error) {
	m := new(dns.Msg).SetQuestion(name, kind)
	m.SetEdns0(udpSize, false)
	r, err := q.once(ctx, "udp", server, m)
	if err == nil && r.Rcode == dns.RcodeFormatError {
		m.Extra = nil
		r, err = q.once(ctx, "udp", server, m)
	}
	if err == nil && r.Truncated {
		r, err = q.once(ctx, "tcp", server, m)
	}
	return r, err
}

// once sends one message over a connection of its own and takes the answer. Its error is a few plain words.
func (q query) once(ctx context.Context, network, server string, m *dns.Msg) (*dns.Msg, error) {
	limit := min(time.Duration(max(q.conf.Timeout, 1))*time.Second, q.system.try)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client := dns.Client{Net: network, Timeout: limit, UDPSize: udpSize}
	conn, err := client.DialContext(ctx, server)
	if err != nil {
		return nil, plain(err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	r, _, err := client.ExchangeWithConnContext(ctx, m, conn)
	switch {
	case err != nil && (ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded)):
		return nil, fmt.Errorf("no answer within %s", limit)
	case err != nil:
		return nil, plain(err)
	case len(r.Question) != 1 || dns.CanonicalName(r.Question[0].Name) != dns.CanonicalName(m.Question[0].Name) || r.Question[0].Qtype != m.Question[0].Qtype:
		return nil, errors.New("an answer to another question")
	}
	return r, nil
}

// plain leaves out who spoke to whom: the server is named anyway.
func plain(err error) error {
	var call *os.SyscallError
	if errors.As(err, &call) {
		return call.Err
	}
	return err
}

package config

import (
	"fmt"
	"strconv"
	"strings"
)

func (v *validator) services() {
	seen := map[string]path{}
	for i := range v.config.Services {
		s := &v.config.Services[i]
		p := path{}.key("services").item(i, s.Name)
		v.name(s.Name, p.key("name"))
		v.unique(seen, s.Name, "services", p.key("name"))
		v.members(s, p)
		v.balance(s.Balance, p.key("balance"))
		if s.Check != nil {
			v.check(s.Check, p.key("check"), false)
		}
		v.atMost(p.key("outlier"), "ejection", s.Outlier.Ejection, "max_ejection", s.Outlier.MaxEjection)
		v.atMost(p.key("breaker"), "reset", s.Breaker.Reset, "max_reset", s.Breaker.MaxReset)
		v.timeout(s.Timeout, p.key("timeout"))
		v.retry(s.Retry, p.key("retry"))
		v.limits(s, p)
		v.overload(s, p)
		v.chain(s, p)
		v.cache(s, p)
		v.memberTLS(s.TLS, p.key("tls"))
		if s.ProxyProtocol != "" && s.Protocol == "http2" {
			v.problem(p.key("proxy_protocol"), "proxy_protocol cannot go with protocol http2, where many clients share a connection",
				"take it out: members learn the client from the Forwarded and X-Forwarded-For headers")
		}
		v.use(s, p)
	}
}

func (v *validator) members(s *Service, p path) {
	if s.Engine != nil {
		v.engine(s, p)
		return
	}
	p = p.key("members")
	if len(s.Members) == 0 && len(s.Fallback) == 0 {
		v.problem(p, fmt.Sprintf("the service %q has no members", s.Name), "give at least one: members: [10.0.0.1:8080]")
		return
	}
	ids, addresses, weight := map[string]path{}, map[string]path{}, 0
	for i, m := range s.Members {
		at := p.item(i, m.ID())
		v.name(m.Name, at.key("name"))
		v.memberAddress(m.Address, at.key("address"))
		weight += m.Weight
		if first, twice := addresses[m.Address]; twice && m.Address != "" {
			hint := "take one of them out; a larger share of the traffic is what weight is for"
			if place := v.places.nearest(first); place.line > 0 {
				hint = fmt.Sprintf("it is already at line %d: %s", place.line, hint)
			}
			v.problem(at.key("address"), fmt.Sprintf("the address %s is given to two members", m.Address), hint)
			continue
		}
		addresses[m.Address] = at.key("address")
		v.unique(ids, m.ID(), "members", at.key("name"))
	}
	if weight == 0 && len(s.Members) > 0 {
		v.problem(p, "every member has weight 0, so none gets any traffic", "give at least one a weight of 1 or more")
	}
}

func (v *validator) balance(b Balance, p path) {
	switch {
	case b.Policy == "hash" && b.Hash == nil:
		v.problem(p.key("policy"), "the policy hash does not say what to hash", "add hash: {cookie: NAME}, {header: NAME}, {path: true} or {client: true}")
	case b.Policy != "hash" && b.Hash != nil:
		v.problem(p.key("hash"), "hash has no effect with the policy "+b.Policy, "write policy: hash, or take hash out")
	}
	if b.Hash != nil {
		v.token(b.Hash.Header, "header", p.key("hash").key("header"))
		v.token(b.Hash.Cookie, "cookie", p.key("hash").key("cookie"))
	}
	if b.Sticky != nil {
		v.token(b.Sticky.Cookie, "cookie", p.key("sticky").key("cookie"))
		if b.Sticky.Cookie == "" {
			v.problem(p.key("sticky").key("cookie"), "the cookie has no name", "give it one, or take cookie out")
		}
	}
}

func (v *validator) timeout(t Timeout, p path) {
	if t.Total == 0 || !v.given(p, "total") {
		return
	}
	for _, phase := range []struct {
		key string
		d   Duration
	}{{"connect", t.Connect}, {"first_byte", t.FirstByte}} {
		if v.given(p, phase.key) {
			v.atMost(p, phase.key, phase.d, "total", t.Total)
		}
	}
}

func (v *validator) retry(r Retry, p path) {
	v.atMost(p, "initial", r.Initial, "max", r.Max)
	causes := []string{"connect", "reset", "timeout"}
	for i, on := range r.On {
		code, err := strconv.Atoi(on)
		if err == nil && code >= 400 && code <= 599 || on == "connect" || on == "reset" || on == "timeout" {
			continue
		}
		hint := "it takes connect, reset, timeout, and status codes from 400 to 599"
		if near := closest(on, causes); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		v.problem(p.key("on").item(i, ""), fmt.Sprintf("%q is nothing that can be retried on", on), hint)
	}
}

func (v *validator) limits(s *Service, p path) {
	if l := s.Limit; l != nil {
		at := p.key("limit")
		if l.Member > l.Concurrency && l.Concurrency > 0 {
			v.problem(at.key("member"), fmt.Sprintf("member (%d) is more than concurrency (%d), so it is never reached", l.Member, l.Concurrency),
				"make it smaller, or take it out")
		}
		if l.Queue > 0 && l.Wait == 0 {
			v.problem(at.key("wait"), "with wait 0 nobody waits in the queue", "write queue: 0, or a longer wait")
		}
	}
	if c := s.Connections; c.Max > 0 && c.Idle > c.Max && v.given(p.key("connections"), "idle") {
		v.problem(p.key("connections").key("idle"), fmt.Sprintf("idle (%d) is more than max (%d), so it is never reached", c.Idle, c.Max),
			"make it smaller, or max larger")
	}
	if total := s.Timeout.Total; total > 0 && v.given(p.key("hold"), "for") {
		v.atMost(p.key("hold"), "for", s.Hold.For, "timeout.total", total)
	}
}

func (v *validator) memberTLS(t *MemberTLS, p path) {
	if t == nil {
		return
	}
	switch {
	case t.Cert != "" && t.Key == "":
		v.problem(p.key("cert"), "cert is given without key", "add key, the file with the certificate's private key")
	case t.Key != "" && t.Cert == "":
		v.problem(p.key("key"), "key is given without cert", "add cert, the file with the certificate")
	}
	if t.Insecure && t.CA != "" {
		v.problem(p.key("insecure"), "insecure leaves ca without effect", "take insecure out")
	}
	if strings.Contains(t.Name, "*") || t.Name != "" && !hostName(t.Name) {
		v.problem(p.key("name"), fmt.Sprintf("%q is not a host name", t.Name), "write the name that the member's certificate is for")
	}
}

// use reports what a service gives although the listeners that lead to it make nothing of it.
func (v *validator) use(s *Service, p path) {
	kinds := v.config.kindsOf(s.Name)
	if kinds[HTTP] || len(kinds) == 0 {
		return
	}
	const why, hint = " has no effect: only TCP listeners lead to this service", "take it out, or lead to the service from a listener's routes"
	for _, key := range []string{"protocol", "fallback", "cache", "rate", "shed", "hedge"} {
		v.useless(p, key, key+why, hint)
	}
	v.useless(p.key("balance"), "sticky", "sticky"+why+", and cookies are part of HTTP", hint)
	v.useless(p.key("limit"), "adaptive", "adaptive"+why, "give concurrency, or lead to the service from a listener's routes")
	v.useless(p.key("limit"), "client", "client"+why, hint)
	for _, key := range []string{"header", "cookie", "path"} {
		v.useless(p.key("balance").key("hash"), key, key+why, "TCP sessions can be hashed by client: true")
	}
	for _, key := range []string{"first_byte", "total"} {
		v.useless(p.key("timeout"), key, key+why, hint)
	}
	for _, key := range []string{"on", "body", "unsafe"} {
		v.useless(p.key("retry"), key, key+why, "TCP sessions are tried again when they cannot connect")
	}
	v.useless(p.key("hold"), "bytes", "bytes"+why, hint)
	if !kinds[TCP] {
		v.useless(p, "tls", "tls has no effect: sessions sent on by sni are passed unopened", "take it out")
	}
}

// kindsOf is the kinds of the listeners that lead to a service.
func (c *Config) kindsOf(service string) map[Kind]bool {
	kinds := map[Kind]bool{}
	for _, l := range c.Listeners {
		if l.Service == service {
			kinds[TCP] = true
		}
		for _, s := range l.SNI {
			kinds[SNI] = kinds[SNI] || s.Service == service
		}
		for _, r := range l.Routes {
			to := r.Service == service || r.Mirror != nil && r.Mirror.Service == service
			for _, s := range r.Split {
				to = to || s.Service == service
			}
			kinds[HTTP] = kinds[HTTP] || to
		}
	}
	for kind, used := range kinds {
		if !used {
			delete(kinds, kind)
		}
	}
	return kinds
}

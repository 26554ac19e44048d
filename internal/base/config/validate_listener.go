package config

import (
	"fmt"
	"net"
	"strings"
)

// listeners returns what they, and the metrics, are bound to.
func (v *validator) listeners() []binding {
	seen := map[string]path{}
	var bound []binding
	if m := v.config.Metrics; m != nil {
		bound = append(bound, binding{address: m.Listen, where: path{}.key("metrics").key("listen"), what: "the metrics"})
	}
	for i := range v.config.Listeners {
		l := &v.config.Listeners[i]
		p := path{}.key("listeners").item(i, l.ID())
		v.name(l.Name, p.key("name"))
		if l.Name != "" {
			v.unique(seen, l.Name, "listeners", p.key("name"))
		}
		v.bindable(l.Listen, p.key("listen"))
		b := binding{address: l.Listen, where: p.key("listen"), what: "the listener " + l.ID()}
		v.collision(bound, b)
		bound = append(bound, b)
		v.networks(l.ProxyProtocol, p.key("proxy_protocol"))
		v.networks(l.Forwarded.Trust, p.key("forwarded").key("trust"))
		v.listenerTLS(l, p)
		v.sessions(l, p.key("keep_sessions"))
		v.rate(l.Rate, p.key("rate"))
		v.standbys(l, p)
		if l.Kind() == HTTP {
			v.routes(l, p.key("routes"))
		} else {
			v.tcp(l, p)
		}
	}
	return bound
}

// binding is an address that something of this configuration listens on.
type binding struct {
	address string
	where   path
	what    string
}

// collision reports an address that cannot be listened on because another part already does, and says whether there is one.
func (v *validator) collision(bound []binding, b binding) bool {
	host, port, err := net.SplitHostPort(b.address)
	for _, other := range bound {
		otherHost, otherPort, otherErr := net.SplitHostPort(other.address)
		same := b.address == other.address
		if err == nil && otherErr == nil {
			same = port == otherPort && port != "0" && (host == otherHost || wildcard(host) || wildcard(otherHost))
		}
		if !same || b.address == "" {
			continue
		}
		hint := "give one of them another port, or another address of this machine"
		if at := v.places.nearest(other.where); at.line > 0 {
			hint = fmt.Sprintf("that is at line %d: %s", at.line, hint)
		}
		v.problem(b.where, fmt.Sprintf("%s and %s listen on the same address", other.what, strings.TrimPrefix(b.what, "the ")), hint)
		return true
	}
	return false
}

func wildcard(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }

func (v *validator) listenerTLS(l *Listener, p path) {
	t := l.TLS
	if t == nil {
		return
	}
	p = p.key("tls")
	if l.Kind() == SNI {
		v.problem(p, "tls ends TLS sessions here, but sni passes them on unopened", "take tls out, or lead to a service instead of sni")
	}
	switch {
	case t.ClientAuth != "none" && t.ClientCA == "":
		v.problem(p.key("client_auth"), "client_auth needs client_ca to hold certificates against", "add client_ca, the file with the authorities of clients' certificates")
	case t.ClientAuth == "none" && t.ClientCA != "":
		v.problem(p.key("client_ca"), "client_ca has no effect with client_auth none", "write client_auth: require or client_auth: optional")
	}
}

// standbys holds a listener of standbys against the service that it is of.
func (v *validator) standbys(l *Listener, p path) {
	if l.Standbys == nil {
		return
	}
	p = p.key("standbys")
	if l.Kind() != TCP {
		v.problem(p, "standbys says which members of a service get sessions, but the listener has none", "give the listener service, the one whose standbys are meant")
		return
	}
	if s, ok := v.config.Service(l.Service); ok && s.Engine == nil {
		v.problem(p, fmt.Sprintf("the service %s has no engine, so that none of its members is a standby", l.Service), "take standbys out, or give the service an engine")
	}
}

// sessions validates that whose sessions are kept is known to speak PostgreSQL's protocol.
func (v *validator) sessions(l *Listener, p path) {
	if !l.KeepSessions {
		return
	}
	const hint = "take keep_sessions out, or lead to a service with engine: {postgres: …}"
	if l.Kind() != TCP {
		v.problem(p, "keep_sessions is for a listener with a service of the engine postgres", hint)
		return
	}
	if s, ok := v.config.Service(l.Service); ok && (s.Engine == nil || s.Engine.Postgres == nil) {
		v.problem(p, fmt.Sprintf("keep_sessions needs the engine postgres, which the service %q does not have", l.Service), hint)
	}
}

// tcp validates a listener that passes bytes on.
func (v *validator) tcp(l *Listener, p path) {
	v.reference(l.Service, p.key("service"))
	const hint = "take it out, or give the listener routes"
	for _, key := range []string{"http2", "forwarded", "priority", "rate"} {
		v.useless(p, key, key+" has no effect on a TCP listener", hint)
	}
	v.useless(p.key("timeout"), "body_idle", "body_idle has no effect on a TCP listener", hint)
	for _, key := range []string{"head", "headers", "body", "requests"} {
		v.useless(p.key("limits"), key, key+" has no effect on a TCP listener", hint)
	}
	seen := map[string]path{}
	for i, s := range l.SNI {
		at := p.key("sni").item(i, strings.Join(s.Names, "+"))
		v.reference(s.Service, at.key("service"))
		for j, name := range s.Names {
			where := at.key("names").item(j, "")
			if name != "*" {
				v.hostPattern(name, where)
			}
			if _, twice := seen[strings.ToLower(name)]; twice {
				v.problem(where, fmt.Sprintf("the name %s is given twice", name), "keep one of them")
			}
			seen[strings.ToLower(name)] = where
		}
	}
}

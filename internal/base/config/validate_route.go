package config

import (
	"fmt"
	"net/http"
	"net/textproto"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

func (v *validator) routes(l *Listener, p path) {
	seen := map[string]path{}
	for i := range l.Routes {
		r := &l.Routes[i]
		at := p.item(i, r.Name)
		v.name(r.Name, at.key("name"))
		v.unique(seen, l.RouteID(i), "routes", at.key("name"))
		v.reachable(l.Routes[:i], r, at)
		v.match(&r.Match, at.key("match"))
		v.action(r, at)
		v.rewrite(r.Rewrite, at.key("rewrite"))
		v.headerEdit(r.RequestHeaders, at.key("request_headers"), true)
		v.headerEdit(r.ResponseHeaders, at.key("response_headers"), false)
		if r.Timeout != nil {
			v.timeout(*r.Timeout, at.key("timeout"))
		}
		if r.Retry != nil {
			v.retry(*r.Retry, at.key("retry"))
		}
		v.rate(r.Rate, at.key("rate"))
	}
}

// reachable reports a route all of whose requests an earlier one takes.
func (v *validator) reachable(before []Route, r *Route, p path) {
	for i, earlier := range before {
		label := earlier.Name
		if label == "" {
			label = strconv.Itoa(i + 1)
		}
		switch {
		case reflect.DeepEqual(earlier.Match, Match{}):
			v.problem(p, "this route is never reached: route "+label+" before it takes every request", "move route "+label+" to the end")
			return
		case reflect.DeepEqual(earlier.Match, r.Match):
			v.problem(p, "this route is never reached: route "+label+" before it matches the same requests", "take one of them out")
			return
		}
	}
}

func (v *validator) match(m *Match, p path) {
	v.hostPattern(m.Host, p.key("host"))
	var paths []string
	for _, way := range []struct{ key, value string }{{"path", m.Path}, {"exact", m.Exact}, {"regex", m.Regex}} {
		if way.value == "" {
			continue
		}
		paths = append(paths, way.key)
		if way.key != "regex" {
			v.pathText(way.value, p.key(way.key))
		}
	}
	if len(paths) > 1 {
		v.problem(p.key(paths[1]), enumerate(paths)+" are given together", "keep one of them")
	}
	v.pattern(m.Regex, p.key("regex"))
	for i, method := range m.Method {
		v.method(method, p.key("method").item(i, ""))
	}
	if method, twice := repeated(m.Method); twice {
		v.problem(p.key("method"), fmt.Sprintf("the method %s is given twice", method), "keep one of them")
	}
	for _, name := range keys(m.Headers) {
		v.token(name, "header", p.key("headers").key(name))
		v.pattern(m.Headers[name], p.key("headers").key(name))
	}
}

// pathText checks a path, or the beginning of one.
func (v *validator) pathText(s string, p path) {
	if s == "" {
		return
	}
	if !strings.HasPrefix(s, "/") {
		v.problem(p, fmt.Sprintf("the path %q does not begin with /", s), "write "+slashed(s))
	}
	if strings.ContainsAny(s, "?#") {
		v.problem(p, "a path ends before ? and #", "take out what follows")
	}
	v.line(s, p)
}

func (v *validator) action(r *Route, p path) {
	v.reference(r.Service, p.key("service"))
	v.split(r.Split, p.key("split"))
	v.respond(r.Respond, p.key("respond"))
	if r.Mirror != nil {
		v.reference(r.Mirror.Service, p.key("mirror").key("service"))
	}
	if d := r.Redirect; d != nil {
		at := p.key("redirect")
		if d.Scheme == "" && d.Host == "" && d.Path == "" {
			v.problem(at, "this redirects clients to where they already are", "give scheme, host or path")
		}
		v.pathText(d.Path, at.key("path"))
		if strings.ContainsAny(d.Host, "/ ") || strings.ContainsFunc(d.Host, func(c rune) bool { return c < ' ' }) {
			v.problem(at.key("host"), fmt.Sprintf("%q is not a host", d.Host), "write host or host:port; scheme and path have keys of their own")
		}
	}
	if r.Redirect == nil && r.Respond == nil {
		return
	}
	for _, key := range []string{"mirror", "rewrite", "request_headers", "timeout", "retry", "priority"} {
		v.useless(p, key, key+" has no effect on a route that answers by itself", "take it out, or lead to a service")
	}
}

func (v *validator) split(shares []Split, p path) {
	seen, weight := map[string]bool{}, 0
	for i, s := range shares {
		at := p.item(i, s.Service).key("service")
		v.reference(s.Service, at)
		weight += s.Weight
		if seen[s.Service] && s.Service != "" {
			v.problem(at, fmt.Sprintf("the service %q has two shares", s.Service), "join them into one")
		}
		seen[s.Service] = true
	}
	if weight == 0 && len(shares) > 0 {
		v.problem(p, "every share has weight 0, so no request can go anywhere", "give at least one a weight of 1 or more")
	}
}

func (v *validator) respond(r *Respond, p path) {
	if r == nil {
		return
	}
	v.headers(r.Headers, p.key("headers"))
	for _, name := range keys(r.Headers) {
		v.framing(name, p.key("headers").key(name))
	}
	if r.Body != "" && (r.Status == http.StatusNoContent || r.Status == http.StatusNotModified) {
		v.problem(p.key("body"), fmt.Sprintf("an answer with status %d has no body", r.Status), "take body out, or choose another status")
	}
}

func (v *validator) rewrite(r *Rewrite, p path) {
	if r == nil {
		return
	}
	switch {
	case *r == Rewrite{}:
		v.problem(p, "this rewrites nothing", "give strip, prefix, host, or regex with to")
	case r.Regex != "" && (r.Strip != "" || r.Prefix != ""):
		v.problem(p.key("regex"), "regex cannot go with strip or prefix", "say it all in regex and to, or without them")
	case r.To != "" && r.Regex == "":
		v.problem(p.key("to"), "to is given without regex", "add regex, which finds what to replace")
	}
	v.pathText(r.Strip, p.key("strip"))
	v.pathText(r.Prefix, p.key("prefix"))
	v.pattern(r.Regex, p.key("regex"))
	v.line(r.Host, p.key("host"))
}

func (v *validator) headerEdit(h *HeaderEdit, p path, request bool) {
	if h == nil {
		return
	}
	check := func(name string, at path) {
		v.framing(name, at)
		if request && strings.EqualFold(name, "host") {
			v.problem(at, "the Host header is not changed here", "write rewrite: {host: …}")
		}
	}
	for i, name := range h.Remove {
		at := p.key("remove").item(i, "")
		v.token(name, "header", at)
		check(name, at)
	}
	for _, group := range []struct {
		key     string
		headers map[string]Secret
	}{{"set", h.Set}, {"add", h.Add}} {
		for _, name := range keys(group.headers) {
			at := p.key(group.key).key(name)
			v.secretHeader(name, group.headers[name], at)
			check(name, at)
		}
	}
	if len(h.Remove)+len(h.Set)+len(h.Add) == 0 {
		v.problem(p, "this changes no header", "give remove, set or add, or take it out")
	}
}

// framingHeaders say where messages end or belong to one connection; changing them would let requests be smuggled.
var framingHeaders = []string{"Connection", "Content-Length", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Connection"}

func (v *validator) framing(name string, p path) {
	if slices.Contains(framingHeaders, textproto.CanonicalMIMEHeaderKey(name)) {
		v.problem(p, name+" is Backstay's own to set: it says how the message is framed", "take it out")
	}
}

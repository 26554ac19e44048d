package config

import (
	"fmt"
	"regexp"
	"strings"
)

// overload looks at what protects a service from more work than it can do.
func (v *validator) overload(s *Service, p path) {
	v.rate(s.Rate, p.key("rate"))
	if l := s.Limit; l != nil {
		at := p.key("limit")
		if !l.Adaptive && l.Concurrency == 0 && l.Client == 0 && !v.places.doubtful(at.key("concurrency")) {
			v.problem(at, "concurrency is missing", "add concurrency: … (a whole number), or write limit: adaptive")
		}
		if !l.Adaptive {
			v.useless(at, "min", "min has no effect on a fixed limit", "write adaptive: true, or take min out")
		}
		if l.Adaptive && l.Concurrency > 0 && l.Min > l.Concurrency {
			v.problem(at.key("min"), fmt.Sprintf("min (%d) is more than concurrency (%d)", l.Min, l.Concurrency), "make it smaller, or concurrency larger")
		}
	}
	if s.Shed != nil && !s.Shed.Off && s.Limit != nil && !s.Limit.Adaptive && s.Limit.Queue == 0 {
		v.problem(p.key("shed"), "nothing can be shed by how long requests wait: the limit has queue: 0, so that none waits", "take queue out, or shed")
	}
}

// chain looks at a service's fallbacks as a whole.
func (v *validator) chain(s *Service, p path) {
	fixed := false
	for i, f := range s.Fallback {
		at := p.key("fallback").item(i, "")
		v.respond(f.Respond, at.key("respond"))
		v.reference(f.Service, at.key("service"))
		if f.Service != "" && f.Service == s.Name {
			v.problem(at.key("service"), "a service cannot be its own fallback", "name another service")
		}
		if fixed && f.Cache == 0 {
			v.problem(at, "it is never asked: the fallback before it always has an answer", "put respond last")
		}
		fixed = fixed || f.Respond != nil
	}
}

func (v *validator) rate(r *Rate, p path) {
	if r == nil {
		return
	}
	if r.Requests != "" {
		if _, err := ParseFrequency(r.Requests); err != nil {
			message, hint, _ := strings.Cut(err.Error(), ": ")
			v.problem(p.key("requests"), message, hint)
		}
	}
	v.token(r.Header, "header", p.key("header"))
	switch {
	case r.Per == "header" && r.Header == "":
		v.problem(p.key("per"), "per: header does not say which header", "add header: NAME")
	case r.Per != "header":
		v.useless(p, "header", "header has no effect with per: "+r.Per, "write per: header, or take header out")
	}
	if r.Shared && r.Per != "service" {
		v.problem(p.key("shared"), "a rate per: "+r.Per+" cannot be shared", "take shared out: each node then bounds what comes to it")
	}
	if r.Shared && r.Per == "service" && len(v.config.Nodes) < 2 {
		v.problem(p.key("shared"), "there is nobody to share the rate with", "name the cluster's nodes under nodes, or take shared out")
	}
	if r.Per == "service" {
		v.useless(p, "keys", "keys has no effect with per: service", "take it out")
	}
}

// tokenID is what the keys of signed priorities may be called: it stands in every token.
var tokenID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,16}$`)

func (v *validator) tokens() {
	t := v.config.PriorityTokens
	if t == nil {
		return
	}
	seen := map[string]path{}
	for i, k := range t.Keys {
		p := path{}.key("priority_tokens").key("keys").item(i, k.ID)
		if k.ID != "" && !tokenID.MatchString(k.ID) {
			v.problem(p.key("id"), fmt.Sprintf("%q cannot be the id of a key", k.ID), "use up to 16 letters, digits, dashes and underscores")
		}
		v.unique(seen, k.ID, "keys", p.key("id"))
		if n := len(k.Secret.Text); n > 0 && n < 16 {
			v.problem(p.key("secret"), fmt.Sprintf("the secret has %d bytes, and could be guessed", n), "use 16 at least; 32 random ones are right")
		}
	}
}

func (v *validator) modes() {
	seen := map[string]path{}
	for i := range v.config.Modes {
		m := &v.config.Modes[i]
		p := path{}.key("modes").item(i, m.Name)
		v.name(m.Name, p.key("name"))
		v.unique(seen, m.Name, "modes", p.key("name"))
		v.reference(m.Service, p.key("service"))
		v.respond(m.Respond, p.key("respond"))
		if s, ok := v.config.Service(m.Service); ok && m.Respond == nil && len(s.Fallback) == 0 {
			v.problem(p.key("service"), fmt.Sprintf("nothing says what clients of %s get while it is spared", m.Service), "add respond here, or a fallback to the service")
		}
		if m.Service == "" {
			v.useless(p, "respond", "respond has no effect without service", "name the service that is spared, or take respond out")
		}
		if w := m.When; w != nil {
			v.modeWhen(w, p.key("when"))
		}
	}
}

func (v *validator) modeWhen(w *ModeWhen, p path) {
	v.reference(w.Shedding, p.key("shedding"))
	v.reference(w.Breaker, p.key("breaker"))
	if s, ok := v.config.Service(w.Shedding); ok && !s.Sheds() {
		v.problem(p.key("shedding"), fmt.Sprintf("the service %s does not shed requests", w.Shedding), "add shed: on to it")
	}
	if s, ok := v.config.Service(w.Breaker); ok && s.Breaker.Off {
		v.problem(p.key("breaker"), fmt.Sprintf("the breaker of the service %s is off", w.Breaker), "turn it on, or take this out")
	}
}

// Sheds says whether the service refuses the least important requests under overload: where shed asks for it, and, unless that is
// off, where its limit is adaptive.
func (s *Service) Sheds() bool {
	if s.Shed != nil {
		return !s.Shed.Off
	}
	return s.Limit != nil && s.Limit.Adaptive
}

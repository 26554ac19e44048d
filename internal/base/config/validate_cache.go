package config

import "fmt"

// cache looks at a service's cache, and at what its fallback wants of it.
func (v *validator) cache(s *Service, p path) {
	stale, fixed := false, false
	for j, f := range s.Fallback {
		at := p.key("fallback").item(j, "").key("cache")
		switch {
		case f.Cache == 0:
		case fixed:
			v.problem(at, "it is never asked: the fallback before it always has an answer", "put cache ahead of respond")
		case stale:
			v.problem(at, "a service has one cache, and its fallback is given already", "take one of them out")
		}
		stale = stale || f.Cache > 0
		fixed = fixed || f.Respond != nil
	}
	c := s.Cache
	if c == nil {
		return
	}
	at := p.key("cache")
	if c.MaxEntry > c.Memory/8 && v.given(at, "max_entry") {
		v.problem(at.key("max_entry"), fmt.Sprintf("max_entry (%s) is more than an eighth of memory (%s)", c.MaxEntry, c.Memory), "make it smaller, or memory larger")
	}
	if !c.Serve && !stale {
		v.problem(at.key("serve"), "with serve: false the cache is for a fallback, and there is none", "add fallback: [{cache: 10m}], or take serve out")
	}
}

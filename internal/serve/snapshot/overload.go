package snapshot

import (
	"fmt"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/serve/protect"
	"github.com/backstay/backstay/resilience"
)

// Fallback is one answer for when a service cannot give its own: exactly one of these.
type Fallback struct {
	Cache   bool // what the cache has that went stale
	Service *Service
	Respond *Respond
}

// Spare is a degradation mode that spares a service: while it is on, clients get Respond, or the service's fallback where that is nil.
type Spare struct {
	Mode    *protect.Mode
	Respond *Respond
}

// priorities are the words of the configuration.
var priorities = map[string]resilience.Priority{
	"critical+": resilience.CriticalPlus, "critical": resilience.Critical, "high": resilience.Critical,
	"normal": resilience.Normal, "sheddable": resilience.Sheddable, "low": resilience.Sheddable,
}

// ParsePriority reads the name of a class.
func ParsePriority(name string) (resilience.Priority, bool) {
	p, ok := priorities[name]
	return p, ok
}

// rank says how much a route's requests matter. ranked is false where nobody has said: they are normal, and members are not told.
func rank(l config.Listener, r config.Route) (p resilience.Priority, ranked bool) {
	name := r.Priority
	if name == "" {
		name = l.Priority
	}
	p, ok := priorities[name]
	if !ok {
		return resilience.Normal, false
	}
	return p, r.Priority != "" || p != resilience.Normal
}

// rate finds a rate that is in force with the same settings, or makes one, with what was taken from the one before.
func (b *builder) rate(scope string, c *config.Rate) (*protect.Rate, error) {
	if c == nil {
		return nil, nil
	}
	var before *protect.Rate
	if b.deps.Previous != nil {
		before = b.deps.Previous.rates[scope]
	}
	if before != nil && before.Config() == *c && (before.Share() == nil || before.Share().Fits(b.deps.Sharing.Nodes)) {
		b.out.rates[scope] = before
		return before, nil
	}
	var r *protect.Rate
	var err error
	if c.Shared {
		r, err = protect.NewSharedRate(scope, *c, b.deps.Sharing)
	} else {
		r, err = protect.NewRate(*c, before)
	}
	if err != nil {
		return nil, fmt.Errorf("rate: %w", err)
	}
	b.out.rates[scope] = r
	return r, nil
}

// tokens makes what verifies signed priorities; nil where there are none.
func tokens(c *config.PriorityTokens) (*resilience.Tokens, error) {
	if c == nil {
		return nil, nil
	}
	var o resilience.TokenOptions
	for _, k := range c.Keys {
		secret, err := k.Secret.Reveal()
		if err != nil {
			return nil, fmt.Errorf("priority_tokens: key %s: %w", k.ID, err)
		}
		o.Keys = append(o.Keys, resilience.TokenKey{ID: k.ID, Secret: []byte(secret)})
	}
	return resilience.NewTokens(o)
}

// fallbacks makes the chain of a service; the services in it are set by link.
func fallbacks(c config.Service) (chain []Fallback, staleLater bool) {
	for _, f := range c.Fallback {
		switch {
		case f.Cache > 0:
			staleLater = len(chain) > 0
			chain = append(chain, Fallback{Cache: true})
		case f.Respond != nil:
			chain = append(chain, Fallback{Respond: newRespond(f.Respond)})
		default:
			chain = append(chain, Fallback{})
		}
	}
	return chain, staleLater
}

// link sets what services say about each other, once all are there.
func (b *builder) link(c *config.Config) error {
	for _, s := range b.out.Services {
		for i, f := range s.Config.Fallback {
			if f.Service == "" {
				continue
			}
			other, err := b.serviceNamed(f.Service)
			if err != nil {
				return fmt.Errorf("service %s: fallback: %w", s.Name, err)
			}
			s.Fallbacks[i].Service = other
		}
	}
	modes := b.deps.Modes
	if modes == nil {
		modes = protect.NewModes(protect.Signals{}, nil)
	}
	b.out.Modes, b.out.StagedModes = modes, modes.Stage(c.Modes)
	for i, m := range c.Modes {
		if m.Service == "" {
			continue
		}
		s, err := b.serviceNamed(m.Service)
		if err != nil {
			return fmt.Errorf("mode %s: %w", m.Name, err)
		}
		spare := Spare{Mode: b.out.StagedModes[i]}
		if m.Respond != nil {
			spare.Respond = newRespond(m.Respond)
		}
		s.Spares = append(s.Spares, spare)
	}
	return nil
}

// Spared is the mode that spares the service now, nil where none does.
func (s *Service) Spared() *Spare {
	for i := range s.Spares {
		if s.Spares[i].Mode.Open() {
			return &s.Spares[i]
		}
	}
	return nil
}

// Level deals a client its level within a class, anew every so often.
func Level(class resilience.Priority, client string, now time.Time) resilience.Priority {
	return class.ForAt(client, now, dealing)
}

// dealing is how long clients of one class keep their places: long enough that what one client does in a row fares alike, short enough
// that nobody is at the bottom for long.
const dealing = time.Minute

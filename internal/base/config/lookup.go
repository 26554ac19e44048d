package config

import "strconv"

// Kind is how a listener treats its connections.
type Kind string

// The kinds of listeners.
const (
	HTTP Kind = "http" // it has routes
	TCP  Kind = "tcp"  // it has a service
	SNI  Kind = "sni"  // it sends TLS sessions on by name, unopened
)

// Service finds a service by its name.
func (c *Config) Service(name string) (*Service, bool) {
	for i := range c.Services {
		if c.Services[i].Name == name {
			return &c.Services[i], true
		}
	}
	return nil, false
}

// Listener finds a listener by its ID.
func (c *Config) Listener(id string) (*Listener, bool) {
	for i := range c.Listeners {
		if c.Listeners[i].ID() == id {
			return &c.Listeners[i], true
		}
	}
	return nil, false
}

// Node finds a node by its name.
func (c *Config) Node(name string) (*Node, bool) {
	for i := range c.Nodes {
		if c.Nodes[i].Name == name {
			return &c.Nodes[i], true
		}
	}
	return nil, false
}

// ID is the member's name, or its address where it has none. It is unique within the service.
func (m Member) ID() string {
	if m.Name != "" {
		return m.Name
	}
	return m.Address
}

// ID is the listener's name, or its address where it has none. It is unique within the configuration.
func (l Listener) ID() string {
	if l.Name != "" {
		return l.Name
	}
	return l.Listen
}

// Pool is the name of the pool that a TCP listener's sessions go to: its service's, or its own of the service's standbys.
func (l Listener) Pool() string {
	if l.Standbys != nil {
		return l.Service + "@" + l.ID()
	}
	return l.Service
}

// Kind says what the listener speaks: HTTP with routes, SNI with sni, TCP with a service.
func (l Listener) Kind() Kind {
	switch {
	case len(l.SNI) > 0:
		return SNI
	case l.Service != "":
		return TCP
	}
	return HTTP
}

// RouteID is the name of the route at index i, or its position counted from 1 where it has none. It is unique within the listener.
func (l Listener) RouteID(i int) string {
	if name := l.Routes[i].Name; name != "" {
		return name
	}
	return strconv.Itoa(i + 1)
}

// HasRoute says whether a route has this RouteID.
func (l Listener) HasRoute(id string) bool {
	for i := range l.Routes {
		if l.RouteID(i) == id {
			return true
		}
	}
	return false
}

// Down is the time between two looks at a member that is down: every_down, or every where that is not given.
func (c Check) Down() Duration {
	if c.EveryDown > 0 {
		return c.EveryDown
	}
	return c.Every
}

// Agreement is how the nodes agree: what store says, or its defaults.
func (c *Config) Agreement() Store {
	if c.Store != nil {
		return *c.Store
	}
	return Default[Store]()
}

// Engines lists the services that have an engine.
func (c *Config) Engines() []Service {
	var out []Service
	for _, s := range c.Services {
		if s.Engine != nil {
			out = append(out, s)
		}
	}
	return out
}

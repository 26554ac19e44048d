package node

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/operate/api"
)

// Access implements api.Cluster. The way is through one of this node's own listeners, which reach the primary whoever it is;
// without one, to the primary itself.
func (n *Node) Access(_ context.Context, service string) (api.Access, error) {
	if n.stateful == nil {
		return api.Access{}, errStateless()
	}
	c := n.snapshot.Load().Config
	sc, err := enginesService(c, service)
	if err != nil {
		return api.Access{}, err
	}
	p := sc.Engine.Postgres
	if p == nil {
		return api.Access{}, api.Errorf(api.Invalid, "service %s is not a PostgreSQL", sc.Name)
	}
	i := n.stateful.crew.instance(sc.Name)
	if i == nil {
		return api.Access{}, api.Errorf(api.Refused, "%s has no instance of %s, and not its passwords: use one of %s", n.stateful.self.Name, sc.Name, strings.Join(p.Nodes, ", "))
	}
	out := api.Access{Service: sc.Name, Kind: "postgres", User: "postgres", Password: i.superuser, Programs: p.Programs, Instances: map[string]string{}}
	d := n.stateful.declaration(c, *sc)
	for _, m := range d.Members {
		out.Instances[m.Node] = m.Address
	}
	for _, l := range c.Listeners {
		if l.Service != sc.Name || l.Standbys != nil || l.TLS != nil || len(l.ProxyProtocol) > 0 {
			continue
		}
		if out.Host, out.Port, err = ownAddress(l.Listen, n.stateful.self.Address); err == nil {
			return out, nil
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.primaries[sc.Name]
	if r.Primary == "" {
		return out, api.Errorf(api.Refused, "%s has no primary now, and this node no listener that would wait for one: `backstay explain %s` says why", sc.Name, sc.Name)
	}
	out.Host, out.Port, err = hostPort(r.Address)
	return out, err
}

// enginesService finds the service that is meant; without a name the only one with PostgreSQL.
func enginesService(c *config.Config, name string) (*config.Service, error) {
	if name != "" {
		sc, ok := c.Service(name)
		if !ok {
			return nil, api.Errorf(api.NotFound, "there is no service %q", name)
		}
		if sc.Engine == nil {
			return nil, api.Errorf(api.Invalid, "service %s has no engine", name)
		}
		return sc, nil
	}
	var all []string
	for _, s := range c.Engines() {
		if s.Engine.Postgres != nil {
			all = append(all, s.Name)
		}
	}
	switch len(all) {
	case 0:
		return nil, api.Errorf(api.NotFound, "no service is a PostgreSQL")
	case 1:
		sc, _ := c.Service(all[0])
		return sc, nil
	}
	return nil, api.Errorf(api.Ambiguous, "several services are a PostgreSQL; say which: %s", strings.Join(all, ", "))
}

// ownAddress is where this node reaches a listener of its own.
func ownAddress(listen, self string) (string, int, error) {
	host, port, err := hostPort(listen)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = self
	}
	return host, port, err
}

func hostPort(address string) (string, int, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return "", 0, fmt.Errorf("port of %s: %w", address, err)
	}
	return host, number, nil
}

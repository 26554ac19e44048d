package node

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/cluster/trust"
	"github.com/backstay/backstay/internal/operate/api"
	"github.com/backstay/backstay/internal/serve/pool"
)

// Status implements api.System.
func (n *Node) Status(context.Context) (api.Status, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := api.Status{
		Node: n.self.Name, Zone: n.self.Zone, Version: n.options.Version, PID: os.Getpid(), State: n.state.Load().(api.NodeState),
		Started: n.started, Now: time.Now(), Config: n.inForce,
	}
	snap := n.snapshot.Load()
	if snap == nil {
		return out, nil
	}
	out.Cluster = snap.Config.Cluster
	n.versionStatus(&out.Config)
	for _, l := range snap.Config.Listeners {
		listener := api.ListenerStatus{
			Name: l.ID(), Address: l.Listen, Kind: listenerKind(l), TLS: l.TLS != nil,
			Connections: n.metrics.Listener(l.ID()).Active(),
		}
		if l.KeepSessions {
			c := n.sessions.Count(l.ID())
			listener.Sessions = &api.KeptSessions{Open: c.Sessions, Tied: c.Tied, Detached: c.Detached}
		}
		out.Listeners = append(out.Listeners, listener)
	}
	caches := n.caches.Usage()
	for _, s := range snap.Services {
		service := serviceStatus(n.pools[s.Name].Status())
		if u, ok := caches[s.Name]; ok {
			service.Cache = cacheStatus(u)
		}
		switch {
		case s.Standbys != nil:
			n.tellReaders(s.Name, service.Members)
		case s.Config.Engine != nil && n.stateful != nil:
			service.Instances, service.Asked = n.instances(s.Name)
			service.Agreement = n.agreement(s.Name)
		}
		out.Services = append(out.Services, service)
	}
	out.Modes = n.modeStatus()
	out.Rates = n.rateStatus()
	return out, nil
}

// versionStatus adds what is known of the cluster's configuration; the mutex is held.
func (n *Node) versionStatus(out *api.ConfigStatus) {
	if v := n.version; v != nil {
		out.Version, out.Applied, out.Differs = v.Number, credit(*v), n.options.differing(*v)
	}
	if n.stateful != nil {
		out.Waiting = n.stateful.follow.waiting()
		if until, err := trust.Expires(trustDir(n.options.Data)); err == nil {
			out.Certificate = until
		}
	}
}

func serviceStatus(s pool.ServiceStatus) api.ServiceStatus {
	out := api.ServiceStatus{
		Name: s.Name, State: api.ServiceState(s.State), Evidence: s.Evidence, Policy: s.Policy,
		InFlight: s.InFlight, Queued: s.Queued, Held: s.Held, Breaker: s.Breaker,
	}
	protection(&out, s)
	for _, m := range s.Members {
		out.Members = append(out.Members, api.MemberStatus{
			Name: m.Name, Address: m.Address, Zone: m.Zone, State: api.MemberState(m.State), Since: m.Since, Evidence: m.Evidence,
			Check: m.Check, Breaker: m.Breaker, InFlight: m.InFlight, Latency: m.Latency, Share: m.Share,
			Weight: m.Weight, Priority: m.Priority, Requests: m.Requests, Failures: m.Failures,
		})
	}
	return out
}

// Drain implements api.System.
func (n *Node) Drain(_ context.Context, member string) error { return n.drain(member, true) }

// Resume implements api.System.
func (n *Node) Resume(_ context.Context, member string) error { return n.drain(member, false) }

func (n *Node) drain(member string, on bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	service, name, err := n.find(member)
	if err != nil {
		return err
	}
	if err := n.pools[service].Drain(name, on); err != nil {
		return api.Errorf(api.NotFound, "%v", err)
	}
	return nil
}

// find resolves SERVICE/MEMBER, or MEMBER alone where it is the only one of that name. A DNS name that stands for several
// addresses is found by itself and by each.
func (n *Node) find(member string) (service, name string, err error) {
	var matches [][2]string
	for s, p := range n.pools {
		var names []string
		for _, m := range p.Status().Members {
			names = append(names, m.Name)
			if base, _, ok := strings.Cut(m.Name, "/"); ok {
				names = append(names, base)
			}
		}
		slices.Sort(names)
		for _, m := range slices.Compact(names) {
			if member == m || member == s+"/"+m {
				matches = append(matches, [2]string{s, m})
			}
		}
	}
	switch len(matches) {
	case 0:
		return "", "", api.Errorf(api.NotFound, "no member is named %q; `backstay status` lists them", member)
	case 1:
		return matches[0][0], matches[0][1], nil
	}
	var options []string
	for _, m := range matches {
		options = append(options, m[0]+"/"+m[1])
	}
	slices.Sort(options)
	return "", "", api.Errorf(api.Ambiguous, "%q is the name of several members; say which: %s", member, strings.Join(options, ", "))
}

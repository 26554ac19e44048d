package node

import (
	"context"
	"errors"
	"strings"

	"github.com/backstay/backstay/internal/operate/api"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/protect"
)

// signals are what degradation modes go by.
func (n *Node) signals() protect.Signals {
	level := func(of func(*pool.Service) float64) func(string) float64 {
		return func(service string) float64 {
			if p := n.pool(service); p != nil {
				return of(p)
			}
			return 0
		}
	}
	return protect.Signals{Shedding: level((*pool.Service).ShedLevel), Breaker: level((*pool.Service).BreakerLevel)}
}

// Degrade implements api.System.
func (n *Node) Degrade(_ context.Context, mode, state string) error {
	err := n.modes.Turn(mode, state)
	if errors.Is(err, protect.ErrNoMode) {
		var names []string
		for _, m := range n.modes.Status() {
			names = append(names, m.Name)
		}
		if len(names) == 0 {
			return api.Errorf(api.NotFound, "there is no degradation mode %q: the configuration has no modes", mode)
		}
		return api.Errorf(api.NotFound, "there is no degradation mode %q: the modes are %s", mode, strings.Join(names, ", "))
	}
	if err != nil {
		return api.Errorf(api.Invalid, "%v", err)
	}
	return nil
}

func (n *Node) modeStatus() []api.ModeStatus {
	var out []api.ModeStatus
	for _, m := range n.modes.Status() {
		out = append(out, api.ModeStatus{
			Name: m.Name, On: m.On, ByHand: m.ByHand, Since: m.Since, Signal: m.Signal, When: m.When, Service: m.Service,
		})
	}
	return out
}

// protection adds what protects a service to its status.
func protection(out *api.ServiceStatus, s pool.ServiceStatus) {
	if l := s.Limit; l != nil {
		out.Limit = &api.LimitStatus{Concurrency: l.Concurrency, Adaptive: l.Adaptive, InUse: l.InUse}
	}
	if d := s.Shed; d != nil {
		out.Shed = &api.ShedStatus{AdmissionLevel: d.AdmissionLevel, Below: d.Below, Refused: d.Refused, Delay: d.DelaySeconds}
	}
}

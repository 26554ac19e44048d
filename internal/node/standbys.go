package node

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/control"
	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/decide/plan"
	"github.com/backstay/backstay/internal/observe/lag"
	"github.com/backstay/backstay/internal/observe/resolve"
	"github.com/backstay/backstay/internal/operate/api"
	"github.com/backstay/backstay/internal/serve/snapshot"
)

// watched is a service's standbys as one listener for them, or the status, sees them: how far behind, and which may serve.
type watched struct {
	span    time.Duration
	clock   *lag.Clock
	serving map[string]bool
}

// statusSpan is over what time lag is told apart where no listener asks.
const statusSpan = time.Minute

// watch looks at a service's standbys for each listener that sends sessions to them, and for the status.
func (s *stateful) watch(service string, now time.Time) {
	v, err := s.control.View(service)
	snap := s.node.snapshot.Load()
	if err != nil || snap == nil {
		return
	}
	s.look(service, config.Standbys{MaxLag: config.Duration(statusSpan)}, v, now)
	for _, p := range snap.Services {
		if p.Of == service {
			s.look(p.Name, *p.Standbys, v, now)
		}
	}
}

// look measures and judges for one pool, and tells it who serves where that has changed.
func (s *stateful) look(pool string, c config.Standbys, v failover.View, now time.Time) {
	w := s.watched[pool]
	if span := time.Duration(c.MaxLag); w == nil || w.span != span {
		w = &watched{span: span, clock: lag.NewClock(span), serving: map[string]bool{}}
		s.watched[pool] = w
	}
	readers := w.judge(v, failover.ReadLimit{Lag: time.Duration(c.MaxLag), Bytes: uint64(c.MaxLagBytes)}, now)
	var changed []failover.Reader
	for _, r := range readers {
		if r.Serves != w.serving[r.Node] {
			w.serving[r.Node] = r.Serves
			changed = append(changed, r)
		}
	}
	s.node.setReaders(pool, readers, len(changed) > 0)
	for _, r := range changed {
		if pool == v.Service.Name { // no listener
			continue
		}
		rec := event.Record{Kind: event.ServiceReader, Service: pool, Member: r.Node, Message: r.Node + " gets no sessions that read", Evidence: r.String()}
		if r.Serves {
			rec.Message = r.Node + " gets sessions that read"
		}
		s.node.append(rec)
	}
}

// judge takes what the nodes report and says who may serve.
func (w *watched) judge(v failover.View, limit failover.ReadLimit, now time.Time) []failover.Reader {
	fresh := func(node string) (failover.Report, time.Time, bool) {
		n := v.Nodes[node]
		return n.Report, now.Add(-n.Ago), n.Heard && n.Report.Observed && n.Report.Observation.Running
	}
	if v.State != nil {
		if r, at, ok := fresh(v.State.Primary); ok && r.Observation.Role == plan.Primary {
			w.clock.Primary(v.State.Primary, v.State.Epoch, r.Observation.Position, at)
		}
	}
	behind := map[string]lag.Lag{}
	for _, m := range v.Service.Members {
		r, _, ok := fresh(m.Node)
		switch {
		case ok:
			w.clock.Standby(m.Node, r.Applied())
		case v.Nodes[m.Node].Report.Observation.Empty:
			w.clock.Forget(m.Node)
		}
		behind[m.Node] = w.clock.Lag(m.Node, now)
	}
	return failover.Readers(v, limit, behind, w.serving)
}

// setReaders keeps what was found, and tells the pool where somebody else is to serve than before.
func (n *Node) setReaders(pool string, readers []failover.Reader, changed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.readers[pool] = readers
	if changed {
		n.renew(func(s *snapshot.Service) bool { return s.Name == pool && s.Standbys != nil })
	}
}

// asPrimary is the name of the primary in a pool of standbys: it is another member than the standby it was or will be, so
// that sessions end as they should when it becomes the one or the other.
func asPrimary(node string) string { return node + "/primary" }

// readable lists those that serve, and behind them the primary where that is wanted.
func readable(readers []failover.Reader, r control.Route, orPrimary bool) []resolve.Endpoint {
	var out []resolve.Endpoint
	for _, m := range readers {
		switch {
		case m.Serves:
			out = append(out, resolve.Endpoint{Name: m.Node, Address: m.Address, Zone: m.Zone, Weight: 1})
		case orPrimary && m.Node == r.Primary:
			out = append(out, resolve.Endpoint{Name: asPrimary(m.Node), Address: r.Address, Zone: m.Zone, Weight: 1, Priority: 1})
		}
	}
	return out
}

// tellReaders adds to the members of a pool of standbys how far they are behind. The caller holds the mutex.
func (n *Node) tellReaders(pool string, members []api.MemberStatus) {
	for i := range members {
		for _, r := range n.readers[pool] {
			if r.Node == members[i].Name && members[i].Evidence == "" {
				members[i].Evidence = r.String()
			}
		}
	}
}

// agreement is what the nodes have agreed on about a service; nil where nothing is.
func (n *Node) agreement(service string) *api.AgreementStatus {
	v, err := n.stateful.control.View(service)
	if err != nil || v.State == nil {
		return nil
	}
	s := v.State
	out := &api.AgreementStatus{
		Primary: s.Primary, Epoch: s.Epoch, Protection: v.Service.Protection, Writes: s.Sync.String(), Downgraded: v.Downgraded(), Paused: s.Paused, PausedFor: s.PausedFor,
		LeaseLeft: v.Left.Seconds(), HoldDown: v.HeldDownFor().Seconds(), Decision: failover.Decide(v).Rule,
	}
	if s.Plan != nil {
		out.Plan = s.Plan.Kind + " " + s.Plan.ID
	}
	return out
}

// instances is what was heard of the instances of a service, and what an operator asked for. The caller holds the mutex.
func (n *Node) instances(service string) (out []api.InstanceStatus, asked string) {
	v, err := n.stateful.control.View(service)
	if err != nil {
		return nil, ""
	}
	if v.State != nil && v.State.Wish != nil {
		asked = strings.TrimSpace(v.State.Wish.Kind + " " + v.State.Wish.To)
	}
	for _, m := range v.Service.Members {
		heard := v.Nodes[m.Node]
		o := heard.Report.Observation
		i := api.InstanceStatus{Node: m.Node, Address: m.Address, Role: "unknown"}
		if v.State != nil {
			i.InLine, i.Counts = slices.Contains(v.State.InLine, m.Node), slices.Contains(v.State.Sync.Names, m.Node)
		}
		if heard.Heard && heard.Report.Observed {
			i.Started = o.Started
			i.Role, i.Epoch, i.Upstream, i.Streaming = string(o.Role), o.Epoch, o.Upstream, o.Streaming
			i.PendingRestart, i.Problem = o.PendingRestart, cmp.Or(o.Problem, heard.Report.Trouble)
		}
		for _, r := range n.readers[service] {
			if r.Node == m.Node && r.Lag.Known && i.Role == string(plan.Standby) {
				seconds := r.Lag.Time.Seconds()
				i.Lag, i.LagBytes = &seconds, r.Lag.Bytes
			}
		}
		out = append(out, i)
	}
	return out, asked
}

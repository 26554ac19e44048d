package failover

import "github.com/backstay/backstay/internal/decide/plan"

// upstream is whom this node's instance is to replicate from: the primary, or, for a member that cascades, a standby of its
// own region that streams from the primary. It stays with the one it has as long as that will do.
func (f *facts) upstream() string {
	own, _ := f.v.Service.Member(f.v.Self)
	if !own.Cascade || f.s.Primary == "" {
		return f.s.Primary
	}
	best := f.s.Primary
	for _, m := range f.v.Service.Members {
		switch {
		case !f.relays(m) || m.Region != own.Region:
		case m.Node == f.own().Observation.Upstream:
			return m.Node
		case best == f.s.Primary:
			best = m.Node
		}
	}
	return best
}

// relays says whether a member can pass the primary's history on: all that it has is a beginning of that.
func (f *facts) relays(m Member) bool {
	r, ok := f.v.heard(m.Node)
	o := r.Observation
	return ok && m.Node != f.v.Self && m.Node != f.s.Primary && !m.Cascade && !f.v.suspected(m.Node) && !r.Leaving && !f.leavesLine(m.Node) &&
		r.Observed && o.Running && o.Role == plan.Standby && o.Streaming && o.Upstream == f.s.Primary && o.Epoch == f.s.Epoch &&
		(f.s.SystemID == "" || o.SystemID == f.s.SystemID)
}

// careRepoint: what the instance has came from this very primary by way of another, so there is nothing to be given up.
func (f *facts) careRepoint() bool {
	own, _ := f.v.Service.Member(f.v.Self)
	o := f.own().Observation
	return own.Cascade && !f.counted() && o.Epoch == f.s.Epoch && o.Upstream != "" && o.Upstream != f.upstream() &&
		f.say("it follows %s", o.Upstream)
}

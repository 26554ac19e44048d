package failover

import (
	"time"

	"github.com/backstay/backstay/internal/decide/plan"
)

var testTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// healthy is a view of b on a service whose primary a serves with two synchronous standbys.
func healthy() View {
	svc := Service{Name: "db", Voters: []string{"a", "b", "c"}, Protection: MaxAvailability}
	for i, n := range svc.Voters {
		svc.Members = append(svc.Members, Member{Node: n, Priority: i, Zone: n})
	}
	v := View{
		Now: testTime, Self: "b", Service: svc.WithDefaults(), StateKnown: true, Store: true, EpochAge: time.Hour, GroupAge: time.Second, ID: "P1",
		Lease: Lease{Known: true, Holder: "a", Epoch: 4},
		State: &State{
			Service: "db", Epoch: 4, Primary: "a", Last: "a", SystemID: "s1",
			Sync: Guarantee{Names: []string{"b", "c"}, Quorum: 1}, InLine: []string{"b", "c"},
		},
		Nodes: map[string]Node{},
	}
	for _, n := range svc.Voters {
		r := Report{Node: n, Epoch: 4, Observed: true, Store: true, Observation: plan.Observation{
			Node: n, Running: true, Role: plan.Standby, SystemID: "s1", Timeline: 2, Position: 5000, Epoch: 4, Upstream: "a", Streaming: true,
		}}
		if n == "a" {
			r.Serving = true
			r.Observation = plan.Observation{
				Node: n, Running: true, Role: plan.Primary, Writable: true, SystemID: "s1", Timeline: 2, Position: 5000, Epoch: 4, SyncNames: []string{"b", "c"}, SyncQuorum: 1,
				Standbys: []plan.Downstream{{Node: "b", Position: 5000, Sync: true}, {Node: "c", Position: 5000, Sync: true}},
			}
		}
		v.Nodes[n] = Node{Heard: true, Report: r}
	}
	return v
}

// on changes what is known of a node.
func (v View) on(name string, change func(n *Node)) View {
	n := v.Nodes[name]
	change(&n)
	v.Nodes[name] = n
	return v
}

// suspects lets nodes suspect another.
func (v View) suspects(who string, why string, voters ...string) View {
	for _, n := range voters {
		v.on(n, func(n *Node) {
			all := map[string]string{who: why}
			for k, w := range n.Report.Suspects {
				all[k] = w
			}
			n.Report.Suspects = all
		})
		if n == v.Self {
			v.on(who, func(n *Node) { n.Heard, n.Ago = false, 1300*time.Millisecond })
		}
	}
	return v
}

// cascading makes c a member that cascades, out of line and following a node.
func (v View) cascading(upstream string) View {
	m := &v.Service.Members[2]
	m.NoFailover, m.Async, m.Cascade = true, true, true
	v.State.InLine, v.State.Sync.Names = []string{"b"}, []string{"b"}
	v.unseen("c", time.Hour)
	v.on("a", func(n *Node) { n.Report.Observation.SyncNames = []string{"b"} })
	return v.on("c", func(n *Node) {
		n.Away, n.Report.Observation.Streaming, n.Report.Observation.Upstream = 0, true, upstream
	})
}

// wishing lets an operator ask for something.
func (v View) wishing(kind, to string) View {
	v.State.Wish = &Wish{ID: "w", Kind: kind, To: to, By: "ann"}
	return v
}

// gone lets a node be dead for everyone.
func (v View) gone(who string) View {
	var others []string
	for _, n := range v.Service.Voters {
		if n != who {
			others = append(others, n)
		}
	}
	return v.suspects(who, "silent for 1.3s", others...)
}

// unseen lets the primary miss a standby's stream for a time.
func (v View) unseen(who string, away time.Duration) View {
	v.on(who, func(n *Node) { n.Away, n.Report.Observation.Streaming = away, false })
	return v.on("a", func(n *Node) {
		var rest []plan.Downstream
		for _, d := range n.Report.Observation.Standbys {
			if d.Node != who {
				rest = append(rest, d)
			}
		}
		n.Report.Observation.Standbys = rest
	})
}

// fresh is a view of a service about which nothing is agreed.
func fresh() View {
	v := healthy()
	v.State, v.Lease = nil, Lease{Known: true, Free: true}
	for _, n := range v.Service.Voters {
		v.on(n, func(n *Node) {
			n.Report.Observation = plan.Observation{Node: n.Report.Node, Empty: true}
			n.Report.Serving = false
		})
	}
	return v
}

// revoked is a view in the middle of a failover from a: the epoch is 5, and the given members are fenced at their positions.
func revoked(fenced map[string]uint64) View {
	v := healthy().gone("a")
	p := Decide(v).Plan
	s := v.State.Clone()
	s.Plan, s.Epoch, s.Primary = p, 5, ""
	p.Tasks[0].Done, p.Group = true, 1
	for i := range p.Tasks {
		t := &p.Tasks[i]
		if t.Epoch = 5; t.Kind != plan.Fence {
			continue
		}
		if at, ok := fenced[t.Node]; ok {
			m := Mark{Plan: p.ID, Task: i, Epoch: 5, Done: true, Position: at, Timeline: 2, SystemID: "s1"}
			v.on(t.Node, func(n *Node) { n.Report.Marks = append(n.Report.Marks, m) })
		}
	}
	v.State, v.GroupAge = &s, 2*time.Second
	v.Lease = Lease{Known: true, Epoch: 5, Open: true}
	return v
}

package control

import (
	"slices"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/decide/plan"
)

// A markKey names a task at an epoch.
type markKey struct {
	plan  string
	task  int
	epoch uint64
}

// A mark is what became of a task of this node.
type mark struct {
	failover.Mark
	at time.Time // when it was made
}

// current returns the plan's task of a kind whose turn it is; -1: none.
func current(p *failover.Progress, k plan.Kind) int {
	if p == nil {
		return -1
	}
	return slices.IndexFunc(p.Tasks, func(t failover.Task) bool { return t.Kind == k && t.Group == p.Group && !t.Done })
}

// ownMarks are the marks of the plan under way.
func (u *unit) ownMarks() []failover.Mark {
	if u.state == nil || u.state.Plan == nil {
		return nil
	}
	var all []failover.Mark
	for k, m := range u.marks {
		if k.plan == u.state.Plan.ID {
			all = append(all, m.Mark)
		}
	}
	slices.SortFunc(all, func(a, b failover.Mark) int { return a.Task - b.Task })
	return all
}

// forget drops the marks of plans that are over, and ends what is done for them.
func (u *unit) forget() {
	id := ""
	if u.state.Plan != nil {
		id = u.state.Plan.ID
	}
	for k := range u.marks {
		if k.plan != id {
			delete(u.marks, k)
		}
	}
	h := &u.hands
	if h.next != nil && h.next.urgency == urgencyTask && h.next.task.plan != id {
		h.next = nil
	}
	if h.job != nil && h.job.urgency == urgencyTask && h.job.task.plan != id {
		h.cancel()
	}
	if id != u.deposed && u.state.Plan != nil {
		u.deposed = ""
	}
}

// work does this node's part of the plan, as far as its turn has come.
func (u *unit) work(v failover.View) {
	p := u.state.Plan
	if p == nil || u.engine == nil {
		return
	}
	for i := range p.Tasks {
		t := p.Tasks[i]
		late := t.Optional && t.Group < p.Group && (t.Kind == plan.Fence || t.Kind == plan.Stop && u.isPrimary())
		if t.Node != u.c.o.Self || t.Done || t.Group != p.Group && !late {
			continue
		}
		k := markKey{p.ID, i, t.Epoch}
		m, tried := u.marks[k]
		if m.Done || tried && u.now.Sub(m.at) < 2*u.svc.Heartbeat || u.hands.doing(k) || !u.mayDo(v, t) {
			continue
		}
		u.use(job{urgency: urgencyTask, step: t.Step, task: k, after: func(out outcome) { u.ended(k, t, out) }})
		return
	}
}

// mayDo says whether the conditions of a task that lie on this node are met.
func (u *unit) mayDo(v failover.View, t failover.Task) bool {
	if t.Epoch != u.state.Epoch {
		return false
	}
	switch t.Kind {
	case plan.Create, plan.Promote:
		epoch, _, held := u.lease.Held()
		return held && epoch == t.Epoch
	case plan.Fence:
		return u.svc.Protection != failover.MaxPerformance && !u.state.Alone() || u.quiet(v) || u.c.o.off == safeguardQuiet
	}
	return true
}

// quiet says whether the old primary cannot be acting on this node's word any more. One that needs nobody for its
// acknowledgements, as it is agreed or declared here, is not stopped by a fence; but its authority without the store lasts for a ttl after
// it last asked every member.
func (u *unit) quiet(v failover.View) bool {
	old := u.state.Last
	if old == "" || old == u.c.o.Self {
		return true
	}
	if n := v.Nodes[old]; n.Heard && !n.Report.Serving {
		return true
	}
	last, ok := u.served[old]
	return !ok || u.now.Sub(last) >= u.svc.TTL
}

// ended notes what became of a task, with what the instance looks like after it.
func (u *unit) ended(k markKey, t failover.Task, out outcome) {
	m := mark{Mark: failover.Mark{Plan: k.plan, Task: k.task, Epoch: k.epoch}, at: time.Now()}
	if out.err != nil {
		m.Error = out.err.Error()
		u.c.o.Log.Debug("step failed", "service", u.svc.Name, "step", t.String(), "error", out.err)
	} else {
		o := out.observation
		m.Done, m.Position, m.Timeline, m.SystemID = true, o.Position, o.Timeline, o.SystemID
	}
	u.marks[k] = m
}

// unheard returns the record with this node's own marks, where the runner seems not to hear of them.
func (u *unit) unheard(now time.Time) (failover.State, bool) {
	next := u.state.Clone()
	changed := false
	for k, m := range u.marks {
		if m.Done && now.Sub(m.at) > 3*u.svc.Heartbeat && k.plan == next.Plan.ID && k.task < len(next.Plan.Tasks) && k.epoch == next.Plan.Tasks[k.task].Epoch {
			changed = next.Plan.Tasks[k.task].Take(m.Mark, now) || changed
		}
	}
	return next, changed
}

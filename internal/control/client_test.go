package control

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/act/fake"
	"github.com/backstay/backstay/internal/decide/failover"
)

// client writes through a node's proxy, again and again.
func (s *sim) client(proxy string, every time.Duration) {
	for s.ctx.Err() == nil {
		s.write(proxy)
		select {
		case <-time.After(every):
		case <-s.ctx.Done():
		}
	}
}

// write is one session with one write: the route is looked up, followed, and watched until the answer is back.
func (s *sim) write(proxy string) bool {
	n := s.nodes[proxy]
	if !n.up() || n.isHung() {
		return false
	}
	routes := n.ctl().Routes()
	changed := routes.Changed()
	r := routes.Route("db")
	valid := func(r Route) bool { return r.Valid(time.Now()) || s.wrong.credulous && r.Primary != "" }
	if !valid(r) || !s.linked(proxy, r.Primary) && proxy != r.Primary {
		return false
	}
	ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second)
	defer cancel()
	go func() { // the proxy cuts sessions whose route is no more
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			case <-time.After(20 * time.Millisecond):
			}
			if n.isHung() {
				continue
			}
			changed = routes.Changed()
			if now := routes.Route("db"); now.Epoch != r.Epoch || !valid(now) {
				cancel()
				return
			}
		}
	}()
	s.mu.Lock()
	s.serial++
	value := fmt.Sprintf("%s-%d", proxy, s.serial)
	s.mu.Unlock()
	in := s.world.Instance(r.Primary)
	w, err := in.Write(ctx, value)
	if err != nil {
		return false
	}
	now := routes.Route("db")
	toClient := valid(now) && now.Epoch == r.Epoch && !n.isHung() && n.up()
	s.ack(value, w, toClient)
	return toClient
}

// ack checks an acknowledgement against all before it.
func (s *sim) ack(value string, w fake.Write, toClient bool) {
	if s.lost && !toClient {
		return
	}
	s.mu.Lock()
	old, fresh := s.epoch, w.Epoch > s.epoch
	if !s.ackAt.IsZero() {
		s.gap = max(s.gap, time.Since(s.ackAt))
	}
	s.acked[value], s.ackAt, s.epoch = true, time.Now(), max(s.epoch, w.Epoch)
	s.acks = append(s.acks, fmt.Sprintf("%s %s at %d by %s, epoch %d", time.Now().Format("05.0000"), value, w.Position, w.Node, w.Epoch))
	recorded := s.recorded
	s.mu.Unlock()
	s.covers(recorded, []string{value}, func(member, value string) bool { return s.world.Instance(member).Has(value) })
	if w.Epoch < old {
		s.breaks(onePrimary, "%s acknowledged %s at epoch %d after one at epoch %d", w.Node, value, w.Epoch, old)
	}
	if fresh {
		s.logf("first acknowledgement of %s at epoch %d", w.Node, w.Epoch)
		s.check(w.Node)
	}
}

// check says which acknowledged writes an instance does not have.
func (s *sim) check(node string) {
	if s.lost {
		return
	}
	s.mu.Lock()
	acked, acks := slices.Collect(maps.Keys(s.acked)), s.acks
	s.mu.Unlock()
	set := map[string]bool{}
	for _, v := range s.world.Instance(node).Values() { // after the acknowledgements were collected
		set[v] = true
	}
	missing := slices.DeleteFunc(acked, func(v string) bool { return set[v] })
	if len(missing) > 0 {
		slices.Sort(missing)
		for _, a := range acks {
			if slices.Contains(missing, strings.Fields(a)[1]) {
				s.logf("lost: %s", a)
			}
		}
		s.breaks(keepsAcknowledged, "%s does not have %d acknowledged writes: %s", node, len(missing), strings.Join(missing, " "))
	}
}

// whole says what is missing for everything to be as it should.
func (s *sim) whole() string {
	primary := ""
	for _, name := range s.names {
		n := s.nodes[name]
		st := n.ctl().State("db")
		if st == nil || st.Primary == "" {
			return name + " knows no primary"
		}
		if primary == "" {
			primary = st.Primary
		}
		r := n.ctl().Routes().Route("db")
		switch {
		case st.Primary != primary:
			return name + " knows another primary"
		case st.Plan != nil || len(st.Before) > 0:
			return name + " knows of a plan: " + planText(st.Plan)
		case len(st.InLine) != s.others(primary, false):
			return fmt.Sprintf("in line are %v", st.InLine)
		case s.svc.Protection != failover.MaxPerformance && len(st.Sync.Names) != s.others(primary, true):
			return fmt.Sprintf("the set is %s", st.Sync)
		case !r.Valid(time.Now()) || r.Primary != primary:
			return fmt.Sprintf("%s has route %+v", name, r)
		}
	}
	if w := s.world.Writers(); !slices.Equal(w, []string{primary}) {
		return fmt.Sprintf("writers are %v", w)
	}
	for _, m := range s.svc.Members {
		if at := s.upstream(m.Node); m.Cascade && m.Node != primary && (at == "" || at == primary && len(s.members) > 2) {
			return fmt.Sprintf("%s, which cascades, streams from %q", m.Node, at)
		}
	}
	return ""
}

// others counts the members that are to be in line with a primary, or of these the ones that confirm writes.
func (s *sim) others(primary string, confirm bool) (n int) {
	for _, m := range s.svc.Members {
		if m.Node != primary && !m.Cascade && (!confirm || !m.Async) {
			n++
		}
	}
	return n
}

// upstream is from where a member streams by its own word; empty where it does not.
func (s *sim) upstream(node string) string {
	v, err := s.nodes[node].ctl().View("db")
	if o := v.Nodes[node].Report.Observation; err == nil && o.Streaming {
		return o.Upstream
	}
	return ""
}

// settle waits until all is whole and stays so for a while; it fails after the limit.
func (s *sim) settle(limit time.Duration) {
	began, since := time.Now(), time.Time{}
	why := ""
	for time.Since(began) < limit && !s.hasFailed() {
		if why = s.whole(); why != "" {
			since = time.Time{}
		} else if since.IsZero() {
			since = time.Now()
		} else if time.Since(since) > time.Second {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	if s.hasFailed() {
		return
	}
	text := ""
	for _, n := range s.names {
		e, _ := s.nodes[n].ctl().Explain("db")
		text += e
	}
	s.logf("%s", text)
	s.breaks(becomesWhole, "not whole after %v: %s", limit, why)
}

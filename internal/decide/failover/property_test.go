package failover

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/decide/plan"
)

// TestCoveredSetsMeetEveryQuorum is R + W > N, by trying all sets: a covered set has a member of each set of that many.
func TestCoveredSetsMeetEveryQuorum(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	pick := func(bits int, n int) (s []string) {
		for i := range n {
			if bits&(1<<i) != 0 {
				s = append(s, names[i])
			}
		}
		return s
	}
	for n := range len(names) + 1 {
		for k := range n + 1 {
			g := Guarantee{Names: names[:n], Quorum: k}
			for fenced := range 1 << n {
				meets := true
				for w := range 1 << n {
					if writes := pick(w, n); len(writes) == k && len(intersect(writes, pick(fenced, n))) == 0 {
						meets = false
					}
				}
				if g.CoveredBy(pick(fenced, n)) != meets {
					t.Errorf("%s by %v: covered %t, meets every quorum %t", g, pick(fenced, n), !meets, meets)
				}
			}
		}
	}
}

// wild makes a view in which anything may be the case.
func wild(rng *rand.Rand) View {
	v := healthy()
	yes := func(n int) bool { return rng.IntN(n) == 0 }
	some := func() (s []string) {
		for _, n := range v.Service.Voters {
			if yes(2) {
				s = append(s, n)
			}
		}
		return s
	}
	v.Self = v.Service.Voters[rng.IntN(3)]
	v.Service.Protection = []string{MaxProtection, MaxAvailability, MaxPerformance}[rng.IntN(3)]
	v.Service.Members[rng.IntN(3)].NoFailover = yes(4)
	v.Service.Members[rng.IntN(3)].Async = yes(4)
	if m := &v.Service.Members[rng.IntN(3)]; yes(6) {
		m.Cascade, m.Async, m.NoFailover = true, true, true
	}
	v.StateKnown, v.Store = !yes(20), !yes(10)
	v.EpochAge, v.GroupAge = time.Duration(rng.Int64N(int64(time.Minute))), time.Duration(rng.Int64N(int64(8*time.Second)))
	s := v.State
	s.Last = v.Service.Voters[rng.IntN(3)]
	if s.Primary = s.Last; yes(5) {
		s.Primary = ""
	}
	s.Paused, s.Failovers, s.Hold = yes(6), rng.IntN(3), yes(5)
	in := slices.DeleteFunc(some(), func(n string) bool { return n == s.Last })
	s.InLine, s.Sync = in, Guarantee{Names: in, Quorum: rng.IntN(len(in) + 2)}
	if yes(3) {
		s.Before, s.Base = []Guarantee{{Names: some(), Quorum: rng.IntN(2)}}, uint64(rng.IntN(2)*4500)
	}
	if yes(4) {
		s.Wish = &Wish{Kind: []string{WishSwitchover, WishFailover, WishReinit, WishRestart}[rng.IntN(4)], To: v.Service.Voters[rng.IntN(3)], By: "ann"}
	}
	v.Lease = Lease{Known: true, Holder: s.Primary, Epoch: s.Epoch + uint64(rng.IntN(2)), Free: yes(2), Mine: s.Primary == v.Self && yes(2)}
	for _, name := range v.Service.Voters {
		v.on(name, func(n *Node) {
			n.Heard = name == v.Self || !yes(4)
			n.Away = time.Duration(rng.Int64N(int64(10*time.Second))) * time.Duration(rng.IntN(2))
			r, o := &n.Report, &n.Report.Observation
			r.Store, r.Observed, r.Serving, r.Leaving = !yes(5), !yes(8), name == s.Primary && !yes(5), yes(10)
			r.Lease = r.Serving && !yes(3)
			r.Idle = time.Duration(rng.Int64N(int64(6*time.Second))) * time.Duration(rng.IntN(2))
			r.Epoch = s.Epoch - uint64(rng.IntN(2))
			o.Running, o.Empty, o.Streaming, o.Epoch = !yes(4), yes(10), !yes(3), s.Epoch-uint64(rng.IntN(2))
			o.Position = 5000 - uint64(rng.IntN(300))
			o.Applied = o.Position
			if o.Role = plan.Standby; name == s.Primary && !yes(6) {
				o.Role = plan.Primary
			}
			o.SyncNames, o.SyncQuorum = inForce(s.Sync, s.Primary)
			o.Upstream = []string{s.Last, "", "b"}[rng.IntN(3)]
			o.Standbys = nil
			for _, d := range some() {
				o.Standbys = append(o.Standbys, plan.Downstream{Node: d, Position: 5000 - uint64(rng.IntN(300))})
			}
			r.Suspects = map[string]string{}
			for _, who := range some() {
				if yes(2) {
					r.Suspects[who] = "silent"
				}
			}
		})
	}
	return v
}

// TestWhatIsOrderedCanBeDone checks plans against what engines and the runner know, and what must never be ordered.
func TestWhatIsOrderedCanBeDone(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	seen := map[string]int{}
	for range 30000 {
		v := wild(rng)
		before, _ := json.Marshal(v)
		d, c := Decide(v), Care(v)
		seen[d.Rule]++
		seen["care: "+c.Rule]++
		if after, _ := json.Marshal(v); string(after) != string(before) {
			t.Fatalf("the view was changed by a judgement on it")
		}
		if again := Decide(v); !reflect.DeepEqual(again, d) {
			t.Fatalf("the same view is judged differently:\n%s\n%s", d, again)
		}
		for _, p := range []*Progress{d.Plan, c.Plan} {
			if p != nil {
				possible(t, v, p)
			}
		}
		if v.State.Paused && (c.Verdict == Act || d.Verdict == Act && !d.Plan.Forced) {
			t.Fatalf("paused, and yet: %s %s", d, c)
		}
		if d.Verdict == Act && !v.Store {
			t.Fatalf("without the store: %s", d)
		}
	}
	for _, r := range rules {
		if seen[r.name] == 0 && !strings.HasPrefix(r.name, "new service") && !r.midway() {
			t.Errorf("rule %q was never asked for", r.name)
		}
	}
}

// midway says whether a rule is about plans under way, which are tried elsewhere.
func (r rule) midway() bool {
	return slices.Contains([]string{
		"the epoch of the plan is spent", "the elected member is lost", "the primary was lost during the switchover", "a plan is under way", "the primary is well again",
		"flapping: too many failovers in a short time", "hold-down after the last failover", "the primary's node is leaving",
	}, r.name)
}

func possible(t *testing.T, v View, p *Progress) {
	t.Helper()
	revoked := false
	for _, task := range p.Tasks {
		_, member := v.Service.Member(task.Node)
		switch {
		case slices.Contains(plan.EngineKinds, task.Kind):
			if !member && task.Kind != plan.Promote {
				t.Fatalf("%s is for no member's engine\n%s", task, p)
			}
		case !slices.Contains(plan.RunnerKinds, task.Kind):
			t.Fatalf("nobody can do %s", task)
		}
		revoked = revoked || task.Kind == plan.Revoke
		if task.Kind == plan.Promote && !revoked {
			t.Fatalf("a promotion without a revocation: %s", p)
		}
		if task.Kind == plan.SetSync && task.Quorum > len(task.Names) {
			t.Fatalf("nobody can confirm that: %s", task)
		}
	}
}

// TestNobodyIsElectedWhoMayLackAWrite holds elections with random fences: without force, who is promoted has as much as
// any member of any set that must contain each acknowledged write.
func TestNobodyIsElectedWhoMayLackAWrite(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	elections := 0
	for range 30000 {
		v := wild(rng)
		v.State.Wish = nil
		v.StateKnown, v.Store, v.State.Paused = true, true, false
		s := v.State
		f := &facts{v: v, s: *s}
		f.look()
		s.Plan = failoverPlan(f)
		s.Plan.ID, s.Plan.Service, s.Primary, s.Epoch = "P", "db", "", s.Epoch+1
		for i := range s.Plan.Tasks {
			task := &s.Plan.Tasks[i]
			task.Epoch = s.Epoch
			switch {
			case task.Kind == plan.Elect:
				s.Plan.Group = task.Group
			case task.Kind == plan.Fence && rng.IntN(3) > 0:
				task.Done, task.Position, task.Timeline, task.SystemID = true, uint64(4000+rng.IntN(4)*100), 2, "s1"
			case task.Kind != plan.Fence:
				task.Done = task.Kind == plan.Revoke || task.Kind == plan.Stop
			}
		}
		next, _, _ := Advance(v)
		if next.Elected == "" {
			continue
		}
		elections++
		if v.Service.Protection == MaxPerformance {
			continue
		}
		if err := mayLack(*s, next.Plan, next.Elected); err != "" {
			t.Fatalf("%s was elected: %s\n%s\n%+v", next.Elected, err, next.Plan, s)
		}
	}
	if elections < 5000 {
		t.Errorf("only %d elections", elections)
	}
}

// mayLack says what is wrong with an election, by the definition rather than the code's way to it.
func mayLack(s State, next *Progress, elected string) string {
	at := map[string]uint64{}
	for _, task := range s.Plan.Tasks {
		if task.Kind == plan.Fence && task.Done {
			at[task.Node] = task.Position
		}
	}
	if elected == s.Last {
		return ""
	}
	if i := slices.IndexFunc(next.Tasks, func(t Task) bool { return t.Kind == plan.Follow }); i >= 0 { // it gets the rest first
		at[elected] = max(at[elected], at[next.Tasks[i].Upstream])
	}
	if !slices.Contains(s.InLine, elected) {
		return "it is not in line"
	}
	var behind []string // members of which the elected has everything: itself, and those that are fenced with no more
	for n, p := range at {
		if p <= at[elected] && (slices.Contains(s.InLine, n) || n == s.Last) {
			behind = append(behind, n)
		}
	}
	if slices.Contains(behind, s.Last) {
		return ""
	}
	for _, g := range append([]Guarantee{s.Sync}, s.Before...) {
		if len(intersect(g.Names, behind))+g.Quorum <= len(g.Names) {
			return fmt.Sprintf("a write acknowledged with %s may be elsewhere than on %v", g, behind)
		}
	}
	return ""
}

func TestSwitchoverGoesBackWhereTheTargetDoesNotCatchUp(t *testing.T) {
	v := healthy()
	v.State.Wish = &Wish{Kind: WishSwitchover, To: "c", By: "ann"}
	s := v.State.Clone()
	s.Plan = Decide(v).Plan
	at := map[string]uint64{"a": 5000, "b": 4000, "c": 4000}
	for i := range s.Plan.Tasks {
		task := &s.Plan.Tasks[i]
		if task.Kind == plan.Elect {
			s.Plan.Group = task.Group
			break
		}
		task.Done, task.Position, task.Timeline = true, at[task.Node], 2
		if task.Kind == plan.Fence {
			task.Epoch = 5
		}
	}
	s.Epoch, s.Primary, v.State = 5, "", &s
	next, _, _ := Advance(v)
	if next.Elected != "a" {
		t.Errorf("%q was elected, want a, which alone has everything\n%s", next.Elected, next.Plan)
	}
	if !slices.Equal(next.Plan.Next.Names, []string{"b", "c"}) {
		t.Errorf("who was in line with a is not any more: %s", next.Plan.Next)
	}
}

// TestWhoMayHaveBeenPromotedIsNotInLine: b was elected, perhaps promoted, and never granted; when the old primary is elected
// after it without hearing of b, b may have history of its own.
func TestWhoMayHaveBeenPromotedIsNotInLine(t *testing.T) {
	v := revoked(map[string]uint64{"b": 5000, "c": 5000})
	next, _, _ := Advance(v)
	if next.Elected != "b" || !slices.Equal(next.Tried, []string{"b"}) {
		t.Fatalf("elected %q, tried %v", next.Elected, next.Tried)
	}
	next.Plan.Tasks = slices.DeleteFunc(next.Plan.Tasks, func(task Task) bool { return task.Kind == plan.Promote || task.Kind == plan.Grant })
	for i := range next.Plan.Tasks { // the next attempt: only a is fenced
		task := &next.Plan.Tasks[i]
		task.Epoch = 7
		if task.Kind == plan.Elect {
			task.Done, next.Plan.Group = false, task.Group
		}
		if task.Kind == plan.Fence {
			task.Done, task.Position, task.Timeline = task.Node == "a", 5100, 2
		}
	}
	next.Epoch, next.Elected, v.State = 7, "", &next
	for _, n := range v.Service.Voters {
		v.on(n, func(n *Node) { n.Heard, n.Report.Marks, n.Report.Suspects = true, nil, nil })
	}
	again, _, _ := Advance(v)
	if again.Elected != "a" || !slices.Equal(again.Plan.InLine, []string{"c"}) {
		t.Errorf("elected %q with %v in line, want a with c\n%s", again.Elected, again.Plan.InLine, again.Plan)
	}
}

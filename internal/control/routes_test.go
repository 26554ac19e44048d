package control

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/decide/plan"
)

// watched tells of each step that was done.
type watched struct {
	Engine
	done func(plan.Step)
}

func (w watched) Do(ctx context.Context, s plan.Step) error {
	err := w.Engine.Do(ctx, s)
	if err == nil {
		w.done(s)
	}
	return err
}

// A node that hangs with a promotion under way has its instance ended when its authority is over: by then another may be
// elected, and clients that reach the instance directly must not find two that take writes.
func TestAPromotionIsGuardedFromItsBeginning(t *testing.T) {
	var promoted atomic.Pointer[string] // the last one
	watch := &mutant{engine: func(e Engine) Engine {
		return watched{e, func(s plan.Step) {
			if s.Kind == plan.Promote {
				promoted.Store(&s.Node)
			}
		}}
	}}
	taleOf(t, setup{svc: fast(failover.MaxPerformance), members: 3, witnesses: 2, wrong: watch}, func(s *sim) {
		s.settle(20 * time.Second)
		old := s.primary()
		promoted.Store(nil)
		s.nodes[old].kill(true)
		for promoted.Load() == nil {
			time.Sleep(100 * time.Microsecond)
		}
		hung := *promoted.Load()
		s.logf("---- the process of %s hangs, its instance was just promoted", hung)
		s.nodes[hung].hangAlone()
		deadline := time.Now().Add(time.Minute)
		for s.primary() == "" || s.primary() == old || s.primary() == hung {
			if time.Sleep(time.Millisecond); time.Now().After(deadline) {
				s.fail("nobody took over from %q", hung)
				return
			}
		}
		if w := s.world.Writers(); slices.Contains(w, hung) {
			s.fail("%s hangs since it was promoted, and takes writes beside %s: %v", hung, s.primary(), w)
		}
		s.nodes[hung].resume()
		s.nodes[old].start()
		s.settle(patient)
	})
}

// The guard's word is relaxed only once the instance is known to take no writes: that authority is over does not say so.
func TestOnlyAnInstanceThatTakesNoWritesIsHarmless(t *testing.T) {
	standby := plan.Observation{Running: true, Role: plan.Standby, Upstream: "b"}
	primary := plan.Observation{Running: true, Role: plan.Primary, Writable: true}
	agreed := &failover.State{Epoch: 2, Primary: "b", Last: "b"}
	now := time.Now()
	for name, c := range map[string]struct {
		change func(u *unit)
		want   bool
	}{
		"a standby":                         {func(u *unit) { u.observation = standby }, true},
		"one that does not run":             {func(u *unit) { u.observation = plan.Observation{} }, true},
		"a primary whose authority is over": {func(*unit) {}, false},
		"not seen yet":                      {func(u *unit) { u.observed = false }, false},
		"seen before the last step ended":   {func(u *unit) { u.observation, u.worked = standby, now.Add(time.Second) }, false},
		"a standby that is being promoted":  {func(u *unit) { u.observation, u.hands.job = standby, &job{step: plan.Step{Kind: plan.Promote}} }, false},
		"one that is being started": {func(u *unit) {
			u.observation, u.hands.job = plan.Observation{}, &job{step: plan.Step{Kind: plan.Start}}
		}, false},
		"a standby that is told whom to obey": {func(u *unit) { u.observation, u.hands.job = standby, &job{step: plan.Step{Kind: plan.Follow}} }, true},
		"one whose promotion may still come":  {func(u *unit) { u.observation, u.asked = standby, true }, false},
		"its promotion has failed, it ended":  {func(u *unit) { u.asked = true; u.see(plan.Observation{}, nil, now) }, true},
		"the primary of a service to be":      {func(u *unit) { u.state = nil }, true},
		"running, and not to be told what it is": {func(u *unit) {
			u.observation.Role = plan.None
		}, false},
	} {
		u := New(Options{Self: "a", Services: []failover.Service{{Name: "db"}}, Engines: map[string]Engine{"db": watched{}}, Store: cluster.NewMemory().Client("a")}).unit("db")
		u.known, u.state, u.observed, u.observation, u.looked, u.worked = true, agreed, true, primary, now, now
		c.change(u)
		u.route(nil)
		r := u.c.routes.Route("db")
		if r.Harmless != c.want || now.Before(r.Authority) {
			t.Errorf("%s: harmless %t, authority %v", name, r.Harmless, r.Authority)
		}
	}
}

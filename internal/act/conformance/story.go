package conformance

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/decide/plan"
)

func (s *story) empty() {
	for _, n := range []string{"a", "b", "c"} {
		if o := s.look(n); !o.Empty || o.Running || o.Role != plan.None || o.Node != n {
			s.t.Fatalf("an engine without data sees %+v", o)
		}
	}
	s.refused(act.ErrUnknown, "a", plan.Step{Kind: "juggle", Epoch: 1})
}

func (s *story) create() {
	s.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	s.sees("a", "it is a primary that takes writes", func(o plan.Observation) bool {
		return o.Role == plan.Primary && o.Writable && !o.Empty && o.Epoch == 1 && o.SystemID != "" && o.Position > 0 && !o.LastWrite.IsZero()
	})
	s.write("a", "first")
	s.refused(act.ErrNotEmpty, "a", plan.Step{Kind: plan.Create, Epoch: 2})
}

func (s *story) clone() {
	for _, n := range []string{"b", "c"} {
		s.do(n, plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
		s.sees(n, "it streams from a", func(o plan.Observation) bool {
			return o.Role == plan.Standby && !o.Writable && o.Streaming && o.Upstream == "a" && o.SystemID == s.look("a").SystemID
		})
		s.has(n)
	}
	s.sees("a", "it sees both", func(o plan.Observation) bool { return len(o.Standbys) == 2 })
}

func (s *story) sync() {
	if s.o.Asynchronous {
		s.async()
		return
	}
	s.do("a", plan.Step{Kind: plan.SetSync, Epoch: 1, Names: []string{"b", "c"}, Quorum: 1})
	s.sees("a", "the set is in force", func(o plan.Observation) bool {
		return o.SyncQuorum == 1 && slices.Equal(o.SyncNames, []string{"b", "c"}) && len(o.Standbys) == 2 && o.Standbys[0].Sync && o.Standbys[1].Sync
	})
	s.write("a", "with two")
	s.do("c", plan.Step{Kind: plan.Stop, Epoch: 1, Mode: plan.Fast})
	s.write("a", "with one")
	s.do("b", plan.Step{Kind: plan.Stop, Epoch: 1, Mode: plan.Fast})
	ctx, cancel := context.WithTimeout(s.ctx, time.Second)
	defer cancel()
	if err := s.lab.Write(ctx, "a", "with none"); err == nil {
		s.t.Fatal("a write was acknowledged that no standby has")
	}
	began := time.Now()
	s.sees("a", "waiting for standbys is not hanging", func(o plan.Observation) bool {
		return o.Writable && o.LastWrite.After(began) && o.Problem == ""
	})
	for _, n := range []string{"b", "c"} {
		s.do(n, plan.Step{Kind: plan.Start, Epoch: 1})
		s.sees(n, "it streams again", func(o plan.Observation) bool { return o.Streaming })
	}
	s.write("a", "with both again")
	s.do("a", plan.Step{Kind: plan.Checkpoint, Epoch: 1})
}

// async is sync with an engine that cannot wait for standbys, and must not pretend that it does.
func (s *story) async() {
	s.refused(act.ErrUnsupported, "a", plan.Step{Kind: plan.SetSync, Epoch: 1, Names: []string{"b", "c"}, Quorum: 1})
	s.do("a", plan.Step{Kind: plan.SetSync, Epoch: 1})
	for _, n := range []string{"c", "b"} {
		s.do(n, plan.Step{Kind: plan.Stop, Epoch: 1, Mode: plan.Fast})
		s.write("a", "without "+n)
	}
	began := time.Now()
	s.sees("a", "it goes on without standbys", func(o plan.Observation) bool {
		return o.Writable && o.LastWrite.After(began) && o.Problem == "" && len(o.Standbys) == 0
	})
	for _, n := range []string{"b", "c"} {
		s.do(n, plan.Step{Kind: plan.Start, Epoch: 1})
		s.sees(n, "it streams again", func(o plan.Observation) bool { return o.Streaming })
		s.has(n)
	}
	s.do("a", plan.Step{Kind: plan.Checkpoint, Epoch: 1})
}

func (s *story) refusals() {
	s.refused(act.ErrNotFenced, "b", plan.Step{Kind: plan.Promote, Epoch: 1})
	s.refused(act.ErrRole, "a", plan.Step{Kind: plan.Follow, Epoch: 1, Upstream: "b"})
	s.refused(act.ErrRole, "b", plan.Step{Kind: plan.SetSync, Epoch: 1})
	s.do("b", plan.Step{Kind: plan.Fence, Epoch: 2})
	s.sees("b", "it has dropped its stream", func(o plan.Observation) bool { return !o.Streaming && o.Upstream == "" && o.Epoch == 2 })
	for _, k := range plan.EngineKinds {
		step := plan.Step{Kind: k, Epoch: 1, Upstream: "a"}
		s.refused(act.ErrStale, "b", step)
		if _, err := s.lab.Engine("b").Done(s.ctx, step); !errors.Is(err, act.ErrStale) {
			s.t.Fatalf("done of an older %s: %v", step, err)
		}
	}
	s.refused(act.ErrNotFenced, "b", plan.Step{Kind: plan.Promote, Epoch: 3})
	s.behindFence()
	s.do("b", plan.Step{Kind: plan.Follow, Epoch: 3, Upstream: "a"})
	s.has("b")
}

func (s *story) behindFence() {
	if s.o.Asynchronous {
		s.write("a", "behind the fence")
		s.has("c")
		if vs, err := s.lab.Values(s.ctx, "b"); err != nil || slices.Contains(vs, "behind the fence") {
			s.t.Fatalf("the fenced b has %v %v", vs, err)
		}
		return
	}
	// The fenced one confirms nothing: with it alone in the set nothing is acknowledged.
	s.do("a", plan.Step{Kind: plan.SetSync, Epoch: 1, Names: []string{"b"}, Quorum: 1})
	ctx, cancel := context.WithTimeout(s.ctx, time.Second)
	defer cancel()
	if err := s.lab.Write(ctx, "a", "behind the fence"); err == nil {
		s.t.Fatal("a fenced standby confirmed a write")
	}
	s.do("a", plan.Step{Kind: plan.SetSync, Epoch: 1, Names: []string{"c"}, Quorum: 1})
}

func (s *story) switchover() {
	began := time.Now()
	s.do("a", plan.Step{Kind: plan.Demote, Epoch: 4})
	s.sees("a", "it is a standby", func(o plan.Observation) bool { return o.Role == plan.Standby && !o.Writable })
	s.do("b", plan.Step{Kind: plan.Fence, Epoch: 4})
	if a, b := s.look("a").Position, s.look("b").Position; b < a {
		s.t.Fatalf("a handed over at %d, b has %d", a, b)
	}
	s.do("b", plan.Step{Kind: plan.Promote, Epoch: 4})
	s.write("b", "after the switchover")
	s.t.Logf("demote, fence, promote, first write: %v", time.Since(began).Round(time.Millisecond))
	s.do("a", plan.Step{Kind: plan.Follow, Epoch: 4, Upstream: "b"})
	s.do("c", plan.Step{Kind: plan.Follow, Epoch: 4, Upstream: "b"})
	if !s.o.Asynchronous {
		s.do("b", plan.Step{Kind: plan.SetSync, Epoch: 4, Names: []string{"a", "c"}, Quorum: 1})
	}
	s.write("b", "with the old primary as standby")
	s.has("a")
	s.has("c")
}

func (s *story) failover() {
	drain(s.lab.Engine("b").Changed())
	s.lab.Crash(s.t, "b")
	began := time.Now()
	select {
	case <-s.lab.Engine("b").Changed():
	case <-time.After(s.o.Patience):
		s.t.Fatal("nobody was told that the process ended")
	}
	s.sees("b", "it does not run", func(o plan.Observation) bool { return !o.Running })
	for _, n := range []string{"a", "c"} {
		s.do(n, plan.Step{Kind: plan.Fence, Epoch: 5})
	}
	winner, other := "a", "c"
	if s.look("c").Position > s.look("a").Position {
		winner, other = "c", "a"
	}
	names, quorum := []string{other}, 1
	if s.o.Asynchronous {
		names, quorum = nil, 0
	}
	s.do(winner, plan.Step{Kind: plan.Promote, Epoch: 5, Names: names, Quorum: quorum})
	s.sees(winner, "the set of the step is in force from the first write", func(o plan.Observation) bool {
		return o.Writable && o.SyncQuorum == quorum && slices.Equal(o.SyncNames, names)
	})
	s.do(other, plan.Step{Kind: plan.Follow, Epoch: 5, Upstream: winner})
	s.write(winner, "after the failover")
	s.t.Logf("fence, promote, first write: %v", time.Since(began).Round(time.Millisecond))
	s.has(winner)
}

// rejoin lets the old primary write what nobody else will ever have, and takes it back in.
func (s *story) rejoin() {
	winner := "a"
	if s.look("c").Role == plan.Primary {
		winner = "c"
	}
	s.do("b", plan.Step{Kind: plan.Start, Epoch: 4}) // it has not heard of epoch 5
	s.do("b", plan.Step{Kind: plan.SetSync, Epoch: 4})
	if err := s.lab.Write(s.ctx, "b", "only here"); err != nil {
		s.t.Fatal(err)
	}
	s.do("b", plan.Step{Kind: plan.Fence, Epoch: 5})
	s.sees("b", "it takes no writes", func(o plan.Observation) bool { return !o.Writable })
	if err := s.lab.Write(s.ctx, "b", "too late"); err == nil {
		s.t.Fatal("a fenced primary took a write")
	}
	s.do("b", plan.Step{Kind: plan.Rewind, Epoch: 5, Upstream: winner})
	s.has("b")
	vs, err := s.lab.Values(s.ctx, "b")
	if err != nil || slices.Contains(vs, "only here") {
		s.t.Fatalf("after the rewind: %v %v", vs, err)
	}
	if s.o.Rescues != nil {
		s.o.Rescues(s.t, s.lab, "b", "only here")
	}
	s.write(winner, "whole again")
	s.has("b")
}

func (s *story) cycle() {
	winner := "a"
	if s.look("c").Role == plan.Primary {
		winner = "c"
	}
	s.do(winner, plan.Step{Kind: plan.Stop, Epoch: 5, Mode: plan.Immediate})
	s.refused(act.ErrNotFenced, winner, plan.Step{Kind: plan.Start, Epoch: 6})
	s.do(winner, plan.Step{Kind: plan.Fence, Epoch: 6})
	before := s.look(winner)
	s.do(winner, plan.Step{Kind: plan.Promote, Epoch: 6})
	s.sees(winner, "it took the next reign from where it was", func(o plan.Observation) bool {
		return o.Writable && o.Timeline > before.Timeline && o.Position >= before.Position
	})
	s.do(winner, plan.Step{Kind: plan.Restart, Epoch: 6})
	s.sees(winner, "it is a primary again", func(o plan.Observation) bool { return o.Writable })
	s.has(winner)
}

func (s *story) complete() {
	for _, k := range plan.EngineKinds {
		if !s.seen[k] {
			s.t.Errorf("%s was not performed", k)
		}
	}
}

func drain(c <-chan struct{}) {
	for {
		select {
		case <-c:
		default:
			return
		}
	}
}

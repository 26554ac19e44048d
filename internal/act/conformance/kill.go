package conformance

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/decide/plan"
)

// Chance is the same seed for each run, or the one in BACKSTAY_SEED, as far as a real server can be repeated; BACKSTAY_ROUNDS
// makes it longer. `make soak` takes others.
func Chance() (seed uint64, rounds int) {
	seed, rounds = 1, 3
	if n, err := strconv.ParseUint(os.Getenv("BACKSTAY_SEED"), 10, 64); err == nil {
		seed = n
	}
	if n, err := strconv.Atoi(os.Getenv("BACKSTAY_ROUNDS")); err == nil {
		rounds = n
	}
	return seed, rounds
}

// A Mortal lab can end node processes. Kill does so at once, in the middle of whatever they do, with the instance's process
// or without; Engine returns the engine of the node's next process afterwards.
type Mortal interface {
	Lab
	Kill(t *testing.T, node string, instance bool)
}

// RunKilled has node processes die at random moments of every step, and the step done again by the next process: that has
// to come to the same end, lose nothing that was acknowledged, forget no epoch, and never leave two that take writes. The
// seed makes the moments; rounds are changes of primary.
func RunKilled(t *testing.T, o Options, seed uint64, rounds int) {
	t.Helper()
	if o.Patience == 0 {
		o.Patience = 60 * time.Second
	}
	t.Logf("seed %d", seed)
	ctx, cancel := context.WithTimeout(context.Background(), 30*o.Patience)
	t.Cleanup(cancel)
	lab := o.New(t)
	k := &killing{
		story: story{t: t, ctx: ctx, o: o, lab: lab, seen: map[plan.Kind]bool{}}, lab: lab.(Mortal),
		rng: rand.New(rand.NewPCG(seed, 1)), typical: map[plan.Kind]time.Duration{}, held: map[string]uint64{},
	}
	k.cut("a", plan.Step{Kind: plan.Create, Epoch: 1})
	k.primary, k.epoch = "a", 1
	for _, n := range []string{"b", "c"} {
		k.cut(n, plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
	}
	k.guarantee()
	for range rounds {
		if t.Failed() {
			return
		}
		k.round()
	}
}

type killing struct {
	story
	lab     Mortal
	rng     *rand.Rand
	primary string
	epoch   uint64
	typical map[plan.Kind]time.Duration // how long a step of the kind takes when it is let be
	held    map[string]uint64           // the highest epoch that each node has shown
}

// others are the nodes but one.
func (k *killing) others(of string) []string {
	return slices.DeleteFunc([]string{"a", "b", "c"}, func(n string) bool { return n == of })
}

// guarantee has every write wait for one standby, where the engine can.
func (k *killing) guarantee() {
	if k.o.Asynchronous {
		return
	}
	k.cut(k.primary, plan.Step{Kind: plan.SetSync, Epoch: k.epoch, Names: k.others(k.primary), Quorum: 1})
	k.sees(k.primary, "the set is in force", func(o plan.Observation) bool { return o.SyncQuorum == 1 })
}

// round moves the primary, planned or not, and brings the old one back.
func (k *killing) round() {
	old := k.primary
	planned := k.rng.IntN(2) == 0
	if planned {
		k.cut(old, plan.Step{Kind: plan.Checkpoint, Epoch: k.epoch})
	}
	k.epoch++
	if planned {
		k.t.Logf("epoch %d: %s steps down", k.epoch, old)
		k.cut(old, plan.Step{Kind: plan.Demote, Epoch: k.epoch})
	} else {
		k.t.Logf("epoch %d: %s dies", k.epoch, old)
		k.lab.Kill(k.t, old, true)
		k.until(old+" does not run", func() bool { o, err := k.lab.Engine(old).Observe(k.ctx); return err == nil && !o.Running })
	}
	standbys := k.others(old)
	for _, n := range standbys {
		k.cut(n, plan.Step{Kind: plan.Fence, Epoch: k.epoch})
	}
	winner, other := standbys[0], standbys[1]
	if k.look(other).Position > k.look(winner).Position {
		winner, other = other, winner
	}
	promote := plan.Step{Kind: plan.Promote, Epoch: k.epoch, Names: []string{other}, Quorum: 1}
	if k.o.Asynchronous {
		promote.Names, promote.Quorum = nil, 0
	}
	k.cut(winner, promote)
	k.primary = winner
	k.cut(other, plan.Step{Kind: plan.Follow, Epoch: k.epoch, Upstream: winner})
	k.cut(old, plan.Step{Kind: plan.Rewind, Epoch: k.epoch, Upstream: winner})
	if k.rng.IntN(2) == 0 {
		k.cut(other, plan.Step{Kind: plan.Restart, Epoch: k.epoch})
	}
	if k.rng.IntN(3) == 0 {
		k.cut(old, plan.Step{Kind: plan.Stop, Epoch: k.epoch, Mode: plan.Fast})
		k.cut(old, plan.Step{Kind: plan.Start, Epoch: k.epoch})
	}
	k.guarantee()
	if k.o.Asynchronous {
		k.want = nil
	}
	k.write(winner, k.value())
	for _, n := range []string{"a", "b", "c"} {
		k.has(n)
	}
}

// cut lets a step be cut short a few times, and then done.
func (k *killing) cut(node string, s plan.Step) {
	k.t.Helper()
	s.Node, s.Service = node, "db"
	for range k.rng.IntN(4) {
		most := max(k.typical[s.Kind], 20*time.Millisecond)
		after, instance := time.Duration(k.rng.Int64N(int64(most*5/4))), k.rng.IntN(3) == 0
		ended, e := make(chan error, 1), k.lab.Engine(node)
		go func() { ended <- e.Do(k.ctx, s) }()
		select {
		case err := <-ended:
			k.t.Logf("%s on %s was over (%v) before it was cut short after %v", s.Kind, node, err, after)
		case <-time.After(after):
		}
		k.lab.Kill(k.t, node, instance)
		k.t.Logf("%s on %s: killed after %v, instance as well: %t", s.Kind, node, after, instance)
		k.judge(node, s)
	}
	k.revive(s)
	began := time.Now()
	k.until(s.String(), func() bool {
		err := k.lab.Engine(node).Do(k.ctx, s)
		if err != nil {
			k.t.Logf("%s: %v", s, err)
			k.revive(s)
			return false
		}
		return true
	})
	k.typical[s.Kind] = time.Since(began)
	k.until(s.String()+" is done", func() bool {
		done, err := k.lab.Engine(node).Done(k.ctx, s)
		return err == nil && done
	})
	k.judge(node, s)
}

// revive has those run that a step needs and that died with an earlier one: the primary, which is asked to start in its
// own epoch, and the standbys.
func (k *killing) revive(s plan.Step) {
	if k.primary == "" || k.epoch != s.Epoch || s.Kind == plan.Fence || s.Kind == plan.Demote || s.Kind == plan.Promote || s.Kind == plan.Stop {
		return
	}
	for _, n := range []string{"a", "b", "c"} {
		o, err := k.lab.Engine(n).Observe(k.ctx)
		if err != nil || o.Running || o.Empty || n == s.Node && n != k.primary || o.Epoch != k.epoch {
			continue
		}
		if err := k.lab.Engine(n).Do(k.ctx, plan.Step{Kind: plan.Start, Service: "db", Node: n, Epoch: k.epoch}); err != nil {
			k.t.Logf("%s does not start: %v", n, err)
		}
	}
}

// judge holds what there is after a step, done or cut short, against what must always be.
func (k *killing) judge(node string, s plan.Step) {
	k.t.Helper()
	var o plan.Observation
	k.until(node+" can be looked at again", func() (ok bool) {
		var err error
		o, err = k.lab.Engine(node).Observe(k.ctx)
		return err == nil
	})
	if o.Epoch < k.held[node] {
		k.t.Fatalf("%s has shown epoch %d and has %d after %s", node, k.held[node], o.Epoch, s)
	}
	k.held[node] = o.Epoch
	var took []string
	for _, n := range []string{"a", "b", "c"} {
		if o, err := k.lab.Engine(n).Observe(k.ctx); err != nil || !o.Running || o.Role != plan.Primary {
			continue
		}
		ctx, cancel := context.WithTimeout(k.ctx, time.Second)
		v := k.value()
		if err := k.lab.Write(ctx, n, v); err == nil {
			took = append(took, n)
			k.want = append(k.want, v)
		}
		cancel()
	}
	if len(took) > 1 && !k.o.Asynchronous {
		k.t.Fatalf("after %s both of %v take writes", s, took)
	}
}

func (k *killing) value() string {
	return "v" + string(rune('a'+k.rng.IntN(26))) + time.Now().Format("150405.000000000")
}

package fake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/decide/plan"
)

// trio makes a primary a with the synchronous set b, c.
func trio(t *testing.T) *lab {
	l := newLab(t).(*lab)
	l.do(t, "a", plan.Step{Kind: plan.Create, Epoch: 1})
	l.do(t, "b", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
	l.do(t, "c", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
	time.Sleep(10 * time.Millisecond)
	l.do(t, "a", plan.Step{Kind: plan.SetSync, Epoch: 1, Names: []string{"b", "c"}, Quorum: 1})
	return l
}

func (l *lab) do(t *testing.T, node string, s plan.Step) {
	t.Helper()
	if err := l.engines[node].Do(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) try(node, value string, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return l.Write(ctx, node, value)
}

func (l *lab) look(t *testing.T, node string) plan.Observation {
	t.Helper()
	o, err := l.engines[node].Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestIsolatedPrimary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := trio(t)
		l.w.Isolate("a")
		if err := l.try("a", "lost", time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a cut-off primary acknowledged: %v", err)
		}
		if o := l.look(t, "b"); !o.Streaming {
			t.Error("silence is noticed at once")
		}
		time.Sleep(6 * time.Second)
		if o := l.look(t, "b"); o.Streaming {
			t.Error("silence is never noticed")
		}
		for _, n := range []string{"b", "c"} {
			l.do(t, n, plan.Step{Kind: plan.Fence, Epoch: 2})
		}
		l.do(t, "b", plan.Step{Kind: plan.Promote, Epoch: 2, Names: []string{"c"}, Quorum: 1})
		l.do(t, "c", plan.Step{Kind: plan.Follow, Epoch: 2, Upstream: "b"})
		if err := l.try("b", "kept", time.Second); err != nil {
			t.Error(err)
		}
		l.w.Join("a")
		if err := l.try("a", "never", time.Second); err == nil {
			t.Error("fenced standbys confirmed the old primary's write")
		}
		if w := l.w.Writers(); len(w) != 2 {
			t.Errorf("it is for the rules to end the old one: %v", w)
		}
		l.do(t, "a", plan.Step{Kind: plan.Fence, Epoch: 2})
		if w := l.w.Writers(); !slices.Equal(w, []string{"b"}) {
			t.Errorf("writers: %v", w)
		}
		l.do(t, "a", plan.Step{Kind: plan.Start, Epoch: 2})
		l.do(t, "a", plan.Step{Kind: plan.Follow, Epoch: 2, Upstream: "b"})
		time.Sleep(time.Second)
		if o := l.look(t, "a"); o.Streaming || o.Problem != "history has diverged from that of b" {
			t.Errorf("a diverged instance: %+v", o)
		}
		l.do(t, "a", plan.Step{Kind: plan.Rewind, Epoch: 2, Upstream: "b"})
		if r := l.w.Instance("a").Rescued(); len(r) != 1 || !slices.Equal(r[0], []string{"lost", "never"}) {
			t.Errorf("rescued: %v", r)
		}
	})
}

func TestMendedLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := trio(t)
		l.w.Isolate("a")
		done := make(chan error, 1)
		go func() { done <- l.try("a", "late", 10*time.Second) }()
		time.Sleep(2 * time.Second)
		l.w.Join("a")
		if err := <-done; err != nil {
			t.Errorf("a write over a mended link: %v", err)
		}
		// One direction is enough to keep acknowledgements away.
		l.w.Cut("b", "a")
		l.w.Cut("c", "a")
		if err := l.try("a", "one way", time.Second); err == nil {
			t.Error("an acknowledgement came over a cut link")
		}
		if vs := l.w.Instance("b").Values(); !slices.Contains(vs, "one way") {
			t.Error("the other direction was cut too")
		}
	})
}

func TestHangCrashAndFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := trio(t)
		a := l.w.Instance("a")
		a.Hang(true)
		before := l.look(t, "a").LastWrite
		time.Sleep(3 * time.Second)
		if o := l.look(t, "a"); !o.Running || o.Writable || o.Problem == "" || !o.LastWrite.Equal(before) {
			t.Errorf("hung: %+v", o)
		}
		done := make(chan error, 1)
		go func() { done <- l.try("a", "patient", time.Minute) }()
		time.Sleep(time.Second)
		a.Hang(false)
		if err := <-done; err != nil {
			t.Errorf("after it went on: %v", err)
		}
		a.Fill(true)
		if err := l.try("a", "no room", time.Second); !errors.Is(err, ErrFull) {
			t.Errorf("on a full disk: %v", err)
		}
		if o := l.look(t, "a"); o.Writable || o.Problem == "" {
			t.Errorf("full: %+v", o)
		}
		a.Fill(false)
		l.w.Instance("b").Crash()
		l.w.Instance("c").Crash()
		go func() { done <- l.try("a", "unknown", time.Minute) }()
		time.Sleep(time.Second)
		a.Crash()
		if err := <-done; !errors.Is(err, ErrLost) {
			t.Errorf("the primary died with the commit under way: %v", err)
		}
		if err := l.try("a", "refused", time.Second); !errors.Is(err, ErrDown) {
			t.Errorf("a dead primary: %v", err)
		}
	})
}

func TestPowerAndOrphans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := trio(t)
		in := l.w.Instance("a")
		in.Orphan()
		if _, err := l.engines["a"].Observe(t.Context()); !errors.Is(err, ErrDead) {
			t.Errorf("a dead node process observes: %v", err)
		}
		if err := l.try("a", "orphan", time.Second); err != nil {
			t.Errorf("the instance outlives its node process: %v", err)
		}
		in.PowerOff()
		in.PowerOn()
		e := l.w.Engine("a")
		o, err := e.Observe(t.Context())
		if err != nil || o.Running || o.Epoch != 1 || o.Position == 0 {
			t.Errorf("after the power came back: %+v %v", o, err)
		}
		if err := e.Do(t.Context(), plan.Step{Kind: plan.Start, Node: "a", Epoch: 2}); !errors.Is(err, act.ErrNotFenced) {
			t.Errorf("an old primary starts in a new epoch: %v", err)
		}
	})
}

// A power cut in the middle of any step leaves an instance that the same step can be done on again.
func TestStepsResume(t *testing.T) {
	for _, s := range []plan.Step{
		{Kind: plan.Promote, Epoch: 2}, {Kind: plan.Clone, Epoch: 2, Upstream: "a"}, {Kind: plan.Rewind, Epoch: 2, Upstream: "a"},
		{Kind: plan.Demote, Epoch: 2}, {Kind: plan.Restart, Epoch: 2}, {Kind: plan.Stop, Epoch: 2},
	} {
		for cut := range 4 {
			t.Run(fmt.Sprint(s.Kind, cut), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := trio(t)
					if s.Kind == plan.Promote {
						l.do(t, "b", plan.Step{Kind: plan.Fence, Epoch: 2})
					}
					in := l.w.Instance("b")
					time.AfterFunc(time.Duration(cut*20)*time.Millisecond, in.PowerOff)
					_ = l.engines["b"].Do(t.Context(), s)
					time.Sleep(time.Second)
					in.PowerOn()
					e := l.w.Engine("b")
					if err := e.Do(t.Context(), s); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Second)
					if done, err := e.Done(t.Context(), s); err != nil || !done {
						t.Errorf("done: %v %v", done, err)
					}
				})
			})
		}
	}
}

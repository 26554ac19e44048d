package versions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/backstay/backstay/internal/cluster"
)

func apply(t *testing.T, l Log, text string, base int) Version {
	t.Helper()
	v, err := l.Apply(t.Context(), Version{Text: text, By: "ann", Node: "a"}, base)
	if err != nil {
		t.Fatalf("apply %q on %d: %v", text, base, err)
	}
	return v
}

func TestApply(t *testing.T) {
	l := Log{cluster.NewMemory()}
	ctx := t.Context()
	if _, err := l.Current(ctx); !errors.Is(err, ErrNone) {
		t.Fatalf("before the first version: %v", err)
	}
	if all, err := l.List(ctx); err != nil || len(all) != 0 {
		t.Fatalf("history before the first version: %v, %v", all, err)
	}
	first := apply(t, l, "a: <1> & ü\n", 0)
	second := apply(t, l, "a: 2\n", 1)
	if first.Number != 1 || second.Number != 2 || first.Time.IsZero() || first.ID == second.ID {
		t.Errorf("versions %+v and %+v", first, second)
	}
	for _, want := range []Version{first, second} {
		if got, err := l.Get(ctx, want.Number); err != nil || got != want {
			t.Errorf("get %d: %+v, %v; want %+v", want.Number, got, err, want)
		}
	}
	var conflict *Conflict
	if _, err := l.Apply(ctx, Version{Text: "a: 3\n"}, 1); !errors.As(err, &conflict) || conflict.Newest != second {
		t.Errorf("apply on an old version: %v", err)
	}
	if _, err := l.Apply(ctx, Version{Text: "a: 3\n"}, 0); !errors.As(err, &conflict) {
		t.Errorf("apply as the first: %v", err)
	}
	if _, err := l.Apply(ctx, Version{Text: "a: 3\n"}, 7); !errors.As(err, &conflict) {
		t.Errorf("apply on one that does not exist: %v", err)
	}
	if got, err := l.Current(ctx); err != nil || got != second {
		t.Errorf("after refusals the current one is %+v, %v", got, err)
	}
	if _, err := l.Get(ctx, 3); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "the newest is 2") {
		t.Errorf("get of one that does not exist: %v", err)
	}
}

// TestOneOfManyApplies holds that of all who change the same version one succeeds, and that no text is lost.
func TestOneOfManyApplies(t *testing.T) {
	memory := cluster.NewMemory()
	const people, rounds = 8, 20
	var all sync.WaitGroup
	var mu sync.Mutex
	won := map[int]string{}
	for p := range people {
		all.Go(func() {
			l := Log{memory.Client(fmt.Sprint(p))}
			for base := 0; base < rounds; {
				text := fmt.Sprintf("%d on %d", p, base)
				v, err := l.Apply(t.Context(), Version{Text: text, By: fmt.Sprint(p)}, base)
				var conflict *Conflict
				switch {
				case errors.As(err, &conflict):
					if conflict.Newest.Number <= base {
						t.Errorf("conflict with %d on %d", conflict.Newest.Number, base)
					}
					base = conflict.Newest.Number
				case err != nil:
					t.Error(err)
					return
				default:
					mu.Lock()
					if was, twice := won[v.Number]; twice {
						t.Errorf("version %d was applied as %q and as %q", v.Number, was, text)
					}
					won[v.Number] = text
					mu.Unlock()
					base = v.Number
				}
			}
		})
	}
	all.Wait()
	kept, err := Log{memory}.List(t.Context())
	if err != nil || len(kept) < rounds || len(kept) != len(won) {
		t.Fatalf("%d kept of %d, %v", len(kept), len(won), err)
	}
	for i, v := range kept {
		if v.Number != len(kept)-i || v.Text != won[v.Number] {
			t.Errorf("version %d at %d is %q, not %q", v.Number, i, v.Text, won[v.Number])
		}
	}
}

func TestHistoryIsBounded(t *testing.T) {
	l := Log{cluster.NewMemory()}
	for base := range keepCount + 20 {
		apply(t, l, fmt.Sprint("v", base+1), base)
	}
	all, err := l.List(t.Context())
	if err != nil || len(all) != keepCount+1 || all[0].Number != keepCount+20 || all[keepCount].Number != 20 {
		t.Fatalf("%d kept, from %d to %d, %v", len(all), all[0].Number, all[len(all)-1].Number, err)
	}
	if _, err := l.Get(t.Context(), 19); !errors.Is(err, ErrNone) {
		t.Errorf("get of a forgotten one: %v", err)
	}
	for range 40 {
		apply(t, l, strings.Repeat("x", MaxText), all[0].Number)
		all[0].Number++
	}
	kept, _, err := l.Store.List(t.Context(), keyHistory)
	size := 0
	for _, kv := range kept {
		size += len(kv.Value)
	}
	if err != nil || size > keepBytes || size < keepBytes/2 {
		t.Errorf("%d bytes are kept, %v", size, err)
	}
}

func TestSize(t *testing.T) {
	l := Log{cluster.NewMemory()}
	for _, v := range []Version{{Text: strings.Repeat("x", MaxText+1)}, {Message: strings.Repeat("x", maxMessage+1)}} {
		if _, err := l.Apply(t.Context(), v, 0); !errors.Is(err, ErrTooLarge) {
			t.Errorf("apply: %v", err)
		}
	}
	if _, err := l.Try(t.Context(), Trial{Text: strings.Repeat("x", MaxText+1)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("try: %v", err)
	}
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := cluster.NewMemory()
		l, cut := Log{memory}, Log{memory.Client("cut")}
		ctx, cancel := context.WithCancel(t.Context())
		news := cut.Watch(ctx)
		apply(t, l, "1", 0)
		if v := <-news; v.Number != 1 || v.Text != "1" {
			t.Errorf("the first is %+v", v)
		}
		memory.Cut("cut")
		apply(t, l, "2", 1)
		apply(t, l, "3", 2)
		memory.Compact()
		memory.Heal("cut")
		if v := <-news; v.Number != 3 {
			t.Errorf("after the link was cut: %+v", v)
		}
		if _, err := l.Try(ctx, Trial{Text: "4"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case v := <-news:
			t.Errorf("a trial is no version: %+v", v)
		default:
		}
		cancel()
		if _, open := <-news; open {
			t.Error("the channel is open after the end")
		}
	})
}

func TestAnswersAndVerdicts(t *testing.T) {
	l, ctx := Log{cluster.NewMemory()}, t.Context()
	trials := l.Trials(ctx)
	old, err := l.Try(ctx, Trial{Node: "a", Text: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Judge(ctx, Verdict{Node: "b", Trial: old}); err != nil {
		t.Fatal(err)
	}
	id, err := l.Try(ctx, Trial{Node: "a", Text: "2"})
	if err != nil {
		t.Fatal(err)
	}
	for tr := range trials {
		if tr.ID == id {
			if tr.Text != "2" {
				t.Errorf("trial %+v", tr)
			}
			break
		}
	}
	for _, node := range []string{"a", "c"} {
		if err := l.Judge(ctx, Verdict{Node: node, Trial: id, Error: "no " + node}); err != nil {
			t.Fatal(err)
		}
		if err := l.Answer(ctx, Answer{Node: node, Version: 3, Uses: true}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := l.Verdicts(ctx, id)
	if err != nil || len(got) != 2 || got["c"].Error != "no c" {
		t.Errorf("verdicts %+v, %v", got, err)
	}
	if err := l.Forget(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	answers, err := l.Answers(ctx)
	var nodes []string
	for node := range answers {
		nodes = append(nodes, node)
	}
	if err != nil || !slices.Equal(nodes, []string{"a"}) || !answers["a"].Uses {
		t.Errorf("answers %+v, %v", answers, err)
	}
}

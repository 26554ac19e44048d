package control

import (
	"bufio"
	"encoding/json"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
)

func recorded(t *testing.T, path string) (all []failover.Recorded) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r failover.Recorded
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// A failover in a whole cluster is on disk afterwards with what came before it, and is decided the same way again.
func TestViewsOfAFailoverAreRecorded(t *testing.T) {
	dir := t.TempDir()
	var r *Recorder
	synctest.Test(t, func(t *testing.T) {
		r = NewRecorder(dir, "b", "test", slog.New(slog.DiscardHandler))
		s := newSim(t, setup{svc: fast(failover.MaxAvailability), members: 3, record: map[string]*Recorder{"b": r}})
		s.parts.Go(func() { _ = r.Run(s.ctx) })
		defer s.end()
		underLoad(s)
		time.Sleep(5 * time.Second)
		s.nodes[s.primary()].kill(true)
		time.Sleep(3 * time.Second)
		synctest.Wait()
	})
	all := recorded(t, r.File("db"))
	var before, failed bool
	for _, v := range all {
		if d, differs := failover.Replay(v); differs {
			t.Errorf("decided otherwise:\n%s\n%s", d.Then, d.Today)
		}
		if v.Node != "b" || v.Version != "test" || v.Missed > 0 {
			t.Errorf("recorded as %s %s, missed %d", v.Node, v.Version, v.Missed)
		}
		if v.Decision.Verdict == failover.Act && v.Decision.Plan.Kind == failover.PlanFailover {
			failed = true
		}
		before = before || !failed && v.Decision.Rule == "the primary is serving"
	}
	if !before || !failed {
		t.Errorf("of %d views one before is there: %t, the failover: %t", len(all), before, failed)
	}
	if last := all[len(all)-1]; last.Decision.Verdict != failover.Hold {
		t.Errorf("the last view does not show how it ended: %s", last.Decision)
	}
}

// What repeats itself is not written again and again, and a disk that does not keep up costs views and no time.
func TestRecorderIsBounded(t *testing.T) {
	r := NewRecorder(t.TempDir(), "a", "test", slog.New(slog.DiscardHandler))
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 1000 { // ten seconds of the same
		v := failover.View{Now: began.Add(time.Duration(i) * 10 * time.Millisecond), Service: failover.Service{Name: "db"}.WithDefaults()}
		r.Add(v, failover.Decision{Verdict: failover.Wait, Rule: "too early to tell"})
	}
	if n := len(r.queue); n < 10 || n > 10*(1+recordBefore) {
		t.Errorf("%d views of ten seconds are written", n)
	}
	for i := range 5 * recordQueue { // nobody writes
		r.Add(failover.View{Now: began, Service: failover.Service{Name: "db"}}, failover.Decision{Verdict: failover.Wait, Rule: string(rune('a' + i%20))})
	}
	if len(r.queue) != recordQueue || r.rings["db"].missed == 0 {
		t.Errorf("%d views wait, %d were left out", len(r.queue), r.rings["db"].missed)
	}
}

package e2e

import (
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
)

func exitCodeOf(err error) int {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	return 0
}

// TestSteeringAndExplaining: commands end with the outcome, the explanation has the proof with what was measured, and what
// the nodes recorded is decided today as it was.
func TestSteeringAndExplaining(t *testing.T) {
	x := startTrio(t, "", "")
	first := x.primary()
	standbys := slices.DeleteFunc([]string{"a", "b", "c"}, func(n string) bool { return n == first })
	explain := func() (e failover.Explanation) {
		t.Helper()
		out, err := x.on(standbys[0], "explain", "db", "--json")
		if err := errors.Join(err, json.Unmarshal([]byte(out), &e)); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return e
	}
	whole := func() bool {
		e := explain()
		in := 0
		for _, n := range e.Nodes {
			if n.InLine && n.Heard {
				in++
			}
		}
		return in == 2 && e.Plan == nil
	}
	await(t, time.Minute, "everyone is in line", whole)
	out, err := x.on(standbys[0], "switchover", "db", "--to", "nobody")
	if exitCodeOf(err) != 5 || !strings.Contains(out, standbys[0]+" can") {
		t.Errorf("a switchover to nobody: %v\n%s", err, out)
	}
	out, err = x.on(standbys[0], "switchover", "db", "--to", standbys[1])
	if err != nil || !strings.Contains(out, "done: "+standbys[1]+" is the primary") || !strings.Contains(out, standbys[1]+" promoted") {
		t.Fatalf("a switchover: %v\n%s", err, out)
	}
	t.Logf("\n%s", out)
	if out, err := x.on(first, "pause", "db"); err != nil || !strings.Contains(out, "db is paused") {
		t.Errorf("pause: %v\n%s", err, out)
	}
	if out, err := x.on(first, "unpause", "db"); err != nil {
		t.Errorf("unpause: %v\n%s", err, out)
	}
	await(t, time.Minute, "everyone is in line again", whole)
	x.end(standbys[1]) // the primary's node leaves: a switchover by itself
	await(t, 2*time.Minute, "another is primary, and its first write was seen", func() bool {
		e := explain()
		if e.Primary == "" || e.Primary == standbys[1] || len(e.History) == 0 {
			return false
		}
		_, opened := e.History[len(e.History)-1].Times["first_write"]
		return opened
	})
	for _, what := range []string{"explain", "status"} {
		out, err := x.on(standbys[0], what, "db")
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		t.Logf("\n%s", out)
	}
	out = x.command(standbys[0], "replay", x.file(standbys[0], "views", "db.jsonl"))
	if !strings.Contains(out, " 0 decided otherwise today") {
		t.Errorf("replay:\n%s", out)
	}
	t.Logf("\n%s", out)
}

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/operate/api"
)

// steeredNode answers a wish by what is in it, at the third look.
type steeredNode struct {
	*pgNode
	outcome string // of wishes; "impossible" is refused at once, empty is never answered
	wish    api.Wish
	asked   int
	seen    failover.Explanation
}

func newSteeredNode(t *testing.T, outcome string) (*steeredNode, string) {
	pg, _ := newPgNode(t)
	n := &steeredNode{pgNode: pg, outcome: outcome}
	socket := filepath.Join(t.TempDir(), "admin.sock")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- api.NewServer(api.Options{Socket: socket, System: n}).Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return n, socket
		}
		if time.Now().After(deadline) {
			t.Fatal("the fake node does not come up")
		}
	}
}

func (n *steeredNode) Wish(_ context.Context, w api.Wish) error {
	if n.outcome == "impossible" {
		return api.Errorf(api.Refused, "service db: switchover: it is not possible now: par-9 cannot take over: par-2 can, par-3 cannot (it does not stream from par-1)")
	}
	n.wish = w
	return nil
}

func (n *steeredNode) Pause(_ context.Context, _ string, paused bool) error {
	n.seen.Paused, n.seen.Revision = paused, 7
	n.seen.Nodes = []failover.Outlook{{Node: "par-1", Heard: true, Revision: 7}, {Node: "par-2", Heard: true, Revision: 6}, {Node: "par-3", Revision: 2}}
	return nil
}

func (n *steeredNode) Explain(_ context.Context, service string) (api.Explained, error) {
	if service != "db" {
		return api.Explained{}, api.Errorf(api.NotFound, "service %q: no such service", service)
	}
	n.asked++
	if n.asked == 3 && n.outcome != "" {
		n.seen.Answers = append(n.seen.Answers, failover.Answer{Wish: failover.Wish{ID: n.wish.ID}, Outcome: n.outcome, Text: "par-2 is the primary at epoch 8"})
	}
	if len(n.seen.Nodes) > 1 && n.asked >= 3 {
		n.seen.Nodes[1].Revision = 7
	}
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := &failover.Progress{ID: "P1", Kind: failover.PlanSwitchover, Created: began, Tasks: []failover.Task{{Done: true, At: began.Add(12 * time.Millisecond)}}}
	p.Tasks[0].Kind, p.Tasks[0].Node = "checkpoint", "par-1"
	n.seen.Plan = p
	n.seen.History = []failover.Proof{{ID: "P0", Kind: failover.PlanFailover, To: "par-1", From: "par-3", Epoch: 7, Outcome: "granted", Arithmetic: "R 1 + W 1 > N 1 of [par-1]"}}
	return api.Explained{Text: "service db, as par-1 sees it\n", Explanation: n.seen}, nil
}

func steer(t *testing.T, socket string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Main(t.Context(), append(args, "--socket", socket), Options{Version: "1.2.3", Out: &o, Err: &e, Zone: time.UTC})
	return code, o.String(), e.String()
}

func TestSteeringWaitsForTheOutcome(t *testing.T) {
	for _, c := range []struct {
		outcome string
		args    []string
		code    int
		out     string
		errs    string
	}{
		{failover.Fulfilled, []string{"switchover", "db"}, exitOK, "done: par-2 is the primary at epoch 8", ""},
		{failover.Fulfilled, []string{"switchover", "db"}, exitOK, "12ms  checkpoint on par-1", ""},
		{failover.Fulfilled, []string{"failover", "db", "--force"}, exitOK, "done", ""},
		{failover.Fulfilled, []string{"reinit", "db", "par-3"}, exitOK, "done", ""},
		{failover.Refused, []string{"switchover", "db"}, exitRefused, "", "was refused"},
		{failover.Failed, []string{"switchover", "db", "--to", "par-3"}, exitFailed, "", "came out otherwise"},
		{"impossible", []string{"switchover", "db", "--to", "par-9"}, exitRefused, "", "par-2 can, par-3 cannot"},
		{"", []string{"switchover", "db", "--timeout", "300ms"}, exitTimeout, "", "may still come"},
		{"", []string{"switchover", "db", "--no-wait"}, exitOK, "is asked for", ""},
		{"", []string{"failover", "db"}, exitUsage, "", "--force"},
		{"", []string{"pause", "db"}, exitOK, "db is paused", ""},
		{"", []string{"unpause", "db"}, exitOK, "looked after automatically", ""},
	} {
		n, socket := newSteeredNode(t, c.outcome)
		code, out, errs := steer(t, socket, c.args...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errs, c.errs) {
			t.Errorf("%v, %q: exit code %d, want %d\n%s%s", c.args, c.outcome, code, c.code, out, errs)
		}
		if strings.HasSuffix(c.args[0], "pause") && n.asked < 3 {
			t.Errorf("%v ended although par-2 did not know", c.args)
		}
	}
}

func TestExplain(t *testing.T) {
	n, socket := newSteeredNode(t, "")
	n.log.Append(event.Record{Kind: "failover.granted", Service: "db", Message: "par-1 is the primary", Evidence: "b has it", Fields: map[string]any{"epoch": 7, "plan": "P0"}})
	for _, c := range []struct {
		arg  string
		code int
		want []string
	}{
		{"db", exitOK, []string{"service db, as par-1 sees it"}},
		{"P0", exitOK, []string{"failover P0: par-3 → par-1 at epoch 7", "R 1 + W 1 > N 1"}},
		{"4", exitOK, []string{"event 4, failover.granted", "epoch 7", "because b has it", "failover P0", "views/db.jsonl"}},
		{"99", exitNotFound, []string{"no event 99"}},
		{"web", exitNotFound, []string{"no such service"}},
	} {
		code, out, errs := steer(t, socket, "explain", c.arg)
		for _, want := range c.want {
			if code != c.code || !strings.Contains(out+errs, want) {
				t.Errorf("explain %s: exit code %d, want %d and %q\n%s%s", c.arg, code, c.code, want, out, errs)
			}
		}
	}
	code, out, _ := steer(t, socket, "explain", "--json")
	var all map[string]failover.Explanation
	if err := json.Unmarshal([]byte(out), &all); err != nil || code != exitOK || len(all["db"].History) != 1 {
		t.Errorf("exit code %d, %v: %s", code, err, out)
	}
}

func TestReplay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db.jsonl")
	v := failover.View{Now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Service: failover.Service{Name: "db"}}
	write := func(change func(*failover.Recorded)) {
		r := failover.Recorded{At: v.Now, Node: "par-1", Service: "db", View: v, Decision: failover.Decide(v)}
		change(&r)
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Write(append(line, '\n')); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) (int, string) {
		code, out, errs := steer(t, "/nowhere", append([]string{"replay"}, args...)...)
		return code, out + errs
	}
	write(func(*failover.Recorded) {})
	if code, out := run(path); code != exitOK || !strings.Contains(out, "1 view from 2026-03-01T12:00:00Z") || !strings.Contains(out, "0 decided otherwise") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	write(func(r *failover.Recorded) {
		r.Decision = failover.Decision{Verdict: failover.Hold, Rule: "an older rule"}
	})
	if code, out := run(path); code != exitFailed || !strings.Contains(out, "then   hold: an older rule") || !strings.Contains(out, "today  wait: the store was not read yet") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if code, out := run(path, "--json", "--service", "db"); code != exitFailed || !strings.Contains(out, `"views": 2`) || !strings.Contains(out, `"an older rule"`) {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if code, out := run(path, "--service", "other"); code != exitNotFound || !strings.Contains(out, "of service other") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if err := os.WriteFile(path, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := run(path); code != exitUsage || !strings.Contains(out, "db.jsonl:1 is not a recorded view") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

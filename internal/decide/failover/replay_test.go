package failover

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"
)

// What is kept of a view on disk is all that the rules look at.
func TestRecordedViewsAreJudgedAsTheyWere(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 5000 {
		v := wild(rng)
		v.State.History = []Proof{{ID: "old", Kind: PlanFailover}}
		v.State.Answers = []Answer{{Outcome: Refused}}
		line, err := json.Marshal(Recorded{At: v.Now, Node: v.Self, Service: "db", View: v.Bare(), Decision: Decide(v)})
		if err != nil {
			t.Fatal(err)
		}
		var r Recorded
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		if len(r.View.State.History)+len(r.View.State.Answers) > 0 {
			t.Fatal("earlier proofs are recorded with each view")
		}
		if len(v.State.History) == 0 {
			t.Fatal("the view itself was changed")
		}
		if d, differs := Replay(r); differs {
			t.Fatalf("then\n%s\ntoday\n%s", d.Then, d.Today)
		}
	}
}

func TestReplayShowsWhatWouldBeDecidedOtherwise(t *testing.T) {
	v := healthy().gone("a")
	right := Decide(v)
	for name, change := range map[string]func(d *Decision){
		"rule":    func(d *Decision) { d.Rule = "an older rule" },
		"verdict": func(d *Decision) { d.Verdict, d.Plan = Wait, nil },
		"plan":    func(d *Decision) { p := *d.Plan; p.Tasks = p.Tasks[1:]; d.Plan = &p },
	} {
		d := right
		change(&d)
		if _, differs := Replay(Recorded{View: v, Decision: d}); !differs {
			t.Errorf("another %s is no difference", name)
		}
	}
	d := right
	d.Evidence = "in other words"
	p := *d.Plan
	p.Created = p.Created.Add(time.Hour)
	d.Plan = &p
	if _, differs := Replay(Recorded{View: v, Decision: d}); differs {
		t.Error("words and times make a difference")
	}
}

package failover

import (
	"encoding/json"
	"time"
)

// A Recorded is a view with what was decided about it, as it is kept on disk.
type Recorded struct {
	At       time.Time `json:"at"`
	Node     string    `json:"node"`
	Version  string    `json:"version,omitempty"` // of the program that decided
	Service  string    `json:"service"`
	View     View      `json:"view"`
	Decision Decision  `json:"decision"`
	// Missed is how many views before this one were to be kept and were not: the disk was too slow.
	Missed int `json:"missed,omitempty"`
}

// Bare is the view without what no rule looks at, such as earlier proofs: it is judged as the view itself is.
func (v View) Bare() View {
	if v.State != nil && len(v.State.History)+len(v.State.Answers) > 0 {
		s := *v.State
		s.History, s.Answers = nil, nil
		v.State = &s
	}
	return v
}

// A Difference is where today's rules decide otherwise than was decided.
type Difference struct {
	At      time.Time `json:"at"`
	Node    string    `json:"node"`
	Service string    `json:"service"`
	Then    Decision  `json:"then"`
	Today   Decision  `json:"today"`
}

// Replay asks today's rules about a recorded view. The words of the evidence may differ; verdict, rule and plan may not.
func Replay(r Recorded) (Difference, bool) {
	today := Decide(r.View)
	d := Difference{At: r.At, Node: r.Node, Service: r.Service, Then: r.Decision, Today: today}
	return d, today.Verdict != r.Decision.Verdict || today.Rule != r.Decision.Rule || essence(today.Plan) != essence(r.Decision.Plan)
}

// essence is what a plan would do.
func essence(p *Progress) string {
	if p == nil {
		return ""
	}
	bare := *p
	bare.Evidence, bare.Created, bare.Times, bare.Tasks = "", time.Time{}, nil, nil
	for _, t := range p.Tasks {
		t.Why = ""
		bare.Tasks = append(bare.Tasks, t)
	}
	text, err := json.Marshal(bare)
	if err != nil {
		panic(err) // plain data
	}
	return string(text)
}

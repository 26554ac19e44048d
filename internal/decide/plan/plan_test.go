package plan

import "testing"

func TestStepReads(t *testing.T) {
	for want, s := range map[string]Step{
		"fence db on b, epoch 7: a is gone":        {Kind: Fence, Service: "db", Node: "b", Epoch: 7, Why: "a is gone"},
		"set_sync db on a any 1 of [b c], epoch 2": {Kind: SetSync, Service: "db", Node: "a", Names: []string{"b", "c"}, Quorum: 1, Epoch: 2},
		"stop db on a (fast), epoch 3":             {Kind: Stop, Service: "db", Node: "a", Mode: Fast, Epoch: 3},
		"rewind db on a from b, epoch 4":           {Kind: Rewind, Service: "db", Node: "a", Upstream: "b", Epoch: 4},
	} {
		if got := s.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

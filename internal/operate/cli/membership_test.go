package cli

import (
	"context"
	"time"

	"github.com/backstay/backstay/internal/operate/api"
)

// membership is a fake cluster: par-3 is dead, and par-2 waits for a restart.
type membership struct{ removed []api.Removal }

func (m *membership) ClusterStatus(context.Context) (api.ClusterStatus, error) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return api.ClusterStatus{
		Cluster: "shop", Profile: "lan", Now: at, Version: api.Version{Number: 7, By: "ann", Time: at, Message: "why not"},
		Nodes: []api.ClusterNode{
			{Name: "par-1", Address: "10.0.0.1", Heard: true, Services: []string{"db"}, Config: api.Answer{State: api.AnswerUses, Version: 7}},
			{Name: "par-2", Address: "10.0.0.2", Heard: true, Services: []string{"db"}, Config: api.Answer{State: api.AnswerRestart, Version: 7, Detail: "store.profile cannot change\nwhile it runs"}},
			{Name: "par-3", Address: "10.0.0.3", Config: api.Answer{State: api.AnswerAway, Version: 6}},
		},
		Members: []api.MemberHealth{
			{StoreMember: api.StoreMember{Node: "par-1", Address: "10.0.0.1:7401", Leader: true}, Answers: true, Size: 3 << 20, InUse: 20 << 10, Applied: 99},
			{StoreMember: api.StoreMember{Node: "par-3", Address: "10.0.0.3:7401"}, Problem: "it does not answer"},
		},
		Recoveries: []api.Recovery{{Generation: 1, Time: at, Node: "par-1", By: "bob", Why: "fire", Lost: []string{"par-9"}}},
		Removed:    append([]api.Removal{{Node: "par-8", Why: "sold", Time: at}}, m.removed...),
	}, nil
}

func (m *membership) Leave(context.Context) error {
	return api.Errorf(api.Refused, "par-1 has an instance of db")
}

func (m *membership) Remove(_ context.Context, r api.Removal) error {
	if r.Node != "par-3" {
		return api.Errorf(api.NotFound, "the cluster has no member %q", r.Node)
	}
	r.Time = time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC)
	m.removed = append(m.removed, r)
	return nil
}

func (m *membership) Snapshot(context.Context, string) (int64, error) { return 5 << 20, nil }
func (m *membership) Defragment(context.Context) error                { return nil }

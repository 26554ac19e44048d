package node

import (
	"context"
	"errors"
	"time"

	"github.com/backstay/backstay/internal/control"
	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/operate/api"
)

// errStateless is what a node of no cluster says to those who want to steer one.
func errStateless() error {
	return api.Errorf(api.Refused, "this node is of no cluster: `backstay init` makes one of its first node, `backstay cluster join` lets others in")
}

// steered gives errors of the loop the kind that people's programs go by.
func steered(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, control.ErrNoService):
		return api.Errorf(api.NotFound, "%v", err)
	case errors.Is(err, control.ErrNoRecord), errors.Is(err, control.ErrWished), errors.Is(err, control.ErrImpossible):
		return api.Errorf(api.Refused, "%v", err)
	}
	return err
}

// Explain implements api.Cluster.
func (n *Node) Explain(_ context.Context, service string) (api.Explained, error) {
	if n.stateful == nil {
		return api.Explained{}, errStateless()
	}
	v, err := n.stateful.control.View(service)
	if err != nil {
		return api.Explained{}, steered(err)
	}
	return api.Explained{Text: failover.Explain(v), Explanation: failover.Examine(v)}, nil
}

// Wish implements api.Cluster.
func (n *Node) Wish(ctx context.Context, w api.Wish) error {
	if n.stateful == nil {
		return errStateless()
	}
	return steered(n.stateful.control.Wish(ctx, w.Service, failover.Wish{ID: w.ID, Kind: w.Kind, To: w.To, By: "operator on " + n.stateful.self.Name}))
}

// Pause implements api.Cluster.
func (n *Node) Pause(ctx context.Context, service string, paused bool) error {
	if n.stateful == nil {
		return errStateless()
	}
	return steered(n.stateful.control.Pause(ctx, service, paused))
}

// Invite implements api.Cluster.
func (n *Node) Invite(ctx context.Context, node string, ttl time.Duration) (string, error) {
	if n.stateful == nil {
		return "", errStateless()
	}
	return n.stateful.invite(ctx, node, ttl)
}

// Nodes implements api.Cluster.
func (n *Node) Nodes(ctx context.Context) ([]api.StoreMember, error) {
	if n.stateful == nil {
		return nil, errStateless()
	}
	members, err := n.stateful.store.Members(ctx)
	var out []api.StoreMember
	for _, m := range members {
		out = append(out, api.StoreMember{Node: m.Node, Address: m.Client, Leader: m.Leader, Learner: m.Learner})
	}
	return out, err
}

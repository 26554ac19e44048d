package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/backstay/backstay/internal/base/event"
)

// A Member is a node's part of the store as the cluster knows it.
type Member struct {
	Node    string // empty while it was added and has not started yet
	ID      string
	Peer    string // host:port
	Client  string // host:port
	Learner bool   // does not vote yet
	Leader  bool
}

// Members lists who the cluster consists of.
func (c *Cluster) Members(ctx context.Context) ([]Member, error) {
	client, err := c.client(ctx)
	if err != nil {
		return nil, err
	}
	got, err := client.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the cluster's members: %w: %w", ErrUnavailable, err)
	}
	leader := c.Leader()
	all := make([]Member, 0, len(got.Members))
	for _, m := range got.Members {
		member := member(m)
		member.Leader = m.Name != "" && m.Name == leader
		all = append(all, member)
	}
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.Node+a.Peer, b.Node+b.Peer) })
	return all, nil
}

// Leader returns the node that leads the store as this one knows, "" if there is none or it is not ours to know.
func (c *Cluster) Leader() string {
	e, err := c.local()
	if err != nil {
		return ""
	}
	if m := e.Server.Cluster().Member(e.Server.Leader()); m != nil {
		return m.Name
	}
	return ""
}

// LeaderChanged has a signal when another member leads the store; for one reader.
func (c *Cluster) LeaderChanged() <-chan struct{} { return c.leaders }

// MoveLeader makes another node lead the store; no error if it does already. It takes a few round trips, and gives up
// after the time of some elections.
func (c *Cluster) MoveLeader(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, 4*c.o.Profile.StoreElection)
	defer cancel()
	e, err := c.local()
	if err != nil {
		return fmt.Errorf("move the store's leadership to %s: %w", node, err)
	}
	for _, m := range e.Server.Cluster().Members() {
		if m.Name != node || m.IsLearner {
			continue
		}
		if e.Server.Leader() == m.ID {
			return nil
		}
		if err := e.Server.MoveLeader(ctx, e.Server.Lead(), uint64(m.ID)); err != nil {
			return fmt.Errorf("move the store's leadership to %s: %w", node, err)
		}
		return nil
	}
	return fmt.Errorf("move the store's leadership to %s: no voting member has this name", node)
}

// Remove removes a dead node's member for good: its data directory never starts again. To replace the node, join a new
// one. Refused where the remaining members would have no majority.
func (c *Cluster) Remove(ctx context.Context, node, why string) error {
	if node == c.o.Node {
		return fmt.Errorf("remove %s: a node does not remove itself, it leaves", node)
	}
	members, err := c.Members(ctx)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.Node == node {
			return c.bury(ctx, m, why)
		}
	}
	return fmt.Errorf("remove %s: the cluster has no member of this name", node)
}

// Leave removes this node's own member for good; Run ends then without an error.
func (c *Cluster) Leave(ctx context.Context) error {
	e, err := c.local()
	if err != nil {
		return fmt.Errorf("leave the cluster: %w", err)
	}
	members, err := c.Members(ctx)
	if err != nil {
		return err
	}
	if len(members) == 1 {
		return fmt.Errorf("leave the cluster: %s is its last member; to give the cluster up stop the node and remove %s", c.o.Node, c.o.Dir)
	}
	for _, m := range members {
		if c.Leader() == c.o.Node && m.Node != c.o.Node && m.Node != "" && !m.Learner {
			if err := c.MoveLeader(ctx, m.Node); err != nil {
				return err
			}
		}
	}
	c.mu.Lock()
	c.leaving = true
	c.mu.Unlock()
	err = c.bury(ctx, Member{Node: c.o.Node, ID: e.Server.MemberID().String()}, "left the cluster")
	if err != nil {
		c.mu.Lock()
		c.leaving = false
		c.mu.Unlock()
	}
	return err
}

// bury removes a member and leaves a tombstone. The tombstone of a member that leaves is written first, by its own
// last word; of another, when it is gone: a living member must not find one.
func (c *Cluster) bury(ctx context.Context, m Member, why string) error {
	e, err := c.local()
	if err != nil {
		return fmt.Errorf("remove %s: %w", m.Node, err)
	}
	client, err := c.client(ctx)
	if err != nil {
		return err
	}
	id, err := types.IDFromString(m.ID)
	if err != nil {
		return err
	}
	stone, err := json.Marshal(Tombstone{Node: m.Node, Member: m.ID, By: c.o.Node, Why: why, Time: time.Now().UTC()})
	if err != nil {
		return err
	}
	self := m.Node == c.o.Node
	if self {
		if _, err := c.Put(ctx, keyTombstone+m.ID, stone, Whatever); err != nil {
			return err
		}
	}
	if err := removeMember(ctx, client, uint64(id)); err != nil && (!self || !c.wasRemoved(e, id)) {
		if self { // though the caller may have no time left
			short, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
			defer cancel()
			_ = c.Delete(short, keyTombstone+m.ID, Whatever)
		}
		return fmt.Errorf("remove %s from the cluster: %w", m.Node, err)
	}
	c.tell(event.ClusterRemoved, fmt.Sprintf("%s was removed from the cluster for good: %s.", m.Node, why))
	if self {
		return nil
	}
	_, err = c.Put(ctx, keyTombstone+m.ID, stone, Whatever)
	return err
}

// wasRemoved says whether this node's own member is none any more: the answer to its removal may be lost with the member, whose last act it is.
func (c *Cluster) wasRemoved(e *embed.Etcd, id types.ID) bool {
	select {
	case <-e.Server.StopNotify():
	case <-time.After(stopTime):
	}
	return c.removed.Load() || e.Server.Cluster().Member(id) == nil
}

// removeMember tries until it is done: right after another change etcd refuses for a while.
func removeMember(ctx context.Context, client *clientv3.Client, id uint64) error {
	for {
		_, err := client.MemberRemove(ctx, id)
		switch {
		case err == nil || errors.Is(err, rpctypes.ErrMemberNotFound):
			return nil
		case ctx.Err() != nil || !errors.Is(err, rpctypes.ErrUnhealthy) && !errors.Is(err, rpctypes.ErrMemberNotEnoughStarted):
			return err
		}
		select {
		case <-time.After(longestPause):
		case <-ctx.Done():
			return fmt.Errorf("the remaining members must have a majority first: %w", err)
		}
	}
}

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

// join adds this node to the cluster as a learner and says how its member begins.
func (c *Cluster) join(ctx context.Context, id identity, cfg *embed.Config) (identity, error) {
	if len(c.o.Join) == 0 {
		return id, fmt.Errorf("%w: joining was interrupted and no member to join is configured", ErrNotInitialized)
	}
	if id.State == "" {
		id = identity{Cluster: c.o.Cluster, Node: c.o.Node, State: stateJoining, Since: time.Now()}
		if err := id.write(c.o.Dir); err != nil {
			return id, err
		}
	}
	client, err := c.dial(ctx, c.o.Join)
	if err != nil {
		return id, err
	}
	defer func() { _ = client.Close() }()
	for {
		initial, err := c.enrol(ctx, client)
		if err == nil {
			cfg.ClusterState, cfg.InitialCluster = embed.ClusterStateFlagExisting, initial
			return id, nil
		}
		if !passing(err) || ctx.Err() != nil {
			return id, fmt.Errorf("join the cluster at %s: %w", strings.Join(c.o.Join, ", "), err)
		}
		c.o.Log.Info("the cluster takes no new member at the moment", "error", err)
		select {
		case <-time.After(longestPause):
		case <-ctx.Done():
			return id, fmt.Errorf("join the cluster at %s: %w", strings.Join(c.o.Join, ", "), err)
		}
	}
}

// passing says whether adding a member may succeed later: another one is joining, or there is no leader right now.
func passing(err error) bool {
	for _, e := range []error{
		rpctypes.ErrTooManyLearners, rpctypes.ErrUnhealthy, rpctypes.ErrMemberNotEnoughStarted, rpctypes.ErrNoLeader,
		rpctypes.ErrTimeout, rpctypes.ErrTimeoutDueToLeaderFail, rpctypes.ErrTimeoutDueToConnectionLost, rpctypes.ErrLeaderChanged,
		context.DeadlineExceeded,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return clientv3.IsConnCanceled(err) || strings.Contains(err.Error(), "code = Unavailable") || strings.Contains(err.Error(), "re-configuration")
}

// enrol makes sure that the cluster expects this node, and returns etcd's list of members to start with.
func (c *Cluster) enrol(ctx context.Context, client *clientv3.Client) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, longestTry)
	defer cancel()
	peer := "https://" + c.o.Peer
	got, err := client.MemberList(ctx)
	if err != nil {
		return "", err
	}
	members, enrolled := got.Members, false
	for _, m := range members {
		switch own := slices.Contains(m.PeerURLs, peer); {
		case own && m.Name == "":
			enrolled = true // by an attempt before this one
		case m.Name == c.o.Node || own:
			if err := c.supersede(ctx, client, m); err != nil {
				return "", err
			}
		}
	}
	if !enrolled {
		added, err := client.MemberAddAsLearner(ctx, []string{peer})
		if err != nil {
			return "", err
		}
		members = added.Members
	}
	var initial []string
	for _, m := range members {
		for _, u := range m.PeerURLs {
			if u == peer {
				m.Name = c.o.Node
			}
			initial = append(initial, m.Name+"="+u)
		}
	}
	return strings.Join(initial, ","), nil
}

// supersede removes the dead member whose place this node takes.
func (c *Cluster) supersede(ctx context.Context, client *clientv3.Client, m *etcdserverpb.Member) error {
	if !c.o.Replace {
		return fmt.Errorf("the cluster has a member %s at %s already; if that one is dead and its data lost, join with replacing it",
			m.Name, strings.Join(m.PeerURLs, ", "))
	}
	for _, u := range m.ClientURLs {
		if alive := c.probe(ctx, []string{hostPort(u)}); len(alive) > 0 {
			return fmt.Errorf("the member %s to be replaced is alive at %s: stop it first", m.Name, hostPort(u))
		}
	}
	id := types.ID(m.ID).String()
	if err := removeMember(ctx, client, m.ID); err != nil {
		return fmt.Errorf("remove the dead member %s: %w", m.Name, err)
	}
	stone, err := json.Marshal(Tombstone{Node: m.Name, Member: id, By: c.o.Node, Why: "replaced", Time: time.Now().UTC()})
	if err != nil {
		return err
	}
	_, err = client.Put(ctx, c.prefix+keyTombstone+id, string(stone))
	return err
}

// promote makes this learner a voter as soon as it has caught up; false when ctx ended.
func (c *Cluster) promote(ctx context.Context, e *embed.Etcd) bool {
	endpoints := slices.Clone(c.o.Join)
	for _, m := range e.Server.Cluster().Members() {
		for _, u := range m.ClientURLs {
			if m.ID != e.Server.MemberID() {
				endpoints = append(endpoints, hostPort(u))
			}
		}
	}
	client, err := c.dial(ctx, endpoints)
	if err != nil {
		c.failed(err.Error())
		return false
	}
	defer func() { _ = client.Close() }()
	for e.Server.IsLearner() {
		try, cancel := context.WithTimeout(ctx, longestTry)
		_, err := client.MemberPromote(try, uint64(e.Server.MemberID()))
		cancel()
		if err != nil {
			c.o.Log.Debug("not promoted yet", "error", err)
		}
		select {
		case <-time.After(longestPause / 5):
		case <-e.Server.StopNotify():
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

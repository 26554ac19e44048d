package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/cluster/versions"
	"github.com/backstay/backstay/internal/operate/api"
)

var _ api.Membership = (*Node)(nil)

// silentFor is for how many times the time of suspicion a node is silent before it can be removed: a busy machine is suspected
// now and then.
const silentFor = 5

// ClusterStatus implements api.Membership. It says what it can where the store is away.
func (n *Node) ClusterStatus(ctx context.Context) (api.ClusterStatus, error) {
	s := n.stateful
	if s == nil {
		return api.ClusterStatus{}, errStateless()
	}
	c := s.config()
	out := api.ClusterStatus{Cluster: c.Cluster, Profile: s.profile.Name, External: c.Agreement().Endpoints, Now: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, max(5*time.Second, 4*s.profile.StoreElection))
	defer cancel()
	all, err := s.store.Conditions(ctx)
	for _, m := range all {
		out.Members = append(out.Members, api.MemberHealth{
			StoreMember: api.StoreMember{Node: m.Node, Address: m.Client, Leader: m.Leader, Learner: m.Learner},
			Answers:     m.Answers, Problem: m.Problem, Version: m.Version, Size: m.Size, InUse: m.InUse, Applied: m.Applied,
		})
	}
	var v versions.Version
	var told map[string]versions.Answer
	if err == nil {
		v, told, err = s.agreed(ctx, &out)
	}
	if err != nil {
		out.Problem = "the nodes cannot agree on anything now: " + err.Error()
		if known := s.follow.Newest(); known != nil {
			v, told = *known, nil
		}
	}
	out.Version = shown(v, false)
	for _, node := range c.Nodes {
		one := api.ClusterNode{Name: node.Name, Address: node.Address, Heard: !s.away(node.Name)}
		for _, sc := range c.Engines() {
			if slices.Contains(sc.Engine.Fleet().Nodes, node.Name) {
				one.Services = append(one.Services, sc.Name)
			}
		}
		switch {
		case v.Number > 0 && told == nil:
			one.Config = api.Answer{Node: node.Name, State: api.AnswerSilent}
		case v.Number > 0:
			one.Config = s.answered(node.Name, v.Number, told[node.Name])
		}
		out.Nodes = append(out.Nodes, one)
	}
	return out, nil
}

// agreed reads the configuration in force and what nodes say of it, and adds what was done to the cluster by hand.
func (s *stateful) agreed(ctx context.Context, out *api.ClusterStatus) (v versions.Version, told map[string]versions.Answer, err error) {
	if v, err = s.follow.log.Current(ctx); err != nil && !errors.Is(err, versions.ErrNone) {
		return v, nil, err
	}
	if told, err = s.follow.log.Answers(ctx); err != nil {
		return v, nil, err
	}
	recoveries, err := s.store.Recoveries(ctx)
	if err != nil {
		return v, nil, err
	}
	for _, r := range recoveries {
		out.Recoveries = append(out.Recoveries, api.Recovery{Generation: r.Generation, Time: r.Time, Node: r.Node, By: r.By, Why: r.Why, Lost: r.Lost, Snapshot: r.Snapshot})
	}
	stones, err := s.store.Tombstones(ctx)
	for _, t := range stones {
		out.Removed = append(out.Removed, api.Removal{Node: t.Node, Why: t.Why, By: t.By, Time: t.Time})
	}
	return v, told, err
}

// Leave implements api.Membership.
func (n *Node) Leave(ctx context.Context) error {
	s := n.stateful
	if s == nil {
		return errStateless()
	}
	if len(s.config().Agreement().Endpoints) > 0 {
		return api.Errorf(api.Refused, "the store is an etcd of its own, of which nodes are no members: stop this node, and apply a configuration without it")
	}
	for _, sc := range s.config().Engines() {
		if slices.Contains(sc.Engine.Fleet().Nodes, s.self.Name) {
			return api.Errorf(api.Refused, "%s has an instance of %s: apply a configuration with it out of the service's nodes first", s.self.Name, sc.Name)
		}
	}
	if err := s.follow.log.Forget(ctx, s.self.Name); err != nil {
		return stored(err)
	}
	s.leaving.Store(true)
	if err := s.store.Leave(ctx); err != nil {
		s.leaving.Store(false)
		return membershipError(err)
	}
	return nil
}

// membershipError says that a change of members was not made.
func membershipError(err error) error {
	if err == nil {
		return nil
	}
	return api.Errorf(api.Refused, "%v", err)
}

// Remove implements api.Membership.
func (n *Node) Remove(ctx context.Context, r api.Removal) error {
	s := n.stateful
	switch {
	case s == nil:
		return errStateless()
	case r.Node == s.self.Name:
		return api.Errorf(api.Refused, "a node does not remove itself: `backstay cluster leave`")
	}
	if len(s.config().Agreement().Endpoints) > 0 {
		return api.Errorf(api.Refused, "the store is an etcd of its own, of which nodes are no members: apply a configuration without %s", r.Node)
	}
	members, err := s.store.Conditions(ctx)
	if err != nil {
		return stored(err)
	}
	i := slices.IndexFunc(members, func(m cluster.Condition) bool { return m.Node == r.Node })
	if i < 0 {
		var names []string
		for _, m := range members {
			names = append(names, m.Node)
		}
		return api.Errorf(api.NotFound, "the cluster has no member %q: it has %s", r.Node, strings.Join(names, ", "))
	}
	if contact := s.link.Contacts()[r.Node]; members[i].Answers || contact.Broken == "" && time.Since(contact.Received) < silentFor*s.profile.Suspicion {
		return api.Errorf(api.Refused, "%s is alive, or was a moment ago: `backstay cluster leave` on it, or stop it first", r.Node)
	}
	why := r.Why
	if r.By != "" {
		why = strings.TrimSpace(fmt.Sprintf("%s (%s)", why, r.By))
	}
	if err := s.store.Remove(ctx, r.Node, why); err != nil {
		return membershipError(err)
	}
	return stored(s.follow.log.Forget(ctx, r.Node))
}

// Snapshot implements api.Membership.
func (n *Node) Snapshot(ctx context.Context, path string) (int64, error) {
	if n.stateful == nil {
		return 0, errStateless()
	}
	if !filepath.IsAbs(path) {
		return 0, api.Errorf(api.Invalid, "%s is not an absolute path", path)
	}
	return n.stateful.store.Snapshot(ctx, path)
}

// Defragment implements api.Membership.
func (n *Node) Defragment(ctx context.Context) error {
	if n.stateful == nil {
		return errStateless()
	}
	err := n.stateful.store.Defragment(ctx)
	if errors.Is(err, cluster.ErrHeld) {
		return api.Errorf(api.Refused, "another member is at it: one at a time, so that the others serve meanwhile")
	}
	return stored(err)
}

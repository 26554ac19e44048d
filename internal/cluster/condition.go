package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// conditionTime is how long a member has to say how it is.
const conditionTime = 2 * time.Second

// A Condition is how a member of the store is.
type Condition struct {
	Member
	Answers bool
	Problem string // why not, or what is wrong with it
	Version string // of etcd
	Size    int64  // bytes on disk
	InUse   int64  // of them
	Applied uint64 // raft's index: how far it is
}

// Conditions asks every member how it is.
func (c *Cluster) Conditions(ctx context.Context) ([]Condition, error) {
	client, err := c.client(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*conditionTime)
	defer cancel()
	got, err := client.MemberList(ctx, clientv3.WithSerializable()) // as this one knows, also without a majority
	if err != nil {
		return nil, fmt.Errorf("list the cluster's members: %w: %w", ErrUnavailable, err)
	}
	out := make([]Condition, len(got.Members))
	var leader uint64
	var mu sync.Mutex
	var all sync.WaitGroup
	for i, m := range got.Members {
		out[i].Member = member(m)
		all.Go(func() {
			at := c.condition(ctx, m, &out[i])
			mu.Lock()
			defer mu.Unlock()
			leader = max(leader, at)
		})
	}
	all.Wait()
	for i, m := range got.Members {
		out[i].Leader = m.ID == leader
	}
	slices.SortFunc(out, func(a, b Condition) int { return strings.Compare(a.Node+a.Peer, b.Node+b.Peer) })
	return out, nil
}

func member(m *etcdserverpb.Member) Member {
	out := Member{Node: m.Name, ID: types.ID(m.ID).String(), Learner: m.IsLearner}
	if len(m.PeerURLs) > 0 {
		out.Peer = hostPort(m.PeerURLs[0])
	}
	if len(m.ClientURLs) > 0 {
		out.Client = hostPort(m.ClientURLs[0])
	}
	return out
}

// condition asks one member, and returns who leads as it knows.
func (c *Cluster) condition(ctx context.Context, m *etcdserverpb.Member, out *Condition) (leader uint64) {
	if len(m.ClientURLs) == 0 {
		out.Problem = "it was added and has not started yet"
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, conditionTime)
	defer cancel()
	client, err := c.dial(ctx, m.ClientURLs)
	if err != nil {
		out.Problem = err.Error()
		return 0
	}
	defer func() { _ = client.Close() }()
	s, err := client.Status(ctx, m.ClientURLs[0])
	if err != nil {
		out.Problem = "it does not answer"
		return 0
	}
	out.Answers, out.Version, out.Size, out.InUse, out.Applied = true, s.Version, s.DbSize, s.DbSizeInUse, s.RaftAppliedIndex
	out.Problem = strings.Join(s.Errors, "; ")
	return s.Leader
}

// Recoveries returns the audit records of recoveries by force, the newest first.
func (c *Cluster) Recoveries(ctx context.Context) ([]Recovery, error) {
	out, err := records[Recovery](ctx, c, keyRecovered)
	slices.SortFunc(out, func(a, b Recovery) int { return b.Generation - a.Generation })
	return out, err
}

// Tombstones returns the members that were removed for good, the newest last.
func (c *Cluster) Tombstones(ctx context.Context) ([]Tombstone, error) {
	out, err := records[Tombstone](ctx, c, keyTombstone)
	slices.SortFunc(out, func(a, b Tombstone) int { return a.Time.Compare(b.Time) })
	return out, err
}

// Removed says whether a data directory is of a member that was removed, or left, for good, as far as it knows.
func Removed(dir string) bool {
	id, err := readIdentity(dir)
	return err == nil && id.State == stateRemoved
}

// keyAuthority has the fingerprint of the certificate authority of the cluster that uses a shared etcd.
const keyAuthority = "cluster/authority"

// Claim holds that nobody else uses this cluster's name on an etcd that is there already: the first to come leaves its
// fingerprint, and whoever has another is of another cluster.
func (c *Cluster) Claim(ctx context.Context, fingerprint string) error {
	_, err := c.Put(ctx, keyAuthority, []byte(fingerprint), Absent)
	if !errors.Is(err, ErrConflict) {
		return err
	}
	kv, err := c.Get(ctx, keyAuthority)
	if err == nil && string(kv.Value) != fingerprint {
		err = fmt.Errorf("%w: the etcd at %s has a cluster %q already, with another certificate authority; join that one (`backstay cluster join`), "+
			"or give this one another name", ErrOtherCluster, strings.Join(c.o.Endpoints, ", "), c.o.Cluster)
	}
	return err
}

// records reads what is below a key; what is not readable is passed over.
func records[T any](ctx context.Context, c *Cluster, prefix string) ([]T, error) {
	all, _, err := c.List(ctx, prefix)
	var out []T
	for _, kv := range all {
		var r T
		if json.Unmarshal(kv.Value, &r) == nil {
			out = append(out, r)
		}
	}
	return out, err
}

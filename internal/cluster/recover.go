package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"

	"github.com/backstay/backstay/internal/base/event"
)

// epochLeap is added to every lease's epoch by a recovery: the lost members may have agreed on epochs that this one has
// not heard of, and no epoch may be given twice.
const epochLeap = 1 << 20

// leadTime is for how long at least a recovery looks for others that have a leader.
const leadTime = 5 * time.Second

// leasePrefix is where leases live, so that a recovery finds them.
const leasePrefix = "lease/"

// LeaseKey returns the key of a lease by its name.
func LeaseKey(name string) string { return leasePrefix + name }

// Recover makes a cluster of one from this node's data, or from a snapshot where one is named, for when the majority is lost
// for good. What the lost members had agreed on without this one, or after the snapshot, is gone, and they must never run
// again: those that still reach this node are told so and stop. The old data is kept beside it. The node must not be
// running; start it afterwards, and join others anew.
func Recover(ctx context.Context, o Options, from Recovering) (Recovery, error) {
	c := Open(o)
	if err := c.complete(); err != nil {
		return Recovery{}, err
	}
	unlock, err := lock(o.Dir)
	if err != nil {
		return Recovery{}, fmt.Errorf("recover: %w: stop the node first", err)
	}
	defer unlock()
	id, err := readIdentity(o.Dir)
	if err == nil {
		err = id.check(&c.o)
	}
	if err == nil && from.Snapshot == "" && (id.State != stateMember || !hasData(o.Dir)) {
		err = fmt.Errorf("%s has no member's data to recover from", o.Dir)
	}
	if err != nil {
		return Recovery{}, fmt.Errorf("recover: %w", err)
	}
	if s, ok := c.leads(ctx, o.Others); ok {
		return Recovery{}, fmt.Errorf("recover: %s is alive and has a leader: the majority is not lost; start the node, or let it join anew: "+
			"`backstay cluster join --anew` puts %s aside", s.address, o.Dir)
	}
	if err := ctx.Err(); err != nil {
		return Recovery{}, fmt.Errorf("recover: %w", err)
	}
	var keys []KV
	if from.Snapshot != "" {
		if keys, err = c.readSnapshot(from.Snapshot); err != nil {
			return Recovery{}, fmt.Errorf("recover: %w", err)
		}
	}
	kept := etcdPath(o.Dir) + ".before-recovery-" + time.Now().UTC().Format("20060102T150405.000")
	if hasData(o.Dir) {
		if err := os.CopyFS(kept, os.DirFS(etcdPath(o.Dir))); err != nil {
			return Recovery{}, fmt.Errorf("recover: keep the old data: %w", err)
		}
	}
	r, err := c.force(ctx, id, from, keys)
	if err != nil {
		return r, fmt.Errorf("recover: %w; the data as it was is in %s", err, kept)
	}
	c.tell(event.ClusterRecovered, fmt.Sprintf("%s was made a cluster of its own by %s: %s. Left out: %s.", o.Node, from.By, from.Why,
		strings.Join(r.Lost, ", ")))
	return r, nil
}

// leads looks for a node that has a leader. It looks again for as long as an election may take, and no less than some seconds: the leader may
// just have gone, with this node, and machines in trouble answer late.
func (c *Cluster) leads(ctx context.Context, addresses []string) (sight, bool) {
	for by := time.Now().Add(max(3*c.o.Profile.StoreElection, leadTime)); ; {
		for _, s := range c.probe(ctx, addresses) {
			if s.leader {
				return s, true
			}
		}
		select {
		case <-time.After(longestPause):
		case <-ctx.Done():
			return sight{}, false
		}
		if len(addresses) == 0 || time.Now().After(by) {
			return sight{}, false
		}
	}
}

// Recovering is what a recovery is made from, by whom and why.
type Recovering struct {
	Snapshot string // file; the node's own data where empty
	By, Why  string
	// Amend, where set, is shown each key with its value, which may be older than what the lost members had agreed on, and
	// returns what it is to be from now on; nil to leave it as it is.
	Amend func(key string, value []byte) ([]byte, error)
}

// force starts etcd as the only member, writes the audit record, raises all epochs and amends what is there; keys are those
// of the snapshot.
func (c *Cluster) force(ctx context.Context, id identity, o Recovering, keys []KV) (Recovery, error) {
	var lost []string
	if hasData(c.o.Dir) {
		lost = c.leftOut()
	}
	config := c.config()
	config.ForceNewCluster = true
	if o.Snapshot != "" {
		if err := os.RemoveAll(etcdPath(c.o.Dir)); err != nil { // a copy was made
			return Recovery{}, err
		}
		config.ForceNewCluster = false
		config.InitialClusterToken, config.InitialCluster = rand.Text(), config.InitialClusterFromName(config.Name)
	}
	e, err := embed.StartEtcd(config)
	if err != nil {
		return Recovery{}, err
	}
	defer e.Close()
	select {
	case <-e.Server.ReadyNotify():
	case <-ctx.Done():
		return Recovery{}, ctx.Err()
	}
	c.start(e, v3client.New(e.Server))
	for _, kv := range keys {
		if _, err := c.Put(ctx, kv.Key, kv.Value, Whatever); err != nil {
			return Recovery{}, err
		}
	}
	generation, err := c.generation(ctx)
	if err != nil {
		return Recovery{}, err
	}
	leases, revision, err := c.List(ctx, leasePrefix)
	if err != nil {
		return Recovery{}, err
	}
	r := Recovery{
		Generation: max(generation, id.Generation) + 1, Node: c.o.Node, By: o.By, Why: o.Why, Time: time.Now().UTC(), Lost: lost, Revision: revision,
		Snapshot: o.Snapshot,
	}
	record, err := json.Marshal(r)
	if err != nil {
		return r, err
	}
	for _, key := range []string{generationKey(r.Generation), keyGeneration} {
		if _, err := c.Put(ctx, key, record, Whatever); err != nil {
			return r, err
		}
	}
	for _, kv := range leases {
		if err := c.leap(ctx, kv); err != nil {
			return r, err
		}
	}
	if err := c.amend(ctx, o.Amend); err != nil {
		return r, err
	}
	id = identity{
		Cluster: c.o.Cluster, Node: c.o.Node, State: stateMember, Generation: r.Generation, Since: r.Time,
		ClusterID: e.Server.Cluster().ID().String(), MemberID: e.Server.MemberID().String(),
	}
	return r, id.write(c.o.Dir)
}

// amend changes what cannot be gone by any more as it is.
func (c *Cluster) amend(ctx context.Context, change func(string, []byte) ([]byte, error)) error {
	if change == nil {
		return nil
	}
	all, _, err := c.List(ctx, "")
	if err != nil {
		return err
	}
	for _, kv := range all {
		value, err := change(kv.Key, kv.Value)
		if err == nil && value != nil {
			_, err = c.Put(ctx, kv.Key, value, kv.Revision)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", kv.Key, err)
		}
	}
	return nil
}

// readSnapshot returns the cluster's keys in a snapshot of its store, which ends with the hash of all before.
func (c *Cluster) readSnapshot(path string) ([]KV, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	cut := len(text) - sha256.Size
	if cut <= 0 || cut%512 != 0 {
		return nil, fmt.Errorf("%s is not a snapshot of a store, or not a whole one", path)
	}
	if sum := sha256.Sum256(text[:cut]); !bytes.Equal(sum[:], text[cut:]) {
		return nil, fmt.Errorf("the snapshot %s is damaged: its hash does not fit", path)
	}
	temporary := filepath.Join(c.o.Dir, "snapshot.db")
	if err := os.WriteFile(temporary, text[:cut], 0o600); err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(temporary) }()
	log := newZap(c.o.Log, c.failed, func() {})
	data := backend.NewDefaultBackend(log, temporary)
	defer func() { _ = data.Close() }()
	keys := mvcc.NewStore(log, data, &lease.FakeLessor{}, mvcc.StoreConfig{})
	defer func() { _ = keys.Close() }()
	got, err := keys.Range(context.Background(), []byte(c.prefix), []byte(clientv3.GetPrefixRangeEnd(c.prefix)), mvcc.RangeOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the snapshot %s: %w", path, err)
	}
	var all []KV
	for _, kv := range got.KVs {
		all = append(all, KV{Key: string(kv.Key[len(c.prefix):]), Value: kv.Value})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("the snapshot %s has nothing of the cluster %q", path, c.o.Cluster)
	}
	return all, nil
}

// leftOut reads from the data as it is who the other members are: afterwards etcd has forgotten them.
func (c *Cluster) leftOut() []string {
	log := newZap(c.o.Log, c.failed, func() {})
	data := backend.NewDefaultBackend(log, filepath.Join(etcdPath(c.o.Dir), "member", "snap", "db"))
	defer func() { _ = data.Close() }()
	members, _ := schema.NewMembershipBackend(log, data).MustReadMembersFromBackend()
	var others []string
	for _, m := range members {
		if m.Name != c.o.Node {
			others = append(others, m.Name)
		}
	}
	slices.Sort(others)
	return others
}

// leap vacates a lease at an epoch far beyond any that the lost members can have given.
func (c *Cluster) leap(ctx context.Context, kv KV) error {
	var r LeaseRecord
	if err := json.Unmarshal(kv.Value, &r); err != nil {
		return fmt.Errorf("%s: %w", kv.Key, err)
	}
	value, err := json.Marshal(LeaseRecord{Epoch: r.Epoch + epochLeap, TTL: r.TTL, Counter: r.Counter + 1, Open: true, By: c.o.Node})
	if err != nil {
		return err
	}
	_, err = c.Put(ctx, kv.Key, value, kv.Revision)
	return err
}

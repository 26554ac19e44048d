package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/schema"

	"github.com/backstay/backstay/internal/base/event"
)

// epochLeap is added to every lease's epoch by a recovery: the lost members may have agreed on epochs that this one has
// not heard of, and no epoch may be given twice.
const epochLeap = 1 << 20

// leasePrefix is where leases live, so that a recovery finds them.
const leasePrefix = "lease/"

// LeaseKey returns the key of a lease by its name.
func LeaseKey(name string) string { return leasePrefix + name }

// Recover makes a cluster of one from this node's data, for when the majority is lost for good. What the lost members
// had agreed on without this one is gone, and they must never run again: those that still reach this node are told so
// and stop. The old data is kept beside it. The node must not be running; start it afterwards, and join others anew.
func Recover(ctx context.Context, o Options, by, why string) (Recovery, error) {
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
	if err == nil && (id.State != stateMember || !hasData(o.Dir)) {
		err = fmt.Errorf("%s has no member's data to recover from", o.Dir)
	}
	if err != nil {
		return Recovery{}, fmt.Errorf("recover: %w", err)
	}
	for _, s := range c.probe(ctx, o.Others) {
		if s.leader {
			return Recovery{}, fmt.Errorf("recover: %s is alive and has a leader: the majority is not lost; start the node, or remove %s "+
				"and join anew", s.address, o.Dir)
		}
	}
	kept := etcdPath(o.Dir) + ".before-recovery-" + time.Now().UTC().Format("20060102T150405")
	if err := os.CopyFS(kept, os.DirFS(etcdPath(o.Dir))); err != nil {
		return Recovery{}, fmt.Errorf("recover: keep the old data: %w", err)
	}
	r, err := c.force(ctx, id, by, why)
	if err != nil {
		return r, fmt.Errorf("recover: %w; the data as it was is in %s", err, kept)
	}
	c.tell(event.ClusterRecovered, fmt.Sprintf("%s was made a cluster of its own by %s: %s. Left out: %s.", o.Node, by, why,
		strings.Join(r.Lost, ", ")))
	return r, nil
}

// force starts etcd as the only member, writes the audit record and raises all epochs.
func (c *Cluster) force(ctx context.Context, id identity, by, why string) (Recovery, error) {
	lost := c.leftOut()
	config := c.config()
	config.ForceNewCluster = true
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
	generation, err := c.generation(ctx)
	if err != nil {
		return Recovery{}, err
	}
	leases, revision, err := c.List(ctx, leasePrefix)
	if err != nil {
		return Recovery{}, err
	}
	r := Recovery{
		Generation: generation + 1, Node: c.o.Node, By: by, Why: why, Time: time.Now().UTC(), Lost: lost, Revision: revision,
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
	id.Generation, id.Since = r.Generation, r.Time
	return r, id.write(c.o.Dir)
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

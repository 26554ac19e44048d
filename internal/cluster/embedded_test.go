package cluster_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/cluster"
)

func TestEmbeddedIsAStore(t *testing.T) {
	t.Parallel()
	k := newKit(t, "lan")
	a := k.machine("a", "127.0.0.1")
	a.Bootstrap = true
	a.up()
	compact := func(t *testing.T) {
		if err := a.Compact(t.Context()); err != nil && !strings.Contains(err.Error(), "compacted") {
			t.Fatal(err)
		}
	}
	t.Run("inside", func(t *testing.T) { conformance(t, a.Cluster, compact) })
	a.Others = nil
	outside := cluster.Open(cluster.Options{Cluster: "other", Node: "x", Endpoints: []string{a.Client}, TLS: a.TLS})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- outside.Run(ctx) }()
	t.Run("outside", func(t *testing.T) { conformance(t, outside, compact) })
	if err := outside.MoveLeader(ctx, "a"); !errors.Is(err, cluster.ErrExternal) {
		t.Errorf("moved the leadership of an external etcd: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !a.told(event.ClusterFounded) {
		t.Error("the founding was not told")
	}
}

func TestThreeMembersThroughTheirLives(t *testing.T) {
	t.Parallel()
	k := newKit(t, "lan")
	a, b, c := k.three()
	if got := a.members(); got != "a b c " {
		t.Fatalf("members = %s", got)
	}
	if !b.told(event.ClusterJoined) {
		t.Error("joining was not told")
	}
	a.mustPut("k", "1")
	b.mustGet("k", "1")

	updates := a.Watch(t.Context(), "k")
	next(t, updates)
	a.Fail("no space left on device")
	eventually(t, "the failure is told", func() bool { return a.told(event.ClusterFailed) })
	var err error
	var taken net.Listener // its own member's address, so that it does not come back before
	eventually(t, "the failed member lets go of its address", func() bool {
		if a.Leader() != "" { // it was faster
			a.Fail("no space left on device")
		}
		taken, err = net.Listen("tcp", a.Peer)
		return err == nil
	})
	b.mustPut("k", "while a was away")
	a.mustGet("k", "while a was away") // by way of the others
	_ = taken.Close()
	eventually(t, "its own member is back", func() bool { return a.Leader() != "" })
	for u := next(t, updates); len(u.Changes) == 0 || string(u.Changes[0].Value) != "while a was away"; u = next(t, updates) {
	}

	if err := c.MoveLeader(t.Context(), "b"); err != nil { // asked of one who is neither
		t.Fatal(err)
	}
	eventually(t, "b leads", func() bool { return c.Leader() == "b" })
	b.kill()
	a.mustPut("k", "2")
	b.up()
	b.mustGet("k", "2")

	kill(a, b, c)
	for _, m := range []*machine{a, b, c} { // all together, as after a power failure
		m.run()
	}
	for _, m := range []*machine{a, b, c} {
		m.ready()
	}
	c.mustGet("k", "2")

	kill(b, c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := a.Put(ctx, "k", []byte("3"), cluster.Whatever); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("a write without a majority: %v", err)
	}
	c.up()
	a.mustPut("k", "4")
}

// What etcd finds fatal while it starts must not end the node: it has services, and the others' store.
func TestAMemberThatCannotStartAgain(t *testing.T) {
	t.Parallel()
	k := newKit(t, "lan")
	a, b, _ := k.three()
	a.mustPut("k", "1")
	logs, err := filepath.Glob(filepath.Join(a.Dir, "etcd", "member", "wal", "*.wal"))
	if err != nil || len(logs) == 0 {
		t.Fatal("the member has no log: ", err)
	}
	locked := make(chan error)
	for _, path := range logs { // whoever else has the log makes etcd give up in the middle of its start
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		go func() { // waits until etcd lets go
			const setLockWait = 38 // F_OFD_SETLKW
			locked <- syscall.FcntlFlock(f.Fd(), setLockWait, &syscall.Flock_t{Type: syscall.F_WRLCK})
		}()
	}
	a.Fail("no space left on device")
	for range logs {
		if err := <-locked; err != nil {
			t.Fatal(err)
		}
	}
	for !a.heard("does not start again: etcd cannot start") {
		select {
		case err := <-a.ended:
			t.Fatal("the node's part of the store ended: ", err)
		case <-time.After(time.Millisecond):
		}
	}
	b.mustPut("k", "2")
	a.mustGet("k", "2")
}

func TestLeaveReplaceAndTombstones(t *testing.T) {
	t.Parallel()
	k := newKit(t, "lan")
	a, b, c := k.three()
	a.mustPut("k", "1")

	if err := c.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.over(); err != nil {
		t.Errorf("Run after leaving: %v", err)
	}
	if got := a.members(); got != "a b " {
		t.Errorf("members = %s", got)
	}
	if err := c.refused(); !errors.Is(err, cluster.ErrRemoved) || !strings.Contains(err.Error(), "join anew") {
		t.Errorf("start after leaving: %v", err)
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		t.Fatal(err)
	}
	c.join(b)

	// b's disk dies; an empty machine of the same name takes its place.
	b.kill()
	old := b.Dir
	b.Dir = filepath.Join(b.dir, "new")
	b.Join = []string{a.Client, c.Client}
	if err := b.refused(); err == nil || !strings.Contains(err.Error(), "replac") {
		t.Errorf("took the place of a member unasked: %v", err)
	}
	b.Replace = true
	b.up()
	if got := a.members(); got != "a b c " {
		t.Errorf("members = %s", got)
	}
	b.mustGet("k", "1")
	b.kill()
	b.Dir, b.Replace = old, false
	if err := b.refused(); !errors.Is(err, cluster.ErrRemoved) {
		t.Errorf("the replaced member started: %v", err)
	}
	b.Dir = filepath.Join(b.dir, "new")
	b.up()

	// c is removed while it runs.
	if err := c.Remove(t.Context(), "c", "x"); err == nil {
		t.Error("a node removed itself")
	}
	if err := a.Remove(t.Context(), "c", "the machine is sold"); err != nil {
		t.Fatal(err)
	}
	if err := c.over(); !errors.Is(err, cluster.ErrRemoved) {
		t.Errorf("Run after removal: %v", err)
	}
	c.Others = nil // nobody to ask: it knows by itself
	if err := c.refused(); !errors.Is(err, cluster.ErrRemoved) {
		t.Errorf("the removed member started: %v", err)
	}
	if !a.told(event.ClusterRemoved) {
		t.Error("the removal was not told")
	}
}

func TestDataThatMustNotStart(t *testing.T) {
	t.Parallel()
	k := newKit(t, "lan")
	a := k.machine("a", "127.0.0.1")
	if err := a.refused(); !errors.Is(err, cluster.ErrNotInitialized) {
		t.Errorf("started without being told to found or join: %v", err)
	}
	a.Bootstrap = true
	a.up()
	second := cluster.Open(a.Options)
	if err := second.Run(t.Context()); !errors.Is(err, cluster.ErrInUse) {
		t.Errorf("two on one directory: %v", err)
	}

	b := k.machine("b", "127.0.0.2")
	b.Bootstrap = true
	if err := b.refused(); !errors.Is(err, cluster.ErrExists) {
		t.Errorf("founded a second cluster: %v", err)
	}
	others := b.Others
	b.Others = nil // a's node was not reachable
	b.up()
	b.kill()
	b.Others = others
	if err := b.refused(); !errors.Is(err, cluster.ErrOtherCluster) {
		t.Errorf("a member of a second cluster started: %v", err)
	}

	a.kill()
	a.Options.Cluster = "warehouse"
	if err := a.refused(); !errors.Is(err, cluster.ErrOtherCluster) || !strings.Contains(err.Error(), "warehouse") {
		t.Errorf("data of another cluster: %v", err)
	}
	a.Options.Cluster, a.Node = "shop", "z"
	if err := a.refused(); err == nil || !strings.Contains(err.Error(), `node "a"`) {
		t.Errorf("data of another node: %v", err)
	}
	a.Node = "a"
	if err := os.RemoveAll(filepath.Join(a.Dir, "etcd")); err != nil {
		t.Fatal(err)
	}
	if err := a.refused(); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("started empty under an old identity: %v", err)
	}
	bare := cluster.Open(cluster.Options{Cluster: "shop", Node: "n", Dir: t.TempDir(), Peer: "127.0.0.1:0", Client: "127.0.0.1:0"})
	if err := bare.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("ran without TLS: %v", err)
	}
}

func TestSnapshotDefragmentAndRecoveryByForce(t *testing.T) {
	t.Parallel()
	k := newKit(t, "lan")
	a, b, c := k.three()
	a.mustPut("k", "1")
	lease := cluster.NewLease(cluster.LeaseOptions{Store: a.Cluster, Key: cluster.LeaseKey("db"), Holder: "a"})
	if _, err := lease.Take(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := a.Defragment(t.Context()); err != nil || !a.told(event.ClusterDefragmented) {
		t.Errorf("defragment: %v", err)
	}
	path := filepath.Join(t.TempDir(), "snapshot.db")
	if n, err := a.Snapshot(t.Context(), path); err != nil || n == 0 {
		t.Errorf("snapshot: %d bytes, %v", n, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("snapshot: %v, %v", info.Mode(), err)
	}

	if _, err := cluster.Recover(t.Context(), a.Options, cluster.Recovering{By: "op", Why: "test"}); !errors.Is(err, cluster.ErrInUse) {
		t.Errorf("recovered a running node: %v", err)
	}
	a.kill()
	eventually(t, "the others have a leader", func() bool { leader := b.Leader(); return leader == "b" || leader == "c" })
	if _, err := cluster.Recover(t.Context(), a.Options, cluster.Recovering{By: "op", Why: "test"}); err == nil || !strings.Contains(err.Error(), "majority is not lost") {
		t.Errorf("recovered although the others live: %v", err)
	}
	kill(b, c)
	r, err := cluster.Recover(t.Context(), a.Options, cluster.Recovering{By: "op", Why: "both other machines burnt", Amend: func(key string, value []byte) ([]byte, error) {
		if key != "k" {
			return nil, nil
		}
		return append(value, "0"...), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Generation != 1 || strings.Join(r.Lost, " ") != "b c" || r.By != "op" || r.Revision == 0 {
		t.Errorf("recovery = %+v", r)
	}
	a.up()
	a.mustGet("k", "10")
	if got := a.members(); got != "a " {
		t.Errorf("members = %s", got)
	}
	if _, err := a.Get(t.Context(), "cluster/recovered/1"); err != nil {
		t.Errorf("no audit record: %v", err)
	}
	lease = cluster.NewLease(cluster.LeaseOptions{Store: a.Cluster, Key: cluster.LeaseKey("db"), Holder: "a"})
	if epoch, err := lease.Take(t.Context(), 0); err != nil || epoch <= 1<<20 {
		t.Errorf("the epoch after recovery is %d, %v: one the lost members may have given", epoch, err)
	}
	if err := b.refused(); !errors.Is(err, cluster.ErrOutdated) && !errors.Is(err, cluster.ErrRemoved) { // it may have been told
		t.Errorf("a member that was left out started: %v", err)
	}
	// One that cannot ask and starts is told by the recovered node, and stops.
	c.Others, c.Join = nil, nil
	if err := c.refused(); !errors.Is(err, cluster.ErrRemoved) {
		t.Errorf("a member that was left out went on: %v", err)
	}
	if err := os.RemoveAll(b.Dir); err != nil {
		t.Fatal(err)
	}
	b.join(a)
	b.mustGet("k", "10")
	fromSnapshot(t, a, b, path)
}

// fromSnapshot makes a cluster of what a snapshot has, without the data of any member.
func fromSnapshot(t *testing.T, a, b *machine, path string) {
	t.Helper()
	a.mustPut("k", "2") // after the snapshot
	kill(a, b)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(t.TempDir(), "damaged")
	if err := os.WriteFile(damaged, append([]byte("x"), text[1:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.Recover(t.Context(), a.Options, cluster.Recovering{Snapshot: damaged, By: "op", Why: "test"}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("recovered from a damaged snapshot: %v", err)
	}
	if _, err := cluster.Recover(t.Context(), a.Options, cluster.Recovering{Snapshot: path + "x", By: "op", Why: "test"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("recovered from no snapshot: %v", err)
	}
	r, err := cluster.Recover(t.Context(), a.Options, cluster.Recovering{Snapshot: path, By: "op", Why: "the store was emptied by mistake"})
	if err != nil || r.Generation != 2 || r.Snapshot != path {
		t.Fatalf("recovery = %+v, %v", r, err)
	}
	a.up()
	a.mustGet("k", "1")
	if got := a.members(); got != "a " {
		t.Errorf("members = %s", got)
	}
	lease := cluster.NewLease(cluster.LeaseOptions{Store: a.Cluster, Key: cluster.LeaseKey("db"), Holder: "a"})
	if epoch, err := lease.Take(t.Context(), 0); err != nil || epoch <= 1<<20 {
		t.Errorf("the epoch after recovery is %d, %v", epoch, err)
	}
	all, err := a.Recoveries(t.Context())
	if err != nil || len(all) != 1 || all[0].Generation != 2 || all[0].Why == "" {
		t.Errorf("recoveries = %+v, %v", all, err) // the one before is not in the snapshot
	}
	if err := b.refused(); !errors.Is(err, cluster.ErrOtherCluster) {
		t.Errorf("a member of the cluster before started: %v", err)
	}
	how, err := a.Conditions(t.Context())
	if err != nil || len(how) != 1 || !how[0].Answers || !how[0].Leader || how[0].Size == 0 || how[0].Applied == 0 || how[0].Problem != "" {
		t.Errorf("condition = %+v, %v", how, err)
	}
}

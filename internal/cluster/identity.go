package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// What a data directory is.
const (
	stateFounding = "founding" // about to be the first member
	stateJoining  = "joining"  // about to become a member
	stateMember   = "member"
	stateRemoved  = "removed" // tombstone: never starts again
)

// Errors of a data directory; each refuses to start, compare with errors.Is.
var (
	// ErrRemoved says that the member was removed from the cluster for good.
	ErrRemoved = errors.New("this member was removed from the cluster")
	// ErrOtherCluster says that the data directory, or a node of the same configuration, is of another cluster.
	ErrOtherCluster = errors.New("another cluster")
	// ErrOutdated says that the cluster was recovered by force without this member.
	ErrOutdated = errors.New("the cluster was recovered by force without this member")
	// ErrInUse says that another process runs on the data directory.
	ErrInUse = errors.New("the data directory is in use by another process")
	// ErrNotInitialized says that the node is of no cluster yet.
	ErrNotInitialized = errors.New("this node is not a member of a cluster yet")
	// ErrExists says that there is a cluster already where one was to be founded.
	ErrExists = errors.New("there is a cluster already")
)

// An identity is who a data directory is, kept as JSON beside etcd's data: what etcd's own files cannot tell apart.
type identity struct {
	Cluster    string    `json:"cluster"`
	ClusterID  string    `json:"cluster_id,omitempty"`
	Token      string    `json:"token,omitempty"` // makes the cluster's id unlike that of any other, founding only
	Node       string    `json:"node"`
	MemberID   string    `json:"member_id,omitempty"`
	State      string    `json:"state"`
	Generation int       `json:"generation"` // how often the cluster was recovered by force
	Since      time.Time `json:"since"`
	Reason     string    `json:"reason,omitempty"`
}

func identityPath(dir string) string { return filepath.Join(dir, "identity.json") }
func etcdPath(dir string) string     { return filepath.Join(dir, "etcd") }

func readIdentity(dir string) (identity, error) {
	var id identity
	text, err := os.ReadFile(identityPath(dir))
	if errors.Is(err, os.ErrNotExist) {
		return id, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &id)
	}
	if err != nil {
		return id, fmt.Errorf("read who this member is: %w", err)
	}
	return id, nil
}

func (id identity) write(dir string) error {
	text, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(identityPath(dir), append(text, '\n'))
}

// writeFile replaces a file in one step, readable by its owner only, and durable.
func writeFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// check refuses a data directory that is not this node's in this cluster.
func (id identity) check(o *Options) error {
	switch {
	case id.State == "":
		return nil
	case id.Cluster != o.Cluster:
		return fmt.Errorf("%w: the data in %s is of cluster %q, the configuration says %q; use another directory, or remove it "+
			"if that cluster is given up", ErrOtherCluster, o.Dir, id.Cluster, o.Cluster)
	case id.Node != o.Node:
		return fmt.Errorf("the data in %s is of node %q, this is %q; data of one node must not be copied to another: "+
			"join with an empty directory", o.Dir, id.Node, o.Node)
	case id.State == stateRemoved:
		return fmt.Errorf("%w: %s (%s, since %s); to bring the node back let it join anew: `backstay cluster join --anew` puts %s aside", ErrRemoved, id.Node, id.Reason,
			id.Since.Format(time.RFC3339), o.Dir)
	case id.State == stateMember && !hasData(o.Dir):
		return fmt.Errorf("the store's data of member %s in %s is gone; it must not start empty under the same identity: remove "+
			"%s and join anew, replacing the member", id.Node, etcdPath(o.Dir), o.Dir)
	}
	return nil
}

func hasData(dir string) bool {
	found, err := os.ReadDir(filepath.Join(etcdPath(dir), "member", "wal"))
	return err == nil && len(found) > 0
}

// lock makes this process the only one on a data directory, until unlock or its end.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
	}
	return func() { f.Close() }, nil
}

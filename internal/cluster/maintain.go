package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/backstay/backstay/internal/base/event"
)

const (
	membersEvery    = 5 * time.Second
	defragmentEvery = 30 * time.Minute
	defragmentFrom  = 64 << 20 // bytes unused from which it is worth the pause
)

// maintain follows the leadership and looks after the store's size, until ctx ends.
func (c *Cluster) maintain(ctx context.Context, e *embed.Etcd) {
	look, members := time.NewTicker(defragmentEvery), time.NewTicker(membersEvery)
	defer look.Stop()
	defer members.Stop()
	known := ""
	for {
		c.notePeers(e)
		changed := e.Server.LeaderChanged()
		if leader := c.Leader(); leader != known && leader != "" {
			if known != "" && leader == c.o.Node { // told once, by whom it concerns
				c.tell(event.ClusterLeader, fmt.Sprintf("%s leads the store now; it was %s.", leader, known))
			}
			known = leader
			select {
			case c.leaders <- struct{}{}:
			default:
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-e.Server.StopNotify():
			return
		case <-changed:
		case <-members.C:
		case <-look.C:
			if err := c.defragmentIfWorthIt(ctx, e); err != nil && ctx.Err() == nil {
				c.o.Log.Warn("store not defragmented", "error", err)
			}
		}
	}
}

func (c *Cluster) defragmentIfWorthIt(ctx context.Context, e *embed.Etcd) error {
	backend := e.Server.Backend()
	if backend.Size()-backend.SizeInUse() < defragmentFrom {
		return nil
	}
	err := c.Defragment(ctx)
	if errors.Is(err, ErrHeld) {
		return nil // another member is at it; next time
	}
	return err
}

// Defragment gives the unused space of this node's member back to the disk. The member does not serve meanwhile, so it
// is done by one member at a time (ErrHeld while another is at it) and a leader hands the leadership over first.
func (c *Cluster) Defragment(ctx context.Context) error {
	e, err := c.local()
	if err != nil {
		return fmt.Errorf("defragment the store: %w", err)
	}
	turn := NewLease(LeaseOptions{Store: c, Key: keyDefragment, Holder: c.o.Node, TTL: time.Minute, Log: c.o.Log})
	if _, err := turn.Take(ctx, 0); err != nil {
		return fmt.Errorf("defragment the store: %w", err)
	}
	defer func() { _ = turn.Release(context.WithoutCancel(ctx)) }()
	for _, m := range e.Server.Cluster().Members() {
		if !m.IsLearner && m.Name != c.o.Node && c.Leader() == c.o.Node {
			if err := c.MoveLeader(ctx, m.Name); err != nil {
				c.o.Log.Info("leadership stays during defragmentation", "error", err)
			}
		}
	}
	before, start := e.Server.Backend().Size(), time.Now()
	if err := e.Server.Backend().Defrag(); err != nil {
		return fmt.Errorf("defragment the store: %w", err)
	}
	c.tell(event.ClusterDefragmented, fmt.Sprintf("%s's part of the store shrank from %d to %d bytes in %v.", c.o.Node, before,
		e.Server.Backend().Size(), time.Since(start).Round(time.Millisecond)))
	client, err := c.client(ctx)
	if err != nil {
		return err
	}
	_, err = client.AlarmDisarm(ctx, &clientv3.AlarmMember{}) // writes refused for lack of space are taken again
	return err
}

// Snapshot saves the whole store to a file, as `etcdutl snapshot restore` takes it, and returns its size in bytes.
func (c *Cluster) Snapshot(ctx context.Context, path string) (int64, error) {
	client, err := c.client(ctx)
	if err != nil {
		return 0, err
	}
	from, err := client.Snapshot(ctx)
	if err != nil {
		return 0, fmt.Errorf("snapshot of the store: %w", err)
	}
	defer from.Close()
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	n, err := io.Copy(f, from)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return 0, fmt.Errorf("snapshot of the store to %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return 0, err
	}
	return n, syncDir(filepath.Dir(path))
}

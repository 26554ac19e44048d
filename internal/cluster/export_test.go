package cluster

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Compact makes the store forget what was overwritten so far, in the middle of its life as at its edge.
func (c *Cluster) Compact(ctx context.Context) error {
	client, err := c.client(ctx)
	if err != nil {
		return err
	}
	_, revision, err := c.List(ctx, "compact/")
	if err != nil {
		return err
	}
	_, err = client.Compact(ctx, revision, clientv3.WithCompactPhysical())
	return err
}

// Crash stops the member at once: nothing is finished, no leadership is handed over.
func (c *Cluster) Crash() {
	if e, err := c.local(); err == nil {
		e.Server.HardStop()
	}
}

// Fail makes the member end as it does when etcd cannot write.
func (c *Cluster) Fail(reason string) { c.failed(reason) }

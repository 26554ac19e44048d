package cluster

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// watchBacklog is how many changes wait for a slow reader; beyond it he gets the whole state instead.
const watchBacklog = 1024

// Watch begins with the whole state and goes on with each change; see Store.
func (s *etcdStore) Watch(ctx context.Context, prefix string) <-chan Update {
	out := make(chan Update)
	go func() {
		defer close(out)
		for ctx.Err() == nil {
			s.follow(ctx, prefix, out)
		}
	}()
	return out
}

// follow lists the state once and passes on what changes after it, until the thread is lost.
func (s *etcdStore) follow(ctx context.Context, prefix string, out chan<- Update) {
	all, revision, err := s.List(ctx, prefix)
	if err != nil { // only for good, or with ctx
		select {
		case <-time.After(longestPause):
		case <-ctx.Done():
		}
		return
	}
	client, err := s.client(ctx)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	news := client.Watch(clientv3.WithRequireLeader(ctx), s.prefix+prefix, clientv3.WithPrefix(), clientv3.WithRev(revision+1))
	waiting := []Update{state(all, revision)}
	size := 0
	for {
		var next Update
		var offer chan<- Update
		if len(waiting) > 0 {
			next, offer = waiting[0], out
		}
		select {
		case <-ctx.Done():
			return
		case offer <- next:
			waiting = waiting[1:]
			if !next.Reset {
				size -= len(next.Changes)
			}
		case got, ok := <-news:
			if !ok || got.Err() != nil { // compacted, no leader, connection lost for good
				return
			}
			u := s.update(got)
			if len(u.Changes) == 0 {
				continue
			}
			if size += len(u.Changes); size > watchBacklog {
				return
			}
			waiting = append(waiting, u)
		}
	}
}

func state(all []KV, revision int64) Update {
	u := Update{Reset: true, Revision: revision}
	for _, kv := range all {
		u.Changes = append(u.Changes, Change{KV: kv})
	}
	return u
}

func (s *etcdStore) update(got clientv3.WatchResponse) Update {
	u := Update{Revision: got.Header.Revision}
	for _, e := range got.Events {
		c := Change{KV: KV{Key: string(e.Kv.Key[len(s.prefix):]), Revision: e.Kv.ModRevision}}
		if e.Type == clientv3.EventTypeDelete {
			c.Deleted = true
		} else {
			c.Value = e.Kv.Value
		}
		u.Changes = append(u.Changes, c)
	}
	return u
}

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	shortestPause = 5 * time.Millisecond // between tries
	longestPause  = 250 * time.Millisecond
	longestTry    = 5 * time.Second // etcd gives a request up about then
)

// An etcdStore is a Store in an etcd. A request that is lost with etcd's leader is not told so for seconds; so each try
// has a time of its own, and the next follows until the caller's context ends.
type etcdStore struct {
	client func(context.Context) (*clientv3.Client, error) // waits until there is one
	prefix string                                          // before every key
	try    time.Duration                                   // for the first try; each further one has twice the time

	leaderChanged func() <-chan struct{} // ends a try: what was under way to the old leader may be lost
}

// Get returns a key; ErrNotFound.
func (s *etcdStore) Get(ctx context.Context, key string) (KV, error) {
	var kv KV
	err := s.tries(ctx, func(ctx context.Context, client *clientv3.Client, _ int) error {
		got, err := client.Get(ctx, s.prefix+key)
		if err != nil {
			return err
		}
		if len(got.Kvs) == 0 {
			return ErrNotFound
		}
		kv = KV{Key: key, Value: got.Kvs[0].Value, Revision: got.Kvs[0].ModRevision}
		return nil
	})
	if err != nil {
		return KV{}, fmt.Errorf("get %s: %w", key, err)
	}
	return kv, nil
}

// List returns the keys under a prefix and the store's revision.
func (s *etcdStore) List(ctx context.Context, prefix string) ([]KV, int64, error) {
	var all []KV
	var revision int64
	err := s.tries(ctx, func(ctx context.Context, client *clientv3.Client, _ int) error {
		got, err := client.Get(ctx, s.prefix+prefix, clientv3.WithPrefix())
		if err != nil {
			return err
		}
		all, revision = make([]KV, 0, len(got.Kvs)), got.Header.Revision
		for _, kv := range got.Kvs {
			all = append(all, KV{Key: string(kv.Key[len(s.prefix):]), Value: kv.Value, Revision: kv.ModRevision})
		}
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", prefix, err)
	}
	return all, revision, nil
}

// Put writes a key if it is at the revision previous; ErrConflict.
func (s *etcdStore) Put(ctx context.Context, key string, value []byte, previous int64) (int64, error) {
	var revision int64
	err := s.tries(ctx, func(ctx context.Context, client *clientv3.Client, try int) error {
		full := s.prefix + key
		got, err := client.Txn(ctx).If(s.expect(full, previous)...).Then(clientv3.OpPut(full, string(value))).
			Else(clientv3.OpGet(full)).Commit()
		if err != nil {
			return err
		}
		if got.Succeeded {
			revision = got.Header.Revision
			return nil
		}
		// An earlier try may have been made although its answer was lost.
		if kvs := got.Responses[0].GetResponseRange().Kvs; try > 0 && len(kvs) == 1 && bytes.Equal(kvs[0].Value, value) {
			revision = kvs[0].ModRevision
			return nil
		}
		return ErrConflict
	})
	if err != nil {
		return 0, fmt.Errorf("put %s: %w", key, err)
	}
	return revision, nil
}

// Delete removes a key if it is at the revision previous; ErrConflict.
func (s *etcdStore) Delete(ctx context.Context, key string, previous int64) error {
	err := s.tries(ctx, func(ctx context.Context, client *clientv3.Client, try int) error {
		full := s.prefix + key
		got, err := client.Txn(ctx).If(s.expect(full, previous)...).Then(clientv3.OpDelete(full)).
			Else(clientv3.OpGet(full)).Commit()
		if err != nil {
			return err
		}
		if gone := !got.Succeeded && len(got.Responses[0].GetResponseRange().Kvs) == 0; got.Succeeded || try > 0 && gone {
			return nil
		}
		return ErrConflict
	})
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

func (s *etcdStore) expect(full string, previous int64) []clientv3.Cmp {
	if previous == Whatever {
		return nil
	}
	return []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(full), "=", previous)}
}

// tries calls do until it succeeds, fails for good or ctx ends.
func (s *etcdStore) tries(ctx context.Context, do func(ctx context.Context, client *clientv3.Client, try int) error) error {
	pause, patience := shortestPause, s.try
	for try := 0; ; try++ {
		client, err := s.client(ctx)
		if err != nil {
			return err
		}
		attempt, cancel := context.WithTimeout(ctx, patience)
		done := make(chan struct{})
		changed := s.leaderChanged()
		go func() {
			select {
			case <-changed:
				cancel()
			case <-done:
			}
		}()
		err = do(attempt, client, try)
		close(done)
		cancel()
		if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict) {
			return err
		}
		if final := final(err); final != nil {
			return final
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w; last answer: %w", ErrUnavailable, ctx.Err(), err)
		}
		pause, patience = min(2*pause, longestPause), min(2*patience, longestTry)
	}
}

// final returns the error for those failures that no further try would cure, nil for the others.
func final(err error) error {
	for _, e := range []error{rpctypes.ErrNoSpace, rpctypes.ErrGRPCNoSpace} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
	}
	for _, e := range []error{
		rpctypes.ErrRequestTooLarge, rpctypes.ErrPermissionDenied, rpctypes.ErrAuthFailed, rpctypes.ErrInvalidAuthToken,
		rpctypes.ErrUserEmpty, rpctypes.ErrCorrupt, rpctypes.ErrEmptyKey,
	} {
		if errors.Is(err, e) {
			return err
		}
	}
	return nil
}

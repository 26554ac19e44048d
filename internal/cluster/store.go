// Package cluster is the replicated store: one small key-value interface with compare-and-swap and watch, kept by an
// etcd that runs inside the node (or by an etcd that exists already), leases with epochs on top of it, membership, and
// a twin in memory for tests.
//
// It is the only importer of etcd. It knows nothing of services, engines or failover: it keeps what others agree on.
// Nothing in it leans on etcd's own leases, which outlive their time when etcd's leader dies together with the
// primary. DESIGN.md says what is stored where, the invariants of a lease and what happens in each failure.
package cluster

import (
	"context"
	"errors"
)

// Errors of a Store; compare with errors.Is.
var (
	// ErrNotFound says that the key does not exist.
	ErrNotFound = errors.New("key not found")
	// ErrConflict says that the key is not at the revision the caller expected; nothing was changed. Read it again.
	ErrConflict = errors.New("the key was changed by someone else")
	// ErrUnavailable says that the store could not be reached or had no quorum until the context ended; a write may or
	// may not have been made.
	ErrUnavailable = errors.New("the store cannot be reached or has no quorum")
	// ErrFull says that the store refuses writes because its size limit is reached.
	ErrFull = errors.New("the store is full")
)

// What Put and Delete expect of a key where they are not told a revision.
const (
	// Absent expects that the key does not exist.
	Absent int64 = 0
	// Whatever expects nothing.
	Whatever int64 = -1
)

// A KV is a key, its value and the revision of the store at which it was last written.
type KV struct {
	Key      string
	Value    []byte
	Revision int64
}

// A Change is a key written or deleted; Value is empty where it was deleted.
type Change struct {
	KV
	Deleted bool
}

// An Update is what a watcher learns. With Reset it is the whole state under the prefix, sorted by key, and replaces
// all that the watcher knew; without, changes in their order. Revision is the store's after them.
type Update struct {
	Reset    bool
	Revision int64
	Changes  []Change
}

// A Store is an agreed map of keys to values. All methods may be called at once from many goroutines. Reads are
// linearizable. An operation is tried until ctx ends; then the error is ErrUnavailable and carries ctx's.
type Store interface {
	// Get returns a key; ErrNotFound.
	Get(ctx context.Context, key string) (KV, error)
	// List returns the keys under a prefix, sorted, and the store's revision.
	List(ctx context.Context, prefix string) ([]KV, int64, error)
	// Put writes a key if it is at the revision previous (or Absent, or Whatever) and returns its new revision;
	// ErrConflict. Where an answer was lost on the way, a value found to be the very one written counts as written,
	// so a value that means "I" must say who. With Whatever the write may for the same reason be made twice.
	Put(ctx context.Context, key string, value []byte, previous int64) (int64, error)
	// Delete removes a key if it is at the revision previous; one that is gone already is no error with Whatever.
	Delete(ctx context.Context, key string, previous int64) error
	// Watch begins with the whole state (a Reset) and goes on with each change in order. Where changes were missed,
	// by compaction, a lost connection or a reader too slow, another Reset follows. Closed when ctx ends.
	Watch(ctx context.Context, prefix string) <-chan Update
}

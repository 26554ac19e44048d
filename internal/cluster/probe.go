package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	probeTime  = time.Second     // for the other nodes to be there, before a member starts without their answer
	answerTime = 5 * time.Second // for those that are there to say who they are
	askAgain   = 5 * time.Second // between questions to them while this member has no majority
)

// Keys of the store's own; all others belong to whoever writes them.
const (
	keyGeneration = "cluster/generation" // how often the cluster was recovered by force, with the record of it
	keyTombstone  = "cluster/removed/"   // + member id
	keyRecovered  = "cluster/recovered/" // + generation: the audit records
	keyDefragment = "cluster/defragment" // a lease: one member at a time
)

// A Tombstone is the record of a member that never comes back.
type Tombstone struct {
	Node   string    `json:"node"`
	Member string    `json:"member"`
	By     string    `json:"by"`
	Why    string    `json:"why"`
	Time   time.Time `json:"time"`
}

// A Recovery is the audit record of a recovery by force.
type Recovery struct {
	Generation int       `json:"generation"`
	Node       string    `json:"node"`
	By         string    `json:"by"`
	Why        string    `json:"why"`
	Time       time.Time `json:"time"`
	Lost       []string  `json:"lost"`               // members left out
	Snapshot   string    `json:"snapshot,omitempty"` // that it was made from; empty: the node's own data
	Revision   int64     `json:"revision"`           // the newest this member knew; what the lost ones had agreed on after it is gone
}

// A sight is what another node says of itself.
type sight struct {
	address    string
	cluster    string
	leader     bool // it has one
	members    []string
	removed    map[string]Tombstone
	recovery   Recovery
	generation int
}

// probe asks other nodes who they are, all at once; those that do not answer in time are left out.
func (c *Cluster) probe(ctx context.Context, addresses []string) []sight {
	var mu sync.Mutex
	var seen []sight
	var all sync.WaitGroup
	for _, address := range addresses {
		all.Go(func() {
			s, err := c.ask(ctx, address)
			if err != nil {
				c.o.Log.Debug("no answer from another node's store", "address", address, "error", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, s)
		})
	}
	all.Wait()
	return seen
}

// ask needs no quorum: it reads what that member knows.
func (c *Cluster) ask(ctx context.Context, address string) (sight, error) {
	// A refused connection is an answer; etcd's client would try again until the time is over.
	conn, err := (&net.Dialer{Timeout: probeTime}).DialContext(ctx, "tcp", address)
	if err != nil {
		return sight{}, err
	}
	conn.Close()
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	client, err := c.dial(ctx, []string{address})
	if err != nil {
		return sight{}, err
	}
	defer func() { _ = client.Close() }()
	status, err := client.Status(ctx, address)
	if err != nil {
		return sight{}, err
	}
	s := sight{address: address, cluster: types.ID(status.Header.ClusterId).String(), leader: status.Leader != 0, removed: map[string]Tombstone{}}
	members, err := client.MemberList(ctx, clientv3.WithSerializable())
	if err != nil {
		return s, nil // a learner; its cluster is known at least
	}
	for _, m := range members.Members {
		s.members = append(s.members, types.ID(m.ID).String())
	}
	got, err := client.Get(ctx, c.prefix+"cluster/", clientv3.WithPrefix(), clientv3.WithSerializable())
	if err != nil {
		return s, nil
	}
	for _, kv := range got.Kvs {
		var t Tombstone
		switch key := string(kv.Key[len(c.prefix):]); {
		case key == keyGeneration:
			_ = json.Unmarshal(kv.Value, &s.recovery)
			s.generation = s.recovery.Generation
		case len(key) > len(keyTombstone) && key[:len(keyTombstone)] == keyTombstone:
			if json.Unmarshal(kv.Value, &t) == nil {
				s.removed[t.Member] = t
			}
		}
	}
	return s, nil
}

// recognise refuses to start a member that the others know to be of the past. Nobody there is no reason against it.
func (c *Cluster) recognise(ctx context.Context, id identity) error {
	for _, s := range c.probe(ctx, slices.Concat(c.o.Others, c.o.Join)) {
		switch t, gone := s.removed[id.MemberID]; {
		case id.ClusterID != "" && s.cluster != id.ClusterID:
			return fmt.Errorf("%w: the data in %s is of cluster %s, %s is in cluster %s; two clusters under one configuration would "+
				"both decide: let this one join that (`backstay cluster join --anew` puts %s aside), or stop the other", ErrOtherCluster, c.o.Dir, id.ClusterID, s.address, s.cluster, c.o.Dir)
		case s.generation > id.Generation && !slices.Contains(s.members, id.MemberID):
			return fmt.Errorf("%w: by %s on %s at %s (%s); let it join anew: `backstay cluster join --anew` puts %s aside", ErrOutdated, s.recovery.By, s.recovery.Node,
				s.recovery.Time.Format(time.RFC3339), s.recovery.Why, c.o.Dir)
		case gone:
			id.State, id.Reason, id.Since = stateRemoved, fmt.Sprintf("removed by %s: %s", t.By, t.Why), t.Time
			if err := id.write(c.o.Dir); err != nil {
				return err
			}
			return id.check(&c.o)
		}
	}
	return nil
}

// recogniseLater asks again while the member has no majority: it may have started without an answer of those who know it to be of the past.
func (c *Cluster) recogniseLater(ctx context.Context, ready <-chan struct{}, id identity, past chan<- error) {
	for {
		select {
		case <-time.After(askAgain):
		case <-ready:
			return
		case <-ctx.Done():
			return
		}
		if err := c.recognise(ctx, id); err != nil {
			past <- err
			return
		}
	}
}

// generation reads how often the cluster was recovered by force.
func (c *Cluster) generation(ctx context.Context) (int, error) {
	kv, err := c.Get(ctx, keyGeneration)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var r Recovery
	if err := json.Unmarshal(kv.Value, &r); err != nil {
		return 0, fmt.Errorf("%s: %w", keyGeneration, err)
	}
	return r.Generation, nil
}

func generationKey(n int) string { return keyRecovered + strconv.Itoa(n) }

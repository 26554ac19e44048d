// Package shares keeps in the cluster's store which node has leased how much of a rate: resilience.Ledger is the algorithm,
// this is where its book lies.
package shares

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/resilience"
)

// Shares are one rate's, as one node sees them. It implements resilience.Shares.
//
// The clocks of nodes are never compared. A lease in the book has a serial and no time: a node takes it to be in force until a
// TTL after it has seen that serial first, by its own clock. Its holder counts from before it asked, and so stops sooner.
//
// Who begins, or has not had the store for a while, takes nodes that are not in the book to be at work with an equal part: for a
// TTL, in which they will come if they live. So nothing is given out twice when all begin, or when the store is back.
type Shares struct {
	store   cluster.Store
	key     string
	node    string
	boot    string // serials of an earlier life are not ours
	options resilience.LedgerOptions

	mu      sync.Mutex
	serial  int
	seen    map[string]sighting
	last    time.Time // when the store was had
	settled time.Time // from when on the book is taken to be complete
}

// sighting is since when a node's lease is known.
type sighting struct {
	serial string
	at     time.Time
}

// book is what the store holds.
type book struct {
	Leases map[string]lease `json:"leases"`
}

type lease struct {
	Want    float64 `json:"want"`
	Granted float64 `json:"granted"`
	Serial  string  `json:"serial"`
}

// New opens the shares of the rate of that name. The options must be those of every node.
func New(store cluster.Store, rate, node string, o resilience.LedgerOptions) *Shares {
	if o.TTL <= 0 {
		o.TTL = 10 * time.Second
	}
	return &Shares{store: store, key: "rates/" + rate, node: node, boot: rand.Text()[:8], options: o, seen: map[string]sighting{}}
}

// Lease implements resilience.Shares.
func (s *Shares) Lease(ctx context.Context, want float64) (granted float64, until time.Time, err error) {
	asked := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.change(ctx, func(b *book) {
		now := time.Now()
		if s.last.IsZero() || now.Sub(s.last) > 2*s.options.TTL {
			s.settled = now.Add(s.options.TTL)
		}
		s.last = now
		ledger := s.ledger(b, now)
		granted, _ = ledger.Lease(s.options, s.node, want, now)
		for node := range b.Leases {
			if _, kept := ledger.Holdings[node]; !kept {
				delete(b.Leases, node)
			}
		}
		s.serial++
		b.Leases[s.node] = lease{want, granted, s.boot + "-" + strconv.Itoa(s.serial)}
	})
	return granted, asked.Add(s.options.TTL), err
}

// Leave gives this node's share back at once.
func (s *Shares) Leave(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.change(ctx, func(b *book) { delete(b.Leases, s.node) })
}

// ledger is the book with times on this node's clock.
func (s *Shares) ledger(b *book, now time.Time) resilience.Ledger {
	l := resilience.Ledger{Holdings: map[string]resilience.Holding{}}
	for node, h := range b.Leases {
		known, ok := s.seen[node]
		if !ok || known.serial != h.Serial {
			known = sighting{h.Serial, now}
			s.seen[node] = known
		}
		l.Holdings[node] = resilience.Holding{Want: h.Want, Granted: h.Granted, Until: known.at.Add(s.options.TTL)}
	}
	if now.Before(s.settled) {
		s.expect(&l)
	}
	for node := range s.seen {
		if _, there := b.Leases[node]; !there {
			delete(s.seen, node)
		}
	}
	return l
}

// expect takes nodes to be at work with an equal part at least, until they have been seen to lease.
func (s *Shares) expect(l *resilience.Ledger) {
	equal := s.options.Total / float64(max(s.options.Nodes, 1))
	began := s.settled.Add(-s.options.TTL)
	others := 0
	for node, h := range l.Holdings {
		if node == s.node {
			continue
		}
		others++
		if !s.seen[node].at.After(began) { // it was there when this node began to look: nobody knows since when
			l.Holdings[node] = resilience.Holding{Want: max(h.Want, equal), Granted: max(h.Granted, equal), Until: s.settled}
		}
	}
	for ; others < s.options.Nodes-1; others++ {
		l.Holdings["?"+strconv.Itoa(others)] = resilience.Holding{Want: equal, Granted: equal, Until: s.settled}
	}
}

// change reads the book, changes it and writes it back, until nobody else has done so in between.
func (s *Shares) change(ctx context.Context, by func(*book)) error {
	for {
		kv, err := s.store.Get(ctx, s.key)
		if err != nil && !errors.Is(err, cluster.ErrNotFound) {
			return err
		}
		var b book
		if kv.Value != nil {
			if err := json.Unmarshal(kv.Value, &b); err != nil {
				return fmt.Errorf("%s in the store cannot be read: %w", s.key, err)
			}
		}
		if b.Leases == nil {
			b.Leases = map[string]lease{}
		}
		by(&b)
		text, err := json.Marshal(b)
		if err != nil {
			return err
		}
		if _, err = s.store.Put(ctx, s.key, text, kv.Revision); !errors.Is(err, cluster.ErrConflict) {
			return err
		}
	}
}

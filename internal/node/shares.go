package node

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/cluster/shares"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/operate/api"
	"github.com/backstay/backstay/internal/serve/protect"
	"github.com/backstay/backstay/resilience"
)

// leaving bounds how long giving a share back may take: the store may be away.
const leaving = 2 * time.Second

// leases keeps the shares of rates leased that the configuration in force has.
type leases struct {
	mu      sync.Mutex
	under   context.Context // nil until Run, and after its end
	wanted  map[string]*protect.Share
	running map[string]*leasing
	leaves  sync.WaitGroup
}

type leasing struct {
	share *protect.Share
	stop  context.CancelFunc
	ended chan struct{}
}

// Set puts other shares in force; what is in both goes on.
func (l *leases) Set(all map[string]*protect.Share) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted = all
	l.follow()
}

// Run leases until ctx ends, then gives all shares back.
func (l *leases) Run(ctx context.Context) error {
	l.mu.Lock()
	l.under = ctx
	l.follow()
	l.mu.Unlock()
	<-ctx.Done()
	l.mu.Lock()
	l.under, l.wanted = nil, nil
	l.follow()
	l.mu.Unlock()
	l.leaves.Wait()
	return nil
}

// follow starts and stops what differs. The caller holds the mutex.
func (l *leases) follow() {
	for scope, r := range l.running {
		next := l.wanted[scope]
		if next == r.share {
			continue
		}
		delete(l.running, scope)
		r.stop()
		l.leaves.Go(func() {
			<-r.ended
			if next != nil {
				return // its share in the store is the next one's now
			}
			ctx, cancel := context.WithTimeout(context.Background(), leaving)
			defer cancel()
			_ = r.share.Leave(ctx) // it is over by itself soon
		})
	}
	for scope, share := range l.wanted {
		if l.under == nil || l.running[scope] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(l.under)
		r := &leasing{share: share, stop: cancel, ended: make(chan struct{})}
		if l.running == nil {
			l.running = map[string]*leasing{}
		}
		l.running[scope] = r
		go func() {
			defer close(r.ended)
			share.Run(ctx)
		}()
	}
}

// status is every share now, by name.
func (l *leases) status() (all []protect.ShareStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, share := range l.wanted {
		all = append(all, share.Status())
	}
	slices.SortFunc(all, func(a, b protect.ShareStatus) int { return cmp.Compare(a.Rate, b.Rate) })
	return all
}

// sharing is what rates are told that all nodes have together.
func (n *Node) sharing(c *config.Config) protect.Sharing {
	s := protect.Sharing{Nodes: len(c.Nodes), Append: n.append}
	if n.stateful != nil {
		s.Lessor = func(rate string, perSecond float64) protect.Lessor {
			return shares.New(n.stateful.store, rate, n.self.Name, resilience.LedgerOptions{Total: perSecond, Nodes: len(c.Nodes)})
		}
	}
	return s
}

func (n *Node) rateStatus() (out []api.RateStatus) {
	for _, s := range n.leases.status() {
		out = append(out, api.RateStatus{Rate: s.Rate, Total: s.Total, Share: s.PerSecond, Wanted: s.Want, Footing: s.Footing, Error: s.Error})
	}
	return out
}

func (n *Node) rateSamples() (out []telemetry.RateSample) {
	for _, s := range n.leases.status() {
		out = append(out, telemetry.RateSample{Name: s.Rate, Share: s.PerSecond, Total: s.Total, Leased: s.Footing == resilience.FootingLeased.String()})
	}
	return out
}

package node

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/cluster/shares"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/protect"
	"github.com/backstay/backstay/internal/serve/snapshot"
	"github.com/backstay/backstay/resilience"
)

// sharers are the parts of nodes that share rates, on one store.
type sharers struct {
	t      *testing.T
	memory *cluster.Memory
	nodes  map[string]*sharerNode
}

type sharerNode struct {
	leases  leases
	picture *snapshot.Snapshot
	stop    func()
	mu      sync.Mutex
	told    []string
}

func (s *sharers) start(name string) *sharerNode {
	ctx, cancel := context.WithCancel(s.t.Context())
	n := &sharerNode{}
	var run sync.WaitGroup
	run.Go(func() { _ = n.leases.Run(ctx) })
	n.stop = func() { cancel(); run.Wait() }
	s.nodes[name] = n
	return n
}

// load puts a configuration in force on a node, as a reload does.
func (s *sharers) load(name, yaml string) {
	s.t.Helper()
	c, err := config.Parse("test.yaml", []byte(yaml))
	if err != nil {
		s.t.Fatal(err)
	}
	n := s.nodes[name]
	sharing := protect.Sharing{Nodes: len(c.Nodes), Append: func(r event.Record) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.told = append(n.told, r.Kind)
	}, Lessor: func(rate string, perSecond float64) protect.Lessor {
		return shares.New(s.memory.Client(name), rate, name, resilience.LedgerOptions{Total: perSecond, Nodes: len(c.Nodes)})
	}}
	next, err := snapshot.Build(c, snapshot.Deps{Previous: n.picture, Sharing: sharing, Pool: noPool})
	if err != nil {
		s.t.Fatal(err)
	}
	n.picture = next
	n.leases.Set(next.Shares())
}

func (s *sharers) share(name, rate string) protect.ShareStatus {
	s.t.Helper()
	for _, st := range s.nodes[name].leases.status() {
		if st.Rate == rate {
			return st
		}
	}
	s.t.Fatalf("%s has no share of %s", name, rate)
	return protect.ShareStatus{}
}

func (s *sharers) book(rate string) string {
	kv, err := s.memory.Client("reader").Get(s.t.Context(), "rates/"+rate)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(kv.Value)
}

const sharedRates = `
nodes: [{name: a, address: 10.0.0.1}, {name: b, address: 10.0.0.2}]
services:
  - {name: web, members: ["10.0.0.9:80"], rate: {requests: 1000/s, shared: true}}
listeners:
  - {listen: "127.0.0.1:0", routes: [{service: web}], rate: {requests: 100/s, shared: true}}
`

// TestSharedRatesLive: shares begin with the configuration, outlive a reload that leaves them as they are, follow one that does not, are
// given back when they are configured no more or the node leaves, and go on while the store is away.
func TestSharedRatesLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sharers{t: t, memory: cluster.NewMemory(), nodes: map[string]*sharerNode{}}
		for _, name := range []string{"a", "b"} {
			defer s.start(name).stop()
			s.load(name, sharedRates)
		}
		time.Sleep(30 * time.Second)
		web := s.share("a", "service web")
		if web.Footing != "leased" || web.PerSecond < 450 || web.PerSecond > 550 || web.Total != 1000 || web.Error != "" {
			t.Errorf("half a minute after the start: %+v", web)
		}
		kept := s.nodes["a"].picture.Shares()
		s.load("a", sharedRates)
		if !maps.Equal(kept, s.nodes["a"].picture.Shares()) {
			t.Error("a reload that changed nothing made other shares")
		}
		changed := strings.ReplaceAll(sharedRates, "1000/s", "2000/s")
		s.load("a", changed)
		s.load("b", changed)
		time.Sleep(15 * time.Second)
		if web := s.share("a", "service web"); web.Footing != "leased" || web.PerSecond < 900 || web.PerSecond > 1100 {
			t.Errorf("of twice as much: %+v", web)
		}
		if l := s.share("a", "listener 127.0.0.1:0"); l.Footing != "leased" || l.Total != 100 {
			t.Errorf("what did not change: %+v", l)
		}

		s.memory.Cut("a")
		time.Sleep(40 * time.Second)
		if web := s.share("a", "service web"); web.Footing != "equal" || web.PerSecond != 1000 || web.Error == "" {
			t.Errorf("without the store: %+v", web)
		}
		s.memory.Heal("a")
		time.Sleep(30 * time.Second)
		if n := s.nodes["a"]; s.share("a", "service web").Footing != "leased" || !slices.Contains(n.told, event.RateAlone) || n.told[len(n.told)-1] != event.RateLeased {
			t.Errorf("the store is back: %+v, told %v", s.share("a", "service web"), n.told)
		}

		s.load("b", strings.ReplaceAll(changed, ", shared: true}}\nlisteners", "}}\nlisteners"))
		time.Sleep(time.Second)
		if got := s.book("service web"); !strings.Contains(got, `"a"`) || strings.Contains(got, `"b"`) {
			t.Errorf("b shares no more, and the store has %s", got)
		}
		s.nodes["a"].stop()
		if got := s.book("service web"); strings.Contains(got, `"a"`) {
			t.Errorf("a has left, and the store has %s", got)
		}
	})
}

func noPool(name string) *pool.Service { return pool.NewService(name, pool.Options{}) }

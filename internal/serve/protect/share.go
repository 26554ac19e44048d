package protect

import (
	"context"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/resilience"
)

// Lessor leases parts of a rate, and takes a node's part back at once when that leaves.
type Lessor interface {
	resilience.Shares
	Leave(ctx context.Context) error
}

// Sharing is what a node has to do with the rates that all nodes have together.
type Sharing struct {
	Nodes  int                                         // how many there are
	Lessor func(rate string, perSecond float64) Lessor // nil: this node has no store, and an equal part for ever
	Append func(event.Record)                          // takes what is to be told; nil for nobody
}

// Share is this node's part of a rate that all nodes have together.
type Share struct {
	name   string
	total  float64
	nodes  int
	lessor Lessor
	shared *resilience.Shared
}

// ShareStatus is a share at one moment, for people.
type ShareStatus struct {
	Rate      string  // what it is of: "service web"
	Total     float64 // of all nodes, a second
	PerSecond float64 // of this node
	Want      float64 // what this node asks for
	Footing   string  // equal, leased or last
	Error     string  // why the last lease was not had; empty where it was
}

// NewSharedRate makes a rate of a validated configuration that all nodes have together; Run of its Share leases.
func NewSharedRate(name string, c config.Rate, s Sharing) (*Rate, error) {
	perSecond, err := config.ParseFrequency(c.Requests)
	if err != nil {
		return nil, err
	}
	share := &Share{name: name, total: perSecond, nodes: s.Nodes}
	o := resilience.SharedOptions{RateOptions: resilience.RateOptions{PerSecond: perSecond, Burst: c.Burst}, Nodes: s.Nodes}
	if s.Lessor != nil {
		share.lessor = s.Lessor(name, perSecond)
		o.Shares = share.lessor
	}
	if s.Append != nil {
		o.OnChange = func(now resilience.SharedSnapshot) { s.Append(share.tell(now)) }
	}
	share.shared = resilience.NewShared(o)
	return &Rate{config: c, shared: share}, nil
}

// tell is the record of another footing.
func (s *Share) tell(now resilience.SharedSnapshot) event.Record {
	r := event.Record{Kind: event.RateLeased, Message: "The share of the rate of " + s.name + " is leased by demand."}
	if now.Footing != resilience.FootingLeased {
		r.Kind = event.RateAlone
		r.Message = "The share of the rate of " + s.name + " cannot be leased: this node has no more than an equal part of it."
	}
	if now.Err != nil {
		r.Evidence = now.Err.Error()
	}
	return r
}

func (s *Share) take() (wait time.Duration, ok bool) {
	if s.shared.TryTake(1) {
		return 0, true
	}
	return s.shared.RetryAfter(), false
}

// Fits says that the share is what a configuration with so many nodes wants.
func (s *Share) Fits(nodes int) bool { return s.nodes == nodes }

// Run leases until ctx ends.
func (s *Share) Run(ctx context.Context) { _ = s.shared.Run(ctx) }

// Leave gives back what Run has leased; it must have ended.
func (s *Share) Leave(ctx context.Context) error {
	if s.lessor == nil || s.shared.Snapshot().Footing == resilience.FootingEqual {
		return nil
	}
	return s.lessor.Leave(ctx)
}

// Status is the share now.
func (s *Share) Status() ShareStatus {
	now := s.shared.Snapshot()
	st := ShareStatus{Rate: s.name, Total: s.total, PerSecond: now.PerSecond, Want: now.Want, Footing: now.Footing.String()}
	switch {
	case s.lessor == nil:
		st.Error = "this node belongs to no cluster: backstay init or backstay cluster join, then start it again"
	case now.Err != nil:
		st.Error = now.Err.Error()
	}
	return st
}

package control

import (
	"sync"
	"time"
)

// A Route says where clients of a service are to be sent, as far as this node knows.
type Route struct {
	Service string `json:"service"`
	Primary string `json:"primary,omitempty"` // node; empty: there is none to send anyone to
	Address string `json:"address,omitempty"` // of its instance
	Epoch   uint64 `json:"epoch"`
	Hold    bool   `json:"hold,omitempty"` // clients are to wait
	// Plan is what they wait for, while Hold is because of one: see Control.Quiet.
	Plan string `json:"plan,omitempty"`
	// Until is when the route loses its validity unless it is renewed before.
	Until time.Time `json:"until,omitzero"`
	// Authority is until when the instance on this node may act as a primary, that of a promotion which is not granted yet too:
	// a guard is to end it then.
	Authority time.Time `json:"authority,omitzero"`
	// Harmless says that the instance on this node takes no writes: it was seen so after the last step that was done on it,
	// and nothing is under way that could change it. Only then, or with more authority, a guard's alarm may be put off.
	Harmless bool `json:"harmless,omitempty"`
}

// Valid says whether clients may be sent to Primary at a moment. Sessions of a route that is not valid any more, or of an
// older epoch, are to be cut.
func (r Route) Valid(now time.Time) bool { return r.Primary != "" && !r.Hold && now.Before(r.Until) }

// Ending says whether clients of a primary that is about to be one no more may end what they have begun.
func (r Route) Ending(now time.Time) bool { return r.Hold && r.Primary != "" && now.Before(r.Until) }

// Routes is the data plane's view of who is primary. All methods may be called from any goroutine.
type Routes struct {
	mu      sync.Mutex
	routes  map[string]Route
	changed chan struct{}
}

func newRoutes() *Routes { return &Routes{routes: map[string]Route{}, changed: make(chan struct{})} }

// Route returns a service's route; of an unknown service one without a primary.
func (r *Routes) Route(service string) Route {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.routes[service]
}

// Changed returns a channel that is closed when a route changes in more than its time of validity.
func (r *Routes) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *Routes) set(next Route) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.routes[next.Service]
	r.routes[next.Service] = next
	now := time.Now()
	if old.Primary != next.Primary || old.Epoch != next.Epoch || old.Hold != next.Hold || old.Address != next.Address || old.Plan != next.Plan ||
		old.Valid(now) != next.Valid(now) || old.Harmless != next.Harmless || now.Before(old.Authority) != now.Before(next.Authority) {
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

// drop forgets a service that is not looked after any more.
func (r *Routes) drop(service string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.routes, service)
	close(r.changed)
	r.changed = make(chan struct{})
}

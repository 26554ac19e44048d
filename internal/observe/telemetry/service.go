package telemetry

import "sync/atomic"

// Reason says why a request was tried again.
type Reason uint8

// Reasons of a retry, in the words of the label reason.
const (
	RetryConnect Reason = iota // the connection could not be made
	RetryReset                 // it broke before any byte of the answer
	RetryTimeout               // the first byte did not come in time
	RetryStatus                // the member answered with a status that is retried
	reasons
)

var reasonNames = [reasons]string{"connect", "reset", "timeout", "status"}

// String is the value of the label reason.
func (r Reason) String() string { return nameOf(reasonNames[:], int(r)) }

// Incident is something that happened to requests of a service besides being answered.
type Incident uint8

// Incidents; each is a counter of its own.
const (
	RetryDenied    Incident = iota // wanted a retry, the budget had none left
	Held                           // waited because no member could serve
	HoldTimeout                    // waited for nothing
	HoldFull                       // no room to wait
	Queued                         // waited for a place under the limit
	Limited                        // refused: the queue was full or the wait too long
	BreakerRefused                 // refused by the service's breaker
	NoMember                       // failed because no member could serve
	Fallback                       // answered by the fallback
	Mirrored                       // a copy was sent to a second service
	MirrorDropped                  // a copy was not sent because too many were under way
	Panicked                       // sent although checks say that its member is down (panic threshold)
	Hedged                         // a further member was asked, as those before took long
	HedgeWon                       // and answered first
	TooLate                        // refused: could not have been answered in the time its client gave it
	RateLimited                    // refused: too many in a time
	FallbackFailed                 // the fallback did not answer either
	Spared                         // not sent, as a degradation mode spares the service
	CacheHit                       // answered out of the cache, without asking
	CacheMiss                      // asked, as nothing stored would do
	CacheValidated                 // asked, and what was stored still held
	CacheCollapsed                 // waited for the answer to another that asked for the same
	SessionMoved                   // went on with another server
	LoginFailed                    // was refused for what it said of itself
	incidents
)

// Service counts what happens to the requests of one service as a whole.
type Service struct {
	metrics   *Metrics
	name      string
	retries   [reasons]atomic.Uint64
	incidents [incidents]atomic.Uint64
	shed      [len(priorityNames)]atomic.Uint64
	sample    atomic.Pointer[func() ServiceSample]
}

// ServiceSample is the state of a service at the moment of a scrape.
type ServiceSample struct {
	InFlight int64  // requests or sessions at work
	Queued   int64  // waiting for a place under the limit
	Held     int64  // waiting for a member
	Members  int    // members there are
	Ready    int    // members that may get traffic
	Panic    bool   // checks are not believed at the moment
	Breaker  string // state of the service's breaker: closed, open, half-open; empty without one

	Limit          int     // requests that may be at work at once; 0 is no bound
	AdmissionLevel float64 // the share of requests that are let in, by priority; negative where none are shed
}

// Service gives the handle of the service with this name.
func (m *Metrics) Service(name string) *Service {
	if m == nil {
		return nil
	}
	return m.services.get(name, func() *Service { return &Service{metrics: m, name: name} })
}

// Retry counts a request that is sent once more.
func (s *Service) Retry(why Reason) {
	if s != nil && why < reasons {
		s.retries[why].Add(1)
	}
}

// Count counts an incident.
func (s *Service) Count(what Incident) {
	if s != nil && what < incidents {
		s.incidents[what].Add(1)
	}
}

// priorityNames are the classes of priority, from the lowest.
var priorityNames = [...]string{"sheddable", "normal", "critical", "critical+"}

// Shed counts a request that was refused for its priority; class is 0 for the lowest, to 3.
func (s *Service) Shed(class int) {
	if s != nil && class >= 0 && class < len(s.shed) {
		s.shed[class].Add(1)
	}
}

// Sample sets the function that reads the service's state at each scrape; it must be quick and safe to call at any time.
func (s *Service) Sample(read func() ServiceSample) {
	if s != nil {
		s.sample.Store(&read)
	}
}

// Remove takes the service's series away.
func (s *Service) Remove() {
	if s != nil {
		s.metrics.services.remove(s.name, func(h *Service) bool { return h == s })
	}
}

package pool

import (
	"context"
	"errors"
	"log/slog"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/observe/health"
	"github.com/backstay/backstay/internal/observe/resolve"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/resilience"
)

// Errors of Pick.
var (
	// ErrNoMember says that no member can serve now: all are down, drained or behind an open breaker. Hold waits for one.
	ErrNoMember = errors.New("no member of the service can serve at the moment")
	// ErrBusy says that members could serve, but each has as many requests at work as it may.
	ErrBusy = errors.New("every member of the service has as many requests at work as it may")
)

// Options configures a Service. The zero value works.
type Options struct {
	Zone    string             // where this node stands; members of the same zone are preferred
	Log     *slog.Logger       // for debugging; discarded where nil
	Append  func(event.Record) // takes every change of a member's or the service's state
	Metrics *telemetry.Metrics // counts; nothing is counted where nil
	Rand    func() uint64      // randomness; math/rand/v2 where nil. Must be safe for concurrent use
}

// Service is the live state of one service. It outlives configurations.
type Service struct{}

// NewService makes a service without members.
func NewService(name string, o Options) *Service { panic("not yet") }

// Set puts a configuration and its endpoints in force. Members with the same name and address keep all their state; limits,
// breakers and budget are changed in place. Members that are gone get no new requests; their idle connections are closed at
// once and their sessions are cut after the drain timeout.
func (s *Service) Set(cfg config.Service, eps []resolve.Endpoint) { panic("not yet") }

// Close ends the service: all members are removed at once and no timer is left.
func (s *Service) Close() { panic("not yet") }

// Query says what is known about a request that wants a member.
type Query struct {
	Hash    uint64    // what the hash policy goes by; any good 64-bit hash
	HasHash bool      // false: there is nothing to hash, any member will do
	Sticky  string    // value of the sticky cookie; empty without one
	Tried   []*Member // members that this request was sent to already; they come last
}

// Pick chooses a member, counts the request in flight there and takes its breaker's permit: Done must follow exactly once.
// Errors: ErrNoMember, ErrBusy. It allocates nothing and takes no lock.
func (s *Service) Pick(q *Query) (*Member, error) { panic("not yet") }

// Enter takes a place under the service's limit, waiting in its queue where it must, and counts the request for the retry
// budget; where nil, Leave must follow. Errors: those of resilience.Limit.Acquire.
func (s *Service) Enter(ctx context.Context) error { panic("not yet") }

// Leave gives back what Enter took.
func (s *Service) Leave() { panic("not yet") }

// Admit asks the service's own breaker; the permit's Done must follow exactly once. Without a breaker it always admits.
// Error: resilience.ErrOpen.
func (s *Service) Admit() (resilience.Permit, error) { panic("not yet") }

// Hold waits until Pick could succeed; bytes is what the caller keeps in memory meanwhile. Errors: resilience.ErrHoldFull,
// resilience.ErrHoldTimeout, or the context's cause.
func (s *Service) Hold(ctx context.Context, bytes int64) error { panic("not yet") }

// Budget bounds the service's retries.
func (s *Service) Budget() *resilience.Budget { panic("not yet") }

// Breaker is the service's own; nil when it has none.
func (s *Service) Breaker() *resilience.Breaker { panic("not yet") }

// SetHealth says what a member's checks add up to.
func (s *Service) SetHealth(member string, st health.Status) { panic("not yet") }

// GoodProbe says that a probe of the member went well, which can end an ejection.
func (s *Service) GoodProbe(member string) { panic("not yet") }

// Drain lets go of a member (true) or takes it back (false). A name that stands for several addresses means all of them. Error:
// no such member.
func (s *Service) Drain(member string, drain bool) error { panic("not yet") }

// Status is the service now, for people and for `backstay status`.
func (s *Service) Status() ServiceStatus { panic("not yet") }

// Name is the service's.
func (s *Service) Name() string { panic("not yet") }

// Package reach brings a session to a member of a service: it picks one, waits while there is none, and tries again where
// that is safe. What is said to the member before the session's own bytes is the caller's. Sessions accepts those of listeners, and ends them.
//
// The package must not read from or write to clients.
package reach

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/snapshot"
	"github.com/backstay/backstay/internal/serve/transport"
	"github.com/backstay/backstay/resilience"
)

// What a try may say of its failure, by wrapping these.
var (
	// ErrNotYet is a member that answers and does not take sessions now: it is waited for like one that does not answer.
	ErrNotYet = errors.New("the member takes no sessions at the moment")
	// ErrFinal is an answer that every other member would give as well. It says nothing against the member.
	ErrFinal = errors.New("the session was refused")
)

// Search is one session's way to a member. It may be used again, for another member.
type Search struct {
	Service *snapshot.Service
	Client  netip.AddrPort
	Kept    int64        // bytes of the client that are kept in memory meanwhile
	Log     *slog.Logger // for debugging

	Waited time.Duration // in the queue, held, or between tries
	Took   time.Duration // of the try that came through
	Tries  int

	holdBy time.Time // until when it may wait for a member that can be reached; zero before it has to
}

// Enter takes a place under the service's limit; where nil, Service.Pool.Leave must follow.
func (s *Search) Enter(ctx context.Context) error {
	t := time.Now()
	defer func() { s.Waited += time.Since(t) }()
	return s.Service.Pool.Enter(ctx)
}

// Member finds a member with which try succeeds. try gets a context that ends when the member is gone, and bounds its time by
// itself; after an error nothing of the client's may have reached the member. The member's Done is due where err is nil.
func (s *Search) Member(ctx context.Context, try func(context.Context, *pool.Member) error) (*pool.Member, error) {
	permit, err := s.Service.Pool.Admit()
	if err != nil {
		return nil, err
	}
	began, waited := time.Now(), s.Waited
	s.holdBy = time.Time{}
	m, err := s.tryAll(ctx, try)
	switch {
	case err == nil:
		permit.Done(resilience.Success, s.Took)
	case ctx.Err() != nil || errors.Is(err, ErrFinal):
		permit.Done(resilience.Ignored, 0)
	default:
		permit.Done(resilience.Failure, time.Since(began)-(s.Waited-waited))
	}
	return m, err
}

func (s *Search) tryAll(ctx context.Context, try func(context.Context, *pool.Member) error) (*pool.Member, error) {
	query := pool.Query{}
	if b := &s.Service.Config.Balance; b.Policy == "hash" && b.Hash != nil && b.Hash.Client && s.Client.IsValid() {
		address := s.Client.Addr().As16()
		query.Hash, query.HasHash = pool.Hash(address[:]), true
	}
	for tries := 1; ; tries++ {
		m, err := s.pick(ctx, &query)
		if err != nil {
			return nil, err
		}
		s.Tries++
		t := time.Now()
		err = s.tryOne(ctx, m, try)
		took := time.Since(t)
		if err == nil {
			s.Took = took
			return m, nil
		}
		m.Done(failure(ctx, err, took))
		if s.Log != nil {
			s.Log.Debug("member not reached", "service", s.Service.Name, "member", m.Name(), "try", s.Tries, "error", err)
		}
		if !s.another(ctx, tries, err) {
			return nil, err
		}
		query.Tried = append(query.Tried, m)
	}
}

// tryOne ends a try when the member is gone: nobody needs to wait for one that lost its place.
func (s *Search) tryOne(ctx context.Context, m *pool.Member, try func(context.Context, *pool.Member) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-m.Gone():
			cancel()
		case <-ctx.Done():
		}
	}()
	return try(ctx, m)
}

// another waits before the next try and says whether there is one. The retry budget is not asked: it bounds the load that
// retries add, and a session that did not get through added none.
func (s *Search) another(ctx context.Context, tries int, err error) bool {
	if ctx.Err() != nil || errors.Is(err, ErrFinal) {
		return false
	}
	if s.Service.Retry.Connect && tries < s.Service.Retry.Attempts {
		s.Service.Metrics.Retry(telemetry.RetryConnect)
		return s.rest(ctx, tries)
	}
	if errors.Is(err, ErrNotYet) {
		return s.endure(ctx, tries)
	}
	switch transport.Reason(err) {
	case "refused", "timeout", "unreachable", "canceled":
		return s.endure(ctx, tries)
	}
	return false
}

// endure lets a session that found nobody at home wherever it tried wait like one for which there is no member: for a
// backoff, less when who may be picked changes, and in all no longer than the service holds.
func (s *Search) endure(ctx context.Context, tries int) bool {
	limit := time.Duration(s.Service.Config.Hold.For)
	if limit <= 0 {
		return false
	}
	t := time.Now()
	if s.holdBy.IsZero() {
		s.holdBy = t.Add(limit)
		s.Service.Metrics.Count(telemetry.Held)
	}
	delay := min(s.Service.Retry.Backoff.Delay(tries), s.holdBy.Sub(t))
	if delay <= 0 {
		s.Service.Metrics.Count(telemetry.HoldTimeout)
		return false
	}
	err := s.Service.Pool.Pause(ctx, s.Kept, delay)
	s.Waited += time.Since(t)
	return err == nil
}

// Rest waits a little, less when who may be picked changes, before a session is brought to another member after all.
func (s *Search) Rest(ctx context.Context) error {
	t := time.Now()
	defer func() { s.Waited += time.Since(t) }()
	return s.Service.Pool.Pause(ctx, s.Kept, s.Service.Retry.Backoff.Delay(1))
}

// rest waits before the next try.
func (s *Search) rest(ctx context.Context, tries int) bool {
	delay := s.Service.Retry.Backoff.Delay(tries)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		s.Waited += delay
		return true
	}
}

// pick chooses a member, waiting for one while none can serve.
func (s *Search) pick(ctx context.Context, q *pool.Query) (*pool.Member, error) {
	m, err := s.Service.Pool.Pick(q)
	if err == nil {
		return m, nil
	}
	began, limit := time.Now(), time.Duration(s.Service.Config.Hold.For)
	defer func() { s.Waited += time.Since(began) }()
	for limit > 0 && time.Since(began) < limit {
		if held := s.Service.Pool.Hold(ctx, s.Kept); held != nil {
			return nil, fmt.Errorf("%w (%w)", err, held)
		}
		if m, err = s.Service.Pool.Pick(q); err == nil {
			return m, nil
		}
	}
	s.Service.Metrics.Count(telemetry.NoMember)
	return nil, err
}

// Dial opens a connection to the member within the service's connect timeout. idle is for how long a session may be silent; 0 is
// for ever.
func (s *Search) Dial(ctx context.Context, m *pool.Member, idle time.Duration) (net.Conn, error) {
	dialer := transport.Dialer{UserTimeout: -1}
	if idle > 0 {
		dialer.UserTimeout = max(idle, MinUserTimeout)
	}
	ctx, cancel := s.Bounded(ctx)
	defer cancel()
	return dialer.Dial(ctx, m.Address())
}

// Bounded is ctx with the service's connect timeout.
func (s *Search) Bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if limit := s.Service.Timeout.Connect; limit > 0 {
		return context.WithTimeout(ctx, limit)
	}
	return ctx, func() {}
}

// MinUserTimeout is the least time after which unacknowledged bytes mean that a peer is dead. It is never shorter than the
// session's idle timeout: a reader that pauses shows the same.
const MinUserTimeout = time.Minute

// Idle is after how much silence on both sides a session ends; 0 is never.
func Idle(l *snapshot.TCPListener, s *snapshot.Service) time.Duration {
	client, member := time.Duration(l.Config.Timeout.Idle), s.Timeout.Idle
	if client <= 0 || member > 0 && member < client {
		return member
	}
	return client
}

// failure is what the pool learns from a try that did not come through.
func failure(ctx context.Context, err error, took time.Duration) pool.Outcome {
	o := pool.Outcome{Result: pool.Failed, Took: took, Reason: telemetry.ClassConnect}
	switch transport.Reason(err) {
	case "timeout":
		o.Reason = telemetry.ClassTimeout
	case "tls":
		o.Reason = telemetry.ClassProtocol
	case "descriptors", "ports": // this node's own trouble
		o.Result, o.Reason = pool.Ignored, telemetry.ClassCanceled
	}
	if ctx.Err() != nil || errors.Is(err, ErrFinal) {
		o.Result, o.Reason = pool.Ignored, telemetry.ClassCanceled
	}
	return o
}

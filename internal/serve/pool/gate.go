package pool

import (
	"context"
	"errors"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/resilience"
)

// Enter takes a place under the service's fixed limit, as TCP sessions do, waiting in its queue where it must, and counts the request for the retry
// budget; where nil, Leave must follow. Errors: those of resilience.Limit.Acquire.
func (s *Service) Enter(ctx context.Context) error {
	if !s.limit.TryAcquire() {
		err := s.limit.Acquire(ctx)
		if !errors.Is(err, resilience.ErrQueueFull) {
			s.metrics.Count(telemetry.Queued) // it has waited, in vain or not
		}
		if err != nil {
			if errors.Is(err, resilience.ErrLimited) {
				s.metrics.Count(telemetry.Limited)
			}
			return err
		}
	}
	s.budget.Begin()
	return nil
}

// Leave gives back what Enter took.
func (s *Service) Leave() {
	s.budget.End()
	s.limit.Release()
	s.protect.line.left()
}

// Admit asks the service's own breaker; the permit's Done must follow exactly once. Without a breaker it always admits.
// Error: resilience.ErrOpen.
func (s *Service) Admit() (resilience.Permit, error) {
	b := s.breaker.Load()
	if b == nil {
		return resilience.Permit{}, nil
	}
	p, err := b.Allow()
	if err != nil {
		s.metrics.Count(telemetry.BreakerRefused)
	}
	return p, err
}

// Budget bounds the service's retries.
func (s *Service) Budget() *resilience.Budget { return s.budget }

// Breaker is the service's own; nil when it has none.
func (s *Service) Breaker() *resilience.Breaker { return s.breaker.Load() }

// Hold waits until Pick could succeed; bytes is what the caller keeps in memory meanwhile. Errors: resilience.ErrHoldFull,
// resilience.ErrHoldTimeout, or the context's cause.
func (s *Service) Hold(ctx context.Context, bytes int64) error {
	if s.pickable() {
		return nil
	}
	s.metrics.Count(telemetry.Held)
	s.held.Add(1)
	defer s.held.Add(-1)
	err := s.hold.Wait(ctx, bytes, s.canPick)
	switch {
	case errors.Is(err, resilience.ErrHoldTimeout):
		s.metrics.Count(telemetry.HoldTimeout)
	case errors.Is(err, resilience.ErrHoldFull):
		s.metrics.Count(telemetry.HoldFull)
	}
	return err
}

// Pause holds a request that found nobody at home wherever it was sent, although Pick succeeds: checks may not be believed, or
// have not noticed yet. It waits for d, less when who may be picked changes. Errors are those of Hold. A request may pause again
// and again: whoever lets it counts it as held, once.
func (s *Service) Pause(ctx context.Context, bytes int64, d time.Duration) error {
	seen := s.view.Load()
	until, cancel := context.WithTimeoutCause(ctx, d, errPaused)
	defer cancel()
	s.held.Add(1)
	defer s.held.Add(-1)
	err := s.hold.Wait(until, bytes, func() bool { return s.view.Load() != seen })
	if errors.Is(err, errPaused) {
		return nil
	}
	if errors.Is(err, resilience.ErrHoldFull) {
		s.metrics.Count(telemetry.HoldFull)
	}
	return err
}

// errPaused ends a Pause that nothing else ended.
var errPaused = errors.New("the pause is over")

// room lets those who are held look again when a try has ended, where that can have made room.
func (s *Service) room() {
	if v := s.view.Load(); v.limit > 0 || len(v.trials) > 0 {
		s.hold.Wake()
	}
}

// pickable says whether Pick could succeed now.
func (s *Service) pickable() bool {
	v := s.view.Load()
	for _, c := range v.trials {
		if v.hasRoom(c) && c.ready() {
			return true
		}
	}
	for i := range v.groups {
		for j := range v.groups[i].slots {
			if v.hasRoom(v.groups[i].slots[j].core) {
				return true
			}
		}
	}
	return false
}

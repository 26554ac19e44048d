package pool

import (
	"context"
	"sync/atomic"
)

// freezing lets new work wait while what is at work ends: the quiet before a primary moves.
type freezing struct {
	on      atomic.Bool
	working atomic.Int64  // units of work begun and not ended
	ended   chan struct{} // told when that falls to 0 while new work waits; has room for one
}

// Freeze lets new sessions, and new work of those that ask for leave (BeginWork), wait; or lets them go on. Sessions are not cut by it.
func (s *Service) Freeze(on bool) {
	if s.freezing.on.Swap(on) == on {
		return
	}
	s.lock()
	defer s.unlock()
	if !s.ended {
		s.rebuild()
	}
}

// Frozen says whether new work waits.
func (s *Service) Frozen() bool { return s.freezing.on.Load() }

// Working is how many units of work are under way. Frozen, a service at which it is 0 is quiet until it is frozen no more.
func (s *Service) Working() int64 { return s.freezing.working.Load() }

// BeginWork says that a session begins something, such as a transaction; EndWork must follow. It says false where new work waits: Hold
// then says when to ask again.
func (s *Service) BeginWork() bool {
	s.freezing.working.Add(1)
	if s.freezing.on.Load() {
		s.EndWork()
		return false
	}
	return true
}

// EndWork says that what BeginWork allowed is done.
func (s *Service) EndWork() {
	if s.freezing.working.Add(-1) == 0 && s.freezing.on.Load() {
		select {
		case s.freezing.ended <- struct{}{}:
		default:
		}
	}
}

// Quiet waits until a service that is frozen has no work under way. It is for one caller at a time.
func (s *Service) Quiet(ctx context.Context) error {
	for s.Working() > 0 {
		select {
		case <-s.freezing.ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

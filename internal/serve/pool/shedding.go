package pool

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/resilience"
)

// shedding is what has been told about requests that are refused for being the least important.
type shedding struct {
	on      atomic.Bool
	refused atomic.Uint64

	since time.Time // under the service's mutex, as what follows
	last  uint64    // refused so far, when looked at last
	began uint64    // and when it began
	quiet int       // looks in a row at which there was hardly any
	timer *time.Timer
}

const (
	shedTold  = 0.05        // the level that is worth telling
	shedLook  = time.Second // how often it is looked at whether shedding is over
	shedQuiet = 3           // how many looks must find it so
	shedOver  = 0.01        // the level below which it is
)

// shedOne counts a request that is refused, and tells when that begins.
func (s *Service) shedOne(shed *resilience.Shed, p resilience.Priority) {
	s.metrics.Shed(classOf(p))
	d := &s.protect.shedding
	d.refused.Add(1)
	if d.on.Load() {
		return
	}
	now := shed.Snapshot()
	if now.Level < shedTold || !d.on.CompareAndSwap(false, true) {
		return
	}
	s.lock()
	defer s.unlock()
	if s.ended {
		return
	}
	d.since, d.last, d.began, d.quiet = time.Now(), d.refused.Load(), d.refused.Load(), 0
	s.record(event.Record{
		Kind:     event.ServiceShedding,
		Message:  fmt.Sprintf("Service %s has more to do than it can: requests below priority %s are refused.", s.name, border(now)),
		Evidence: fmt.Sprintf("requests wait for %s, target %s; admission level %.2f", brief(now.Delay), brief(s.shedTarget()), 1-now.Level),
	})
	d.timer = time.AfterFunc(shedLook, s.lookAtShedding)
}

func (s *Service) shedTarget() time.Duration {
	if t := s.protect.found.shed.Target; t > 0 {
		return time.Duration(t)
	}
	return 5 * time.Millisecond
}

// border is the class at which refusing ends.
func border(now resilience.ShedSnapshot) string {
	if now.Share > 0.5 && now.Border < resilience.CriticalPlus {
		return (now.Border + 128).String()
	}
	return now.Border.String()
}

// lookAtShedding tells when shedding has ended.
func (s *Service) lookAtShedding() {
	s.lock()
	defer s.unlock()
	d := &s.protect.shedding
	shed := s.protect.shed.Load()
	if s.ended {
		return
	}
	var now resilience.ShedSnapshot
	if shed != nil {
		now = shed.Snapshot()
	}
	d.quiet++
	refused := d.refused.Load()
	if refused != d.last && now.Level >= shedOver {
		d.quiet = 0
	}
	d.last = refused
	if d.quiet < shedQuiet && shed != nil {
		d.timer.Reset(shedLook)
		return
	}
	took := time.Since(d.since) - shedQuiet*shedLook
	s.record(event.Record{
		Kind: event.ServiceShed, Message: fmt.Sprintf("Service %s keeps up again: no requests are refused.", s.name),
		Evidence: fmt.Sprintf("%d requests were refused in %s", refused-d.began, brief(max(took, 0))),
	})
	d.on.Store(false)
}

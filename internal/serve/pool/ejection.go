package pool

import (
	"fmt"
	"time"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/observe/telemetry"
)

// cause is why a member was ejected.
type cause uint8

const (
	failuresInARow cause = iota
	failureRate
	slowAnswers
)

// ejection is the present one and what is remembered of those before.
type ejection struct {
	until      int64 // 0: not ejected
	since      int64
	cause      cause
	evidence   string
	goodProbes int
	distrust   bool // probes do not end it
	byProbe    bool // the last one was ended by a probe
	times      int  // how often, less what good behaviour has made up for
	lasted     int64
	ended      int64
}

// eject takes a member out for a time that doubles with each ejection, with jitter. Twice the time of an ejection without another
// makes up for one of them. The caller holds the lock and has asked expendable.
func (s *Service) eject(c *core, why cause, evidence string, now int64) {
	e, by := &c.ejection, &s.view.Load().outlier
	if e.lasted > 0 {
		e.times = max(0, e.times-int((now-e.ended)/(2*e.lasted)))
	}
	e.distrust = e.byProbe && e.times > 0
	e.byProbe, e.goodProbes = false, 0
	length := by.ejection
	for i := 0; i < e.times && length < by.longest; i++ {
		length *= 2
	}
	e.times++
	length = min(length, by.longest)
	length += int64((s.fraction() - 0.5) * 0.2 * float64(length)) // so that members ejected together do not return together
	e.lasted, e.since, e.until = length, now, now+length
	e.cause, e.evidence = why, evidence
	c.metrics.Load().Ejected()
	s.record(event.Record{Kind: event.MemberEjected, Member: c.name, Evidence: evidence,
		Message: fmt.Sprintf("Member %s of service %s is ejected for %s.", c.name, s.name, brief(time.Duration(length)))})
	s.rebuild()
}

// fraction is a random number in [0, 1).
func (s *Service) fraction() float64 { return float64(s.options.Rand()>>11) / (1 << 53) }

// restore ends an ejection; the member begins slowly, and nothing but its history is held against it.
func (s *Service) restore(c *core, now int64, why string) {
	e := &c.ejection
	e.until, e.ended = 0, now
	e.byProbe = false
	c.warm(now)
	c.renew(now)
	s.record(event.Record{Kind: event.MemberRestored, Member: c.name, Evidence: why,
		Message: fmt.Sprintf("Member %s of service %s is back from its ejection.", c.name, s.name)})
}

// liftOne ends the ejection that would end first, among the members that could serve otherwise, and says whether there was one.
func (s *Service) liftOne(set *settings, now int64) bool {
	var first *core
	for _, c := range s.members {
		if c.ejection.until == 0 || c.draining || c.weight <= 0 || !c.closed() || !c.sound(set) && !c.tierPanics {
			continue
		}
		if first == nil || c.ejection.until < first.ejection.until {
			first = c
		}
	}
	if first != nil {
		s.restore(first, now, "no other member is left")
	}
	return first != nil
}

// expendable says whether somebody else could serve without the member.
func (s *Service) expendable(c *core) bool {
	for _, o := range s.members {
		if o != c && o.fit {
			return true
		}
	}
	return false
}

// failedInARow ejects a member for n failures in a row. Where the failures are answers or timeouts, and everybody else's traffic fails
// as well, something behind all of them is wrong, and taking one out would only load the others.
func (s *Service) failedInARow(c *core, n int64, reason telemetry.Class, now int64) {
	s.lock()
	defer s.unlock()
	if !c.fit || !s.expendable(c) {
		return
	}
	if (reason == telemetry.ClassStatus || reason == telemetry.ClassTimeout) && !s.somebodyBetter(c, now) {
		return
	}
	s.eject(c, failuresInARow, fmt.Sprintf("%d failures in a row, the last: %s", n, reason), now)
}

// somebodyBetter says whether a sibling answers more than every second request, or has had none lately.
func (s *Service) somebodyBetter(c *core, now int64) bool {
	by := &s.view.Load().outlier
	for _, o := range s.members {
		if o == c || !o.fit {
			continue
		}
		if t := o.recent.sum(now, by.width); t.calls == 0 || t.rate() < 0.5 {
			return true
		}
	}
	return false
}

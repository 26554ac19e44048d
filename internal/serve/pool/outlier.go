package pool

import (
	"fmt"
	"math"
	"time"
)

const (
	// certain is how many standard errors apart two failure rates must be to count as different: by chance that happens once in
	// 700 comparisons.
	certain = 3
	// notSlow is a latency that nobody is ejected for.
	notSlow = 10 * time.Millisecond
	// learning is how many windows of a member's own history must be known before its latency is compared with it, and
	// remembering is over how many windows the history is averaged.
	learning    = 2
	remembering = 30
)

// history is what a member's latency usually is.
type history struct {
	mean   float64 // of logLatency
	length int64   // time that it was learnt over
	read   int64   // when it was last added to
}

// judge compares every member's recent traffic with its siblings', and its latency with its own history as well. It runs in the
// course of a try, at most once in a while; the worst member is ejected, and the next look sees the siblings without it.
//
// Comparing the pooled traffic of the siblings works with two members as with fifty, where a deviation from the mean over members (as
// Envoy's success rate outlier detection has it) needs at least five.
func (s *Service) judge(now int64) {
	due := s.due.Load()
	by := &s.view.Load().outlier
	if now < due || !s.due.CompareAndSwap(due, now+by.pause) {
		return
	}
	s.lock()
	defer s.unlock()
	var all tally
	for _, c := range s.members {
		if c.fit {
			all = all.plus(c.recent.sum(now, by.width))
		}
	}
	var worst *core
	var found verdict
	for _, c := range s.members {
		if !c.fit {
			continue
		}
		own := c.recent.sum(now, by.width)
		if v := c.compare(own, all.minus(own), by); v.badness > found.badness {
			worst, found = c, v
		}
		c.history.learn(own, now, by)
	}
	if worst != nil && s.expendable(worst) {
		s.eject(worst, found.cause, found.evidence, now)
	}
}

// verdict is what speaks against a member; badness 0 is nothing.
type verdict struct {
	badness  float64
	cause    cause
	evidence string
}

func (c *core) compare(own, siblings tally, by *outlierSettings) verdict {
	if own.calls < by.volume || siblings.calls < by.volume {
		return verdict{}
	}
	if rate := own.rate(); by.rate > 0 && rate >= by.rate && clearlyMore(own, siblings) {
		return verdict{1 + rate, failureRate, fmt.Sprintf("%d of %d requests failed within %s, siblings %s",
			own.failed, own.calls, brief(time.Duration(by.window)), percent(siblings.rate()))}
	}
	if by.slower == 0 || own.answers() < by.volume || siblings.answers() < by.volume || c.history.length < learning*by.window {
		return verdict{}
	}
	mine, theirs := own.meanLog(), siblings.meanLog()
	than := min(mine-theirs, mine-c.history.mean) / 256
	if than < by.slower || unlog(mine) < notSlow {
		return verdict{}
	}
	return verdict{than / (1 + than), slowAnswers, fmt.Sprintf("answers take %s, siblings %s, usually %s",
		brief(unlog(mine)), brief(unlog(theirs)), brief(unlog(c.history.mean)))}
}

// clearlyMore says whether one failure rate is at least twice another and the difference is no chance: the z-test for two
// proportions with one success and one failure added to each side (Agresti and Caffo, 2000), which keeps small counts honest.
func clearlyMore(own, siblings tally) bool {
	if siblings.rate() > own.rate()/2 {
		return false
	}
	n, m := float64(own.calls+2), float64(siblings.calls+2)
	p, q := float64(own.failed+1)/n, float64(siblings.failed+1)/m
	return p-q >= certain*math.Sqrt(p*(1-p)/n+q*(1-q)/m)
}

// learn takes the recent traffic into the history: a plain mean at first, later a slow average.
func (h *history) learn(own tally, now int64, by *outlierSettings) {
	passed := min(now-h.read, by.window)
	h.read = now
	if own.answers() < by.volume {
		return
	}
	if h.length == 0 {
		h.mean, h.length = own.meanLog(), 1
		return
	}
	h.length = min(h.length+passed, remembering*by.window)
	h.mean += (own.meanLog() - h.mean) * float64(passed) / float64(max(h.length, by.window))
}

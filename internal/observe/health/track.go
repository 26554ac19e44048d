package health

import (
	"fmt"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

// track is what is remembered of one target's looks. It has no clock: the time is handed in.
type track struct {
	state  State
	since  time.Time // when the state began
	grace  time.Time // end of the grace
	last   time.Time // end of the last look
	took   time.Duration
	good   int // looks in a row that ended so, up to now; at most one of the two is not 0
	bad    int
	first  time.Time // end of the first look of that run
	reason string    // of the last bad look
	mixed  bool      // the bad looks of the run had different reasons
	known  bool      // that it is starting was told
	need   int       // how long a run like this one must be to change the state, or had to be
}

// begin returns the track of a new target.
func begin(c config.Check, now time.Time) track {
	t := track{state: Unknown, since: now}
	if grace := time.Duration(c.Grace); grace > 0 {
		t.state, t.grace = Starting, now.Add(grace)
	}
	return t
}

// announce reports, once, that a new target is starting: nobody may take it for one that nothing is known of.
func (t *track) announce() bool {
	news := t.state == Starting && !t.known
	t.known = true
	return news
}

// observe takes one look in and reports whether the state changed.
func (t *track) observe(c config.Check, r Result, now time.Time) bool {
	t.last, t.took = now, r.Took
	if t.good+t.bad == 0 || r.OK != (t.good > 0) {
		t.good, t.bad, t.first, t.mixed = 0, 0, now, false
	}
	next := t.state
	if r.OK {
		t.good++
		t.need = 1 // the first good look makes a new member up: starting is fast
		if t.state == Down {
			t.need = max(c.Rise, 1)
		}
		if t.good >= t.need {
			next = Up
		}
	} else {
		t.mixed = t.mixed || t.bad > 0 && t.reason != r.Reason
		t.bad++
		t.reason = r.Reason
		t.need = max(c.Fall, 1)
		if t.bad >= t.need && !now.Before(t.grace) {
			next = Down
		}
	}
	if next == t.state {
		return false
	}
	t.state, t.since = next, now
	return true
}

// status puts the track into words.
func (t *track) status() Status {
	return Status{State: t.state, Since: t.since, Evidence: t.evidence(), Last: t.last, Took: t.took, Good: t.good, Bad: t.bad}
}

func (t *track) evidence() string {
	var s string
	run := t.good + t.bad
	of := max(run, t.need)
	switch since := t.clock(t.first); {
	case run == 0:
		s = "not looked at yet"
	case t.good > 0 && t.state == Down:
		s = fmt.Sprintf("%d of %s good since %s; before: %s", run, probes(of), since, t.reason)
	case t.good > 0:
		s = fmt.Sprintf("%d of %s good since %s", run, probes(of), since)
	case t.mixed:
		s = fmt.Sprintf("%d of %s bad since %s, the last: %s", run, probes(of), since, t.reason)
	default:
		s = fmt.Sprintf("%d of %s: %s since %s", run, probes(of), t.reason, since)
	}
	if t.state == Starting {
		s += "; may take until " + t.clock(t.grace)
	}
	return s
}

func probes(n int) string {
	if n == 1 {
		return "1 probe"
	}
	return fmt.Sprintf("%d probes", n)
}

// clock writes a time as people say it; with the date once that is not today's.
func (t *track) clock(at time.Time) string {
	if t.last.Sub(at) > 12*time.Hour || at.Sub(t.last) > 12*time.Hour && !t.last.IsZero() {
		return at.Format(time.DateTime)
	}
	return at.Format(time.TimeOnly)
}

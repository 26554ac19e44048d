package demo

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/base/event"
)

// longestGap is the longest time between two acknowledgements that touches the time between from and to: it counts from the
// one before from, but no further than to, where the next fault has its share. The acknowledgements are in order.
func longestGap(acks []acknowledged, from, to time.Time) time.Duration {
	longest, last := time.Duration(0), from
	for _, a := range acks {
		if a.at.After(to) {
			break
		}
		if !a.at.Before(from) {
			longest = max(longest, a.at.Sub(last))
		}
		last = a.at
	}
	return max(longest, to.Sub(last))
}

// countErrors counts what clients saw in a time.
func countErrors(unknowns []unknown, from, to time.Time) (n int) {
	for _, u := range unknowns {
		if u.problem != "" && !u.at.Before(from) && u.at.Before(to) {
			n++
		}
	}
	return n
}

// wholeAgain is when redundancy was whole for good within a time; false where it was not by the end. It is the beginning of
// that time where redundancy was never lost.
func wholeAgain(turns []turn, from, to time.Time) (time.Time, bool) {
	at, is := from, false
	for _, t := range turns {
		if !t.at.Before(to) {
			break
		}
		if is = t.whole; is {
			at = later(from, t.at)
		}
	}
	return at, is
}

// judge puts the verdict on the faults together.
func judge(scenes []*postgresScene, end time.Time, acks []acknowledged, unknowns []unknown, turns []turn) []postgresFault {
	var out []postgresFault
	for i, sc := range scenes {
		if sc.begun.IsZero() {
			continue
		}
		to := nextBegins(scenes, i, end)
		f := postgresFault{title: sc.happened(), gap: longestGap(acks, sc.begun, to), errors: countErrors(unknowns, sc.begun, to)}
		from := sc.begun
		if sc.end != nil && !sc.mended.IsZero() {
			from, f.mended = sc.mended, true
		}
		at, ok := wholeAgain(turns, from, to)
		f.whole, f.again = ok, at.Sub(from)
		out = append(out, f)
	}
	return out
}

// nextBegins is when the scene after the given one began, or the end.
func nextBegins(scenes []*postgresScene, i int, end time.Time) time.Time {
	if i+1 < len(scenes) && !scenes[i+1].begun.IsZero() {
		return scenes[i+1].begun
	}
	return end
}

// The kinds of events that tell how a fault was overcome.
const (
	kindPromoted = "instance.promoted"
	kindStarted  = "instance.started"
)

// promotions is what the event logs say of who was promoted within a time, and how often; where nobody was, which instance was
// started anew.
func promotions(records []event.Record, from, to time.Time) (text string, n int) {
	records = slices.Clone(records)
	slices.SortStableFunc(records, func(a, b event.Record) int { return a.Time.Compare(b.Time) })
	var promoted, started []string
	for _, r := range records {
		if r.Time.Before(from) || !r.Time.Before(to) {
			continue
		}
		words := fmt.Sprintf("%s (after %s)", r.Message, brief(r.Time.Sub(from)))
		switch r.Kind {
		case kindPromoted:
			promoted = append(promoted, words)
		case kindStarted:
			started = append(started, words)
		}
	}
	if len(promoted) == 0 && len(started) > 0 {
		return started[0], 0
	}
	return strings.Join(promoted, ", "), len(promoted)
}

// assign adds to each fault what was lost in its time.
func assign(faults []postgresFault, scenes []*postgresScene, lost []acknowledged) {
	for _, l := range lost {
		for i := min(len(faults), len(scenes)) - 1; i >= 0; i-- {
			if i == 0 || !l.at.Before(scenes[i].begun) {
				faults[i].lost++
				break
			}
		}
	}
}

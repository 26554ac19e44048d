package pool

import (
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/observe/health"
)

// notices is what has been told about the service as a whole.
type notices struct{ panics, down, spills bool }

// notify tells what has changed for the service as a whole. Panic is told once a member is down: when a service starts, all may be
// merely unknown.
func (s *Service) notify(v *view, tiers []tier) {
	up, of, down := 0, 0, false
	for _, c := range s.members {
		if c.draining || c.weight <= 0 {
			continue
		}
		of++
		if c.sound(v.settings) {
			up++
		}
		down = down || c.down(v.settings)
	}
	evidence := fmt.Sprintf("%d of %d members are up", up, of)
	s.turn(&s.notices.panics, v.panics && (down || s.notices.panics), evidence,
		event.ServicePanic, "Too few members of service %s are up for checks to be believed: all that are not drained are used.",
		event.ServiceCalm, "Enough members of service %s are up: checks are believed again.")
	s.turn(&s.notices.down, len(s.members) > 0 && !s.serves(v), s.why(v.settings),
		event.ServiceDown, "No member of service %s can serve.",
		event.ServiceUp, "Service %s has members that can serve again.")
	s.turn(&s.notices.spills, spills(v, tiers, s.options.Zone), evidence,
		event.ServiceSpill, "Traffic of service %s leaves its first tier or zone, which has not enough members left.",
		event.ServiceSpillEnded, "Traffic of service %s is back in its first tier and zone.")
}

// turn tells that something began or ended.
func (s *Service) turn(told *bool, now bool, evidence, began, beganText, ended, endedText string) {
	if *told == now {
		return
	}
	*told = now
	r := event.Record{Kind: began, Message: fmt.Sprintf(beganText, s.name), Evidence: evidence}
	if !now {
		r.Kind, r.Message = ended, fmt.Sprintf(endedText, s.name)
	}
	s.record(r)
}

// serves says whether anybody may be picked.
func (s *Service) serves(v *view) bool {
	for i := range v.groups {
		if len(v.groups[i].slots) > 0 {
			return true
		}
	}
	return false
}

// spills says whether members are missed in the tier or zone that would have taken the traffic with all members fit.
func spills(v *view, tiers []tier, own string) bool {
	if len(tiers) == 0 {
		return false
	}
	first := &tiers[0]
	if len(tiers) > 1 && first.total > 0 && first.health() < 1 {
		return true
	}
	fit, all := map[string]float64{}, map[string]float64{}
	for _, c := range first.members {
		z := c.zoneFor(v.settings, own)
		all[z] += float64(c.weight)
		fit[z] += 0
		if c.fit {
			fit[z] += float64(c.weight)
		}
	}
	if _, home := all[own]; !home || len(all) < 2 {
		return false
	}
	return zoneShares(own, fit)[0].share < zoneShares(own, all)[0].share-1e-9
}

// why counts what keeps members from serving: "2 down, 1 drained".
func (s *Service) why(set *settings) string {
	names := [...]string{"drained", "ejected", "down", "starting", "behind an open breaker", "without weight"}
	var counts [len(names)]int
	for _, c := range s.members {
		switch {
		case c.draining:
			counts[0]++
		case c.ejection.until != 0:
			counts[1]++
		case c.down(set):
			counts[2]++
		case !c.sound(set):
			counts[3]++
		case !c.closed():
			counts[4]++
		case c.weight <= 0:
			counts[5]++
		}
	}
	var parts []string
	for i, n := range counts {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, names[i]))
		}
	}
	return strings.Join(parts, ", ")
}

// brief writes a length of time in two or three digits: 950ms, 1.5s, 2m5s.
func brief(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

// percent writes a share for people: 60%, 0.4%.
func percent(share float64) string {
	if share >= 0.1 || share == 0 {
		return fmt.Sprintf("%.0f%%", 100*share)
	}
	return fmt.Sprintf("%.1f%%", 100*share)
}

// stateOf is the state of checks for people; empty without a check.
func (c *core) stateOf(set *settings) string {
	if !set.checked {
		return ""
	}
	return string(orUnknown(c.status.State))
}

func orUnknown(s health.State) health.State {
	if s == "" {
		return health.Unknown
	}
	return s
}

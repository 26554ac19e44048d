package demo

import (
	"fmt"
	"time"

	"github.com/backstay/backstay/internal/operate/api"
)

// avoidable is the latency from which on the balancer is seen to avoid a member whose siblings take about a millisecond.
const avoidable = 100 * time.Millisecond

// avoidance is when the balancer began to expect a member to be slow, and no longer did. One that it hardly asks has too few
// answers to be ejected for, and no event tells of it.
type avoidance struct {
	latency     time.Duration // that it expected
	begun, over time.Time
}

// look notes what the balancer expects of the member of a scene.
func (a *avoidance) look(sc *scene, began, now time.Time, status *api.Status) {
	if !sc.slow || now.Before(began.Add(sc.at)) {
		return
	}
	for _, service := range status.Services {
		for _, m := range service.Members {
			if m.Name != sc.member {
				continue
			}
			latency := time.Duration(m.Latency * float64(time.Second))
			switch {
			case a.begun.IsZero() && latency >= avoidable && now.Before(began.Add(sc.until)):
				a.latency, a.begun = latency, now
			case !a.begun.IsZero() && a.over.IsZero() && latency < avoidable && !now.Before(began.Add(sc.until)):
				a.over = now
			}
		}
	}
}

// tell fills in what no event said.
func (a *avoidance) tell(f *faultVerdict, sc *scene) {
	if f.noticed || a.begun.IsZero() {
		return
	}
	f.noticed, f.detected = true, max(0, a.begun.Sub(sc.begun))
	f.by = fmt.Sprintf("None: the balancer expected %s of it, and asked the others.", brief(a.latency))
	if !a.over.IsZero() {
		f.returned, f.back = true, max(0, a.over.Sub(sc.ended))
	}
}

package demo

import (
	"testing"
	"time"

	"github.com/backstay/backstay/internal/operate/api"
)

// A slow member that the balancer hardly asks any more is dealt with, though nothing was ejected.
func TestAvoidedIsNoticed(t *testing.T) {
	began := time.Unix(1000, 0)
	sc := scene{member: "web-3", slow: true, at: 10 * time.Second, until: 20 * time.Second, begun: began.Add(10 * time.Second), ended: began.Add(20 * time.Second)}
	var a avoidance
	for _, look := range []struct {
		after   time.Duration
		latency float64
	}{{9, 0.4}, {11, 0.001}, {12, 0.4}, {19, 0.01}, {21, 0.3}, {23, 0.05}, {24, 0.01}} {
		a.look(&sc, began, began.Add(look.after*time.Second), &api.Status{Services: []api.ServiceStatus{
			{Members: []api.MemberStatus{{Name: "web-1", Latency: 2}, {Name: "web-3", Latency: look.latency}}},
		}})
	}
	var f faultVerdict
	a.tell(&f, &sc)
	if !f.noticed || f.detected != 2*time.Second || !f.returned || f.back != 3*time.Second {
		t.Errorf("noticed %v after %s, back %v after %s", f.noticed, f.detected, f.returned, f.back)
	}
	ejected := faultVerdict{noticed: true, by: "an event"}
	a.tell(&ejected, &sc)
	if ejected.by != "an event" {
		t.Errorf("an event's own word was replaced: %q", ejected.by)
	}
	var none avoidance
	unseen := faultVerdict{}
	if none.tell(&unseen, &sc); unseen.noticed {
		t.Error("noticed by nobody")
	}
}

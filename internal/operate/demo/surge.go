package demo

import (
	"context"
	"fmt"
	"strings"
)

// surge is more traffic than a service can bear, for a while. All of it is sheddable.
type surge struct {
	traffic *traffic
	cancel  context.CancelFunc // nil while there is none
}

func newSurge(url string) *surge { return &surge{traffic: newTraffic(url, 150, 560).sheddable()} }

func (s *surge) start() {
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.traffic.start(ctx)
}

// stop ends it; it may have ended already.
func (s *surge) stop() {
	if s.cancel != nil {
		s.cancel()
		s.cancel = nil
		s.traffic.wait()
	}
}

// plus is both together.
func plus(a, b measure) measure {
	a.requests += b.requests
	a.errors += b.errors
	a.shed += b.shed
	a.fallbacks += b.fallbacks
	for i := range a.buckets {
		a.buckets[i] += b.buckets[i]
	}
	return a
}

// protections says in a line what is done for clients of services that fail or have too much to do.
func protections(p picture) string {
	var b strings.Builder
	for _, service := range p.status.Services {
		if d := service.Shed; d != nil && d.AdmissionLevel < 1 {
			fmt.Fprintf(&b, "; %s sheds below %s: admission level %.2f, critical %s answered, low %s shed", service.Name, d.Below, d.AdmissionLevel,
				share(p.buyers.requests-p.buyers.errors, p.buyers.requests), share(p.scouts.shed, p.scouts.requests))
		}
	}
	if n := p.recs.fallbacks; n > 0 {
		fmt.Fprintf(&b, "; recommendations: %d answers by the fallback", n)
	}
	return b.String()
}

// share is a part for people: 99.8%, and 100% only where nothing is missing.
func share(part, whole int) string {
	if whole == 0 {
		return "none"
	}
	tenths := part * 1000 / whole
	if tenths%10 == 0 {
		return fmt.Sprintf("%d%%", tenths/10)
	}
	return fmt.Sprintf("%d.%d%%", tenths/10, tenths%10)
}

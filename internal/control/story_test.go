package control

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/decide/failover"
)

func fast(protection string) failover.Service {
	p, _ := cluster.ProfileNamed("lan-fast")
	return failover.Service{Protection: protection, Heartbeat: p.Heartbeat, Suspicion: p.Suspicion, TTL: p.LeaseTTL, HoldDown: 5 * time.Second}
}

// tale runs a story in a bubble and shows its log where it fails.
func tale(t *testing.T, svc failover.Service, members, witnesses int, tell func(s *sim)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, svc, members, witnesses)
		defer func() {
			s.end()
			if t.Failed() || testing.Verbose() {
				t.Log("\n" + strings.Join(s.log, "\n"))
			}
		}()
		tell(s)
	})
}

func TestANewServiceIsMadeAndBecomesWhole(t *testing.T) {
	for _, p := range []string{failover.MaxAvailability, failover.MaxProtection, failover.MaxPerformance} {
		tale(t, fast(p), 3, 0, func(s *sim) { s.settle(20 * time.Second) })
	}
}

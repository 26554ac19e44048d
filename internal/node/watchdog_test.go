package node

import (
	"testing"
	"time"

	"github.com/backstay/backstay/internal/act/guard"
	"github.com/backstay/backstay/internal/act/watchdog"
	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/control"
	"github.com/backstay/backstay/internal/decide/failover"
)

type device struct {
	open  bool
	kicks int
}

func (d *device) Timeout() time.Duration { return 2 * time.Second }
func (d *device) Kick() error            { d.kicks++; return nil }
func (d *device) Disarm() error          { d.open = false; return nil }

// A primary whose clients are held for a switchover still has its authority; one that has lost it is not told that all is well,
// and its device is not closed before its instance is seen to have ended.
func TestWatchdogFollowsTheAuthority(t *testing.T) {
	d := &device{}
	s := &stateful{
		node:    &Node{self: config.Node{Name: "a"}},
		self:    config.Node{Name: "a"},
		control: control.New(control.Options{Self: "a", Services: []failover.Service{{Name: "db"}}}),
		dog: watchdog.New(watchdog.Options{Timeout: 2 * time.Second, Open: func(string, time.Duration) (watchdog.Device, error) {
			d.open = true
			return d, nil
		}}),
	}
	s.crew = newCrew(s)
	s.crew.instances["db"] = &instance{guard: guard.NewHolder(guard.HolderOptions{})}
	now := time.Now()
	s.watchdog(control.Route{Service: "db", Primary: "b", Until: now.Add(time.Minute)}, now)
	s.watchdog(control.Route{Service: "other", Authority: now.Add(time.Minute)}, now) // its instance is not here
	if d.open {
		t.Error("armed for a primary elsewhere")
	}
	s.watchdog(control.Route{Service: "db", Authority: now.Add(time.Minute)}, now) // of one that is being promoted
	s.watchdog(control.Route{Service: "db", Primary: "a", Hold: true, Authority: now.Add(time.Minute)}, now)
	if !d.open || d.kicks != 2 {
		t.Errorf("with authority: open %v, %d kicks", d.open, d.kicks)
	}
	s.watchdog(control.Route{Service: "db", Primary: "a", Authority: now.Add(-time.Second)}, now)
	s.watchdog(control.Route{Service: "db"}, now)
	if !d.open || d.kicks != 2 {
		t.Errorf("without authority, the instance unseen: open %v, %d kicks", d.open, d.kicks)
	}
	s.watchdog(control.Route{Service: "db", Harmless: true}, now)
	if d.open {
		t.Error("the device is open although the instance is known to take no writes")
	}
	s.watchdog(control.Route{Service: "db", Authority: now.Add(time.Minute)}, now)
	delete(s.crew.instances, "db")
	s.watchdog(control.Route{Service: "db"}, now)
	if d.open {
		t.Error("the device is open although the node has no instance any more")
	}
	s.crew.instances["db"] = &instance{guard: guard.NewHolder(guard.HolderOptions{})}
	s.watchdog(control.Route{Service: "db", Authority: now.Add(time.Minute)}, now)
	s.dog.Close()
	if d.open {
		t.Error("the device is open after the node's end")
	}
}

// The timer fits into what is left of a primary's authority when it is looked at, with each profile that may have one.
func TestWatchdogTimers(t *testing.T) {
	for _, p := range cluster.Profiles() {
		timer := (p.LeaseTTL - p.LeaseMargin - p.LeaseRenew - p.Heartbeat).Truncate(time.Second)
		if fits := timer >= time.Second; fits == (p.Name == "lan-fast") {
			t.Errorf("%s: %v", p.Name, timer)
		}
	}
}

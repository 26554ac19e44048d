package node

import (
	"time"

	"github.com/backstay/backstay/internal/act/watchdog"
	"github.com/backstay/backstay/internal/cluster"
)

// newWatchdog is the device that the configuration of this node names; nil where it names none. Its timer is what is certain
// to be left of a primary's authority at each look at it.
func newWatchdog(n *Node, p cluster.Profile) *watchdog.Watchdog {
	c := n.self.Watchdog
	if c == nil {
		return nil
	}
	return watchdog.New(watchdog.Options{
		Path: c.Device, Required: c.Required, Timeout: (p.LeaseTTL - p.LeaseMargin - p.LeaseRenew - p.Heartbeat).Truncate(time.Second),
		Append: n.append, Log: n.options.Log.With("component", "watchdog"),
	})
}

package cluster

import (
	"fmt"
	"time"
)

// A Profile is a set of timings that fit each other. Every wait of the failover's chain is in it, so that nobody tunes
// one of them alone.
type Profile struct {
	Name string

	Heartbeat time.Duration // between a node's reports to its peers
	Suspicion time.Duration // of silence after which a peer is suspected

	LeaseTTL    time.Duration // a candidate waits that long for a sign of the holder
	LeaseRenew  time.Duration // between renewals
	LeaseMargin time.Duration // by which a holder fences itself before the ttl

	StoreHeartbeat time.Duration // of the store's leader
	StoreElection  time.Duration // without which another is elected, after one to two times this
	StoreTry       time.Duration // for the first try of a request; lost ones are sent again
}

// Profiles: lan-fast is for machines in one room with cores to spare, lan for a usual network, wan for regions apart.
var profiles = []Profile{
	{
		Name: "lan-fast", Heartbeat: 50 * time.Millisecond, Suspicion: 400 * time.Millisecond,
		LeaseTTL: time.Second, LeaseRenew: 200 * time.Millisecond, LeaseMargin: 100 * time.Millisecond,
		StoreHeartbeat: 25 * time.Millisecond, StoreElection: 250 * time.Millisecond, StoreTry: 200 * time.Millisecond,
	},
	{
		Name: "lan", Heartbeat: 200 * time.Millisecond, Suspicion: 1200 * time.Millisecond,
		LeaseTTL: 4 * time.Second, LeaseRenew: 800 * time.Millisecond, LeaseMargin: 400 * time.Millisecond,
		StoreHeartbeat: 100 * time.Millisecond, StoreElection: time.Second, StoreTry: 500 * time.Millisecond,
	},
	{
		Name: "wan", Heartbeat: time.Second, Suspicion: 6 * time.Second,
		LeaseTTL: 20 * time.Second, LeaseRenew: 4 * time.Second, LeaseMargin: 2 * time.Second,
		StoreHeartbeat: 500 * time.Millisecond, StoreElection: 5 * time.Second, StoreTry: 3 * time.Second,
	},
}

// Profiles returns all profiles, the fastest first.
func Profiles() []Profile { return append([]Profile(nil), profiles...) }

// ProfileNamed returns a profile; "" is lan.
func ProfileNamed(name string) (Profile, error) {
	if name == "" {
		name = "lan"
	}
	for _, p := range profiles {
		if p.Name == name {
			return p, nil
		}
	}
	return Profile{}, fmt.Errorf("profile %q is not known; use lan-fast, lan or wan", name)
}

// Lease returns the timings as options of a lease.
func (p Profile) Lease() LeaseOptions {
	return LeaseOptions{TTL: p.LeaseTTL, Renew: p.LeaseRenew, Margin: p.LeaseMargin}
}

// Validate says which timings do not fit each other, and why they must.
func (p Profile) Validate() error {
	slack := p.LeaseTTL - p.LeaseMargin - p.LeaseRenew
	for _, rule := range []struct {
		holds bool
		why   string
	}{
		{p.Heartbeat > 0 && p.LeaseRenew > 0 && p.StoreHeartbeat > 0 && p.StoreTry > 0, "every timing is above zero"},
		{p.Suspicion >= 4*p.Heartbeat, "three lost reports are no death: suspicion ≥ 4 × heartbeat"},
		{p.Suspicion < p.LeaseTTL, "a suspicion after the lease has lapsed is of no use: suspicion < lease ttl"},
		{p.LeaseRenew*4 <= p.LeaseTTL, "a lost renewal or two must not cost the lease: 4 × renew ≤ ttl"},
		{p.LeaseMargin*10 >= p.LeaseTTL, "clocks drift and stopping takes time: margin ≥ ttl / 10"},
		{p.StoreElection >= 10*p.StoreHeartbeat, "the store must not elect for a late heartbeat: election ≥ 10 × heartbeat"},
		{slack >= 2*p.StoreElection+p.StoreElection/5,
			"the holder outlives the death of the store's leader: ttl − margin − renew ≥ 2.2 × election"},
		{p.StoreTry <= slack, "a lost request is sent again before the lease lapses: try ≤ ttl − margin − renew"},
	} {
		if !rule.holds {
			return fmt.Errorf("profile %s: %s", p.Name, rule.why)
		}
	}
	return nil
}

package pool

import "time"

// ServiceStatus is a service at one moment, for people.
type ServiceStatus struct {
	Name     string         `json:"name"`
	State    string         `json:"state"` // up, degraded, panic, down
	Evidence string         `json:"evidence,omitempty"`
	Policy   string         `json:"policy"`
	InFlight int64          `json:"in_flight"`
	Queued   int64          `json:"queued"`
	Held     int64          `json:"held"`
	Breaker  string         `json:"breaker,omitempty"`
	Members  []MemberStatus `json:"members"`
}

// MemberStatus is a member at one moment, for people.
type MemberStatus struct {
	Name     string    `json:"name"`
	Address  string    `json:"address"`
	Zone     string    `json:"zone,omitempty"`
	State    string    `json:"state"` // up, down, starting, unknown, ejected, open, draining, drained
	Since    time.Time `json:"since"`
	Evidence string    `json:"evidence,omitempty"`
	Check    string    `json:"check,omitempty"` // up, down, starting, unknown; empty without a check
	Breaker  string    `json:"breaker,omitempty"`
	InFlight int64     `json:"in_flight"`
	Latency  float64   `json:"latency_seconds"` // the balancer's estimate
	Share    float64   `json:"share"`           // of the service's traffic, 0..1, as the balancer means it
	Weight   int       `json:"weight"`
	Priority int       `json:"priority"`
	Requests uint64    `json:"requests"` // since it joined
	Failures uint64    `json:"failures"`
}

// Package health looks at members on a schedule and says what a run of looks adds up to, with its evidence. It judges single
// members only: what their service does about it is decided elsewhere.
package health

import (
	"context"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

// State is what a run of looks adds up to.
type State string

// States of a member.
const (
	Unknown  State = "unknown"  // not looked at often enough to tell
	Starting State = "starting" // within its grace, and not yet found good: gets no traffic
	Up       State = "up"
	Down     State = "down"
)

// Status is the state of a member with its evidence.
type Status struct {
	State State `json:"state"`
	// Since is when the state began.
	Since time.Time `json:"since"`
	// Evidence says in words what the state rests on: "3 of 3 probes: connection refused since 12:01:03".
	Evidence string `json:"evidence"`
	// Last is when the last look ended; zero before the first.
	Last time.Time `json:"last,omitzero"`
	// Took is how long the last look took.
	Took time.Duration `json:"took"`
	// Good and Bad are how many looks in a row ended so, up to now; one of them is 0.
	Good int `json:"good"`
	// Bad is how many looks in a row were bad.
	Bad int `json:"bad"`
}

// Target is a member to look at.
type Target struct {
	// Service and Member are its identity.
	Service string
	// Member is its name within the service.
	Member string
	// Address is what is dialled: host:port, or unix:/path. Another address makes it another member.
	Address string
	// Host is the name that the address was looked up from, for certificates and the Host header; the host of Address where empty.
	Host string
	// Protocol is what the service speaks: http1 (also where empty) or http2.
	Protocol string
	// Check says how and when to look.
	Check config.Check
	// TLS is the service's own, for HTTP and gRPC checks that have none.
	TLS *config.MemberTLS
}

// Result is one look.
type Result struct {
	// OK says whether it was good.
	OK bool
	// Reason says why not, in a few plain words: "connection refused", "status 503".
	Reason string
	// Took is how long it took.
	Took time.Duration
}

// Transition is a change of state.
type Transition struct {
	Target
	// From and To are the statuses before and after.
	From Status
	// To is the status that holds now.
	To Status
}

// Prober looks once. It returns when ctx ends.
type Prober interface {
	Probe(ctx context.Context, t Target) Result
}

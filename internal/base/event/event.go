// Package event is the record of what happened: every change of status and every automatic act, with its evidence, in
// order. People read it; nothing is decided by it. It holds a bounded number of records in memory and, where a path is
// given, a bounded number of bytes on disk. It knows no other part of the system.
package event

import "time"

// Record is one thing that happened.
type Record struct {
	// Seq numbers records from 1, without holes, across restarts where the log has a file.
	Seq uint64 `json:"seq"`
	// Time is when it happened.
	Time time.Time `json:"time"`
	// Kind is one of the constants of this package.
	Kind string `json:"kind"`
	// Service, Member and Node say what it happened to; empty where that says nothing.
	Service string `json:"service,omitempty"`
	// Member is the name of the member.
	Member string `json:"member,omitempty"`
	// Node is the node that saw it; the log's own where not given.
	Node string `json:"node,omitempty"`
	// Message is a sentence for people.
	Message string `json:"message"`
	// Evidence is what it was concluded from, such as "3 of 3 probes: connection refused since 12:01:03".
	Evidence string `json:"evidence,omitempty"`
	// Fields are details for programs. Values are strings, numbers and booleans; anything else is kept as its text.
	Fields map[string]any `json:"fields,omitempty"`
}

// Kinds of records. Programs may rely on them; they are never renamed.
const (
	MemberUp       = "member.up"       // probes find the member good
	MemberDown     = "member.down"     // probes find the member bad
	MemberStarting = "member.starting" // the member is new and fails its probes within its grace
	MemberAdded    = "member.added"    // the member is new to the service
	MemberRemoved  = "member.removed"  // the member left the service
	MemberEjected  = "member.ejected"  // live traffic took the member out for a time
	MemberRestored = "member.restored" // the ejection ended
	MemberDrained  = "member.drained"  // a person, or a plan, lets go of the member
	MemberResumed  = "member.resumed"  // the drain ended

	BreakerOpen     = "breaker.open"
	BreakerHalfOpen = "breaker.half_open"
	BreakerClosed   = "breaker.closed"

	ServicePanic      = "service.panic"       // too few members are up for checks to be believed: all are used
	ServiceCalm       = "service.calm"        // checks are believed again
	ServiceDown       = "service.down"        // no member can serve
	ServiceUp         = "service.up"          // a member can serve again
	ServiceSpill      = "service.spill"       // traffic leaves its tier or zone for the next
	ServiceSpillEnded = "service.spill_ended" // and is back
	ServicePrimary    = "service.primary"     // clients are sent to another primary, or to none
	ServiceReader     = "service.reader"      // a standby gets sessions that read, or no more
	ServiceShedding   = "service.shedding"    // more to do than it can: the least important requests are refused
	ServiceShed       = "service.shed_ended"  // none are refused any more

	RateLeased = "rate.leased" // this node's share of a rate is leased by demand
	RateAlone  = "rate.alone"  // it cannot be: this node has no more than an equal part

	ModeOn  = "mode.on"  // a degradation mode was turned on, by itself or by hand
	ModeOff = "mode.off" // and off

	ResolveChanged   = "resolve.changed"   // a name has other addresses
	ResolveFailed    = "resolve.failed"    // a name cannot be looked up; its last addresses stay
	ResolveRecovered = "resolve.recovered" // it can again

	ConfigApplied = "config.applied"
	ConfigRefused = "config.refused"
	ConfigVersion = "config.version" // another version of the cluster's configuration is in force here

	CertificateReloaded = "certificate.reloaded"
	CertificateFailed   = "certificate.failed"  // a changed file cannot be used; the old certificate stays
	CertificateRenewed  = "certificate.renewed" // this node's own, by which nodes know each other

	ClusterFounded      = "cluster.founded"      // the first member of a new cluster
	ClusterJoined       = "cluster.joined"       // the node is a voting member from now on
	ClusterRemoved      = "cluster.removed"      // a member was removed, or left, for good
	ClusterLeader       = "cluster.leader"       // another member leads the store
	ClusterFailed       = "cluster.failed"       // a member of the store ended unexpectedly and starts again
	ClusterRecovered    = "cluster.recovered"    // one member was made a cluster of its own by force
	ClusterDefragmented = "cluster.defragmented" // a member's store gave back unused space

	NodeStarted  = "node.started"
	NodeReady    = "node.ready"
	NodeLameDuck = "node.lame_duck"
	NodeDraining = "node.draining"
	NodeStopped  = "node.stopped"

	// Gap stands in a subscription for records that were overwritten before the subscriber took them.
	Gap = "log.gap"
)

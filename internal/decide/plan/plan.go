// Package plan is the vocabulary of change: steps, plans, and the facts about an instance that plans are made from. It is
// pure data: rules order steps, engines perform them, the runner journals them, people read them. It must not do I/O, know a
// clock, or know what any engine does to perform a step.
package plan

import (
	"fmt"
	"strings"
	"time"
)

// Kind names what a step does. Every step is idempotent: done twice it is done once.
type Kind string

// Steps that every engine can perform on its own instance.
const (
	Create     Kind = "create"     // make a new, empty primary
	Clone      Kind = "clone"      // make a copy of Upstream's data, discarding what is there
	Start      Kind = "start"      // run the instance as it is
	Stop       Kind = "stop"       // stop it; Mode fast or immediate
	Promote    Kind = "promote"    // from now on accept writes, under the step's epoch
	Demote     Kind = "demote"     // accept no writes any more, and be ready to follow
	Follow     Kind = "follow"     // replicate from Upstream
	Rewind     Kind = "rewind"     // give up what Upstream does not have, after it was put aside, and follow it
	Fence      Kind = "fence"      // persist the step's epoch and drop the stream of any older primary: nothing older is confirmed from now on
	SetSync    Kind = "set_sync"   // as the primary, acknowledge writes only when Quorum of Names have them
	Checkpoint Kind = "checkpoint" // write out what a fast stop would have to
	Restart    Kind = "restart"    // stop and start with the configuration as it is now
)

// Steps of the runner itself.
const (
	Hold    Kind = "hold"    // let clients' new work wait
	Release Kind = "release" // let it go on
	Revoke  Kind = "revoke"  // raise the epoch in the store: the primary of an older one is none any more
	Elect   Kind = "elect"   // of the fenced members choose the one with everything
	Grant   Kind = "grant"   // record the new primary
	Record  Kind = "record"  // record the synchronous set
	Ask     Kind = "ask"     // wait for a person: going on would lose acknowledged writes, or cannot be known to be safe
)

// EngineKinds lists the steps that an engine must know.
var EngineKinds = []Kind{Create, Clone, Start, Stop, Promote, Demote, Follow, Rewind, Fence, SetSync, Checkpoint, Restart}

// Modes of Stop.
const (
	Fast      = "fast"      // sessions are ended, what is committed is on disk
	Immediate = "immediate" // at once, as if the power went
)

// A Step is one named change on one node.
type Step struct {
	Kind    Kind   `json:"kind"`
	Service string `json:"service"`
	Node    string `json:"node"`
	// Epoch is the fencing token it is done under: engines refuse a step that is older than what they have persisted.
	Epoch uint64 `json:"epoch"`

	Upstream string   `json:"upstream,omitempty"` // node to copy from or follow
	Mode     string   `json:"mode,omitempty"`     // of Stop
	Names    []string `json:"names,omitempty"`    // of SetSync, and of Promote, in force before the first write: the synchronous set; empty acknowledges without standbys
	Quorum   int      `json:"quorum,omitempty"`   // of SetSync and Promote: how many of them
	Why      string   `json:"why,omitempty"`      // for people
}

// String is the step as people read it in a dry run.
func (s Step) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s on %s", s.Kind, s.Service, s.Node)
	if s.Upstream != "" {
		fmt.Fprintf(&b, " from %s", s.Upstream)
	}
	if s.Mode != "" {
		fmt.Fprintf(&b, " (%s)", s.Mode)
	}
	if s.Kind == SetSync {
		fmt.Fprintf(&b, " any %d of [%s]", s.Quorum, strings.Join(s.Names, " "))
	}
	fmt.Fprintf(&b, ", epoch %d", s.Epoch)
	if s.Why != "" {
		fmt.Fprintf(&b, ": %s", s.Why)
	}
	return b.String()
}

// Role is what an instance is at a moment.
type Role string

// Roles.
const (
	None    Role = "none"    // not running, or not to be told
	Primary Role = "primary" // accepts writes, or would if nothing held it back
	Standby Role = "standby" // replicates, or would
)

// An Observation is what an engine sees of its own instance.
type Observation struct {
	Node    string    `json:"node"`
	Time    time.Time `json:"time"`
	Running bool      `json:"running"`
	Role    Role      `json:"role"`
	// Started is when the instance that runs was started, by its own node's clock.
	Started time.Time `json:"started,omitzero"`
	// Writable says that it would accept a client's write.
	Writable bool `json:"writable,omitempty"`
	// Empty says that there is no data yet: it can be created or cloned without loss.
	Empty bool `json:"empty,omitempty"`
	// SystemID names the data's origin; instances of different origin must never follow each other.
	SystemID string `json:"system_id,omitempty"`
	// Timeline grows with each promotion. Position is how far the instance has its history on disk, in bytes; of a primary what it has
	// flushed, of a standby what it has received and flushed. Positions compare within a timeline.
	Timeline uint32 `json:"timeline,omitempty"`
	Position uint64 `json:"position,omitempty"`
	// Applied is how far a standby has replayed.
	Applied uint64 `json:"applied,omitempty"`
	// Epoch is the highest fencing token that the instance has persisted.
	Epoch uint64 `json:"epoch,omitempty"`
	// Upstream is the node it is told to replicate from; Streaming says that the stream is up.
	Upstream  string `json:"upstream,omitempty"`
	Streaming bool   `json:"streaming,omitempty"`
	// SyncNames and SyncQuorum are the synchronous set in force on a primary.
	SyncNames  []string     `json:"sync_names,omitempty"`
	SyncQuorum int          `json:"sync_quorum,omitempty"`
	Standbys   []Downstream `json:"standbys,omitempty"` // as a primary sees them
	// PendingRestart names the settings that were changed and hold only once the instance is started again.
	PendingRestart []string `json:"pending_restart,omitempty"`
	// LastWrite is when a probing write last succeeded on a primary.
	LastWrite time.Time `json:"last_write,omitzero"`
	// Busy names the step under way, with its progress.
	Busy string `json:"busy,omitempty"`
	// Problem says what is wrong; empty when nothing is.
	Problem string `json:"problem,omitempty"`
}

// Downstream is a standby as its primary sees it.
type Downstream struct {
	Node     string `json:"node"`
	Position uint64 `json:"position"` // flushed there
	Sync     bool   `json:"sync"`     // counts for acknowledgement
}

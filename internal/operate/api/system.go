package api

import (
	"context"

	"github.com/backstay/backstay/internal/base/event"
)

// System is what the API shows and steers. Errors that are not *Error become an internal one.
type System interface {
	// Status is the picture of the node at this moment.
	Status(ctx context.Context) (Status, error)
	// Reload reads the configuration again and applies it, or changes nothing and says why.
	Reload(ctx context.Context) (Reloaded, error)
	// Drain takes no new work to a member and lets what it has at work end. The member is named by SERVICE/MEMBER, or
	// by MEMBER alone where that is only one. Draining a drained member is no error.
	Drain(ctx context.Context, member string) error
	// Resume ends a drain.
	Resume(ctx context.Context, member string) error
	// Degrade turns a degradation mode on or off by hand, or leaves it to itself again: state is on, off or auto.
	Degrade(ctx context.Context, mode, state string) error
	// Events emits what is asked for in order, until there is no more, ctx ends, or emit fails. FollowLog does the
	// work on an event.Log.
	Events(ctx context.Context, q EventQuery, emit func(event.Record) error) error
}

// EventQuery says which events.
type EventQuery struct {
	Since   uint64 // only those with a higher Seq
	Last    int    // only so many of the newest; 0 = all that are kept
	Follow  bool   // go on with new ones as they happen
	Service string // only those of this service; empty = all
}

// Reloaded says what a reload did.
type Reloaded struct {
	Version  int      `json:"version,omitempty" doc:"Version of the cluster's configuration; left out where the node reads a file"`
	Revision string   `json:"revision" doc:"Hash of the configuration that is now in force"`
	Changed  bool     `json:"changed" doc:"False when the file says what was in force already"`
	Changes  []string `json:"changes,omitempty" doc:"One line for each thing that changed"`
}

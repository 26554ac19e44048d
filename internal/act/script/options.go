// Package script is the engine for any service with one primary and standbys that commands can be written for: one that
// says what there is, and one for each change. What must never be forgotten, such as the epoch, is the engine's business and
// not theirs. It knows no rules. DESIGN.md says what each command has to do.
package script

import (
	"log/slog"
	"time"

	"github.com/backstay/backstay/internal/base/event"
)

// Commands are programs with their arguments; no shell is involved. Observe, Promote, Demote and Follow are needed.
type Commands struct {
	Observe []string // prints what there is; see parse
	Promote []string // take writes from now on
	Demote  []string // take no writes any more and follow nobody, whether it was primary or standby
	Follow  []string // replicate from the upstream; whatever that does not have is given up

	Create     []string // make a new, empty primary; Start and Promote where empty
	Clone      []string // make a copy of the upstream's data and follow it; Follow where empty
	Rewind     []string // put aside what the upstream does not have, and follow it; Clone where empty
	Start      []string // run it as what it was
	Stop       []string // end it; MODE is fast or immediate
	Fence      []string // as Demote, and quick; Demote where empty
	Checkpoint []string // prepare for a quick stop
}

// Options say which service the commands are for. Zero values are useful where a default is named.
type Options struct {
	// Node and Service name what the engine is for.
	Node, Service string
	// DataDir is where the engine keeps the epoch; commands run in it.
	DataDir string
	// Commands are what is run.
	Commands Commands
	// Peers are the other nodes of the service: name → host:port of their instance.
	Peers map[string]string
	// Env are further variables for the commands, as name=value.
	Env []string
	// Every is how old an observation may be, 1 s where 0; ObserveTimeout bounds the command that makes it, 5 s where 0.
	Every, ObserveTimeout time.Duration
	// Timeout bounds the commands that change things, 30 s where 0; Fence and Stop for a Fence have FenceTimeout, 5 s where 0.
	// Create, Clone and Rewind take as long as they take.
	Timeout, FenceTimeout time.Duration
	// Log is for debugging; Append records what people should know.
	Log    *slog.Logger       `json:"-"`
	Append func(event.Record) `json:"-"`
}

func (o Options) withDefaults() Options {
	for p, v := range map[*time.Duration]time.Duration{
		&o.Every: time.Second, &o.ObserveTimeout: 5 * time.Second, &o.Timeout: 30 * time.Second, &o.FenceTimeout: 5 * time.Second,
	} {
		if *p == 0 {
			*p = v
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

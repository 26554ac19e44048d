// Package ledger is what all engines share: the facts about an instance that must never be
// forgotten, one step at a time, and the refusal of steps that are stale or out of place. It knows no instance: an engine
// tells it what there is, and performs what it lets through.
package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// A State is kept outside the instance's data, so that a copy of another's data cannot bring back another's facts. It is on
// disk before anything is done because of it.
type State struct {
	// Epoch is the highest one that a step came with. Held is the highest that was made good: it is what observations show,
	// so that nobody counts an instance as fenced while a step is still at it.
	Epoch uint64 `json:"epoch"`
	Held  uint64 `json:"held"`
	// Fenced says that the instance was fenced at Epoch and follows nothing since.
	Fenced bool `json:"fenced"`
	// Reign is the epoch under which the instance is, or was, primary; 0 if it never was.
	Reign uint64 `json:"reign"`
	// Standby says that the instance takes no writes, whoever starts it, for engines whose data does not say so itself;
	// Upstream is the node it is to follow.
	Standby  bool   `json:"standby"`
	Upstream string `json:"upstream,omitempty"`
	// Copying says that the data is being replaced by Upstream's: until that is over it is good for nothing.
	Copying bool `json:"copying,omitempty"`
	// Unaligned says that a rewind or a clone was begun and not finished: what there is is whole, but may not all be the
	// upstream's, so that it is not shown as following, nor started.
	Unaligned bool `json:"unaligned,omitempty"`
	// Promoting says that the server may have been told to become a primary and not be one yet.
	Promoting bool `json:"promoting,omitempty"`
	// SyncNames and SyncQuorum are the synchronous set as ordered last, where there can be one.
	SyncNames  []string `json:"sync_names,omitempty"`
	SyncQuorum int      `json:"sync_quorum,omitempty"`
}

// Reigns says whether the instance is the primary of that very epoch.
func (s State) Reigns(epoch uint64) bool { return s.Reign > 0 && s.Reign == epoch && !s.Standby }

func load(path string) (State, error) {
	var st State
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(text, &st); err != nil {
		return st, fmt.Errorf("%s is damaged; the instance's epoch is unknown, so nothing may be done with it: restore the file, or remove it together with the instance's data: %w", path, err)
	}
	return st, nil
}

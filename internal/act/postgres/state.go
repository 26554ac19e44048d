package postgres

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A state is what the engine must never forget, kept outside the data directory so that a clone or a rewind cannot
// bring back another's. It is on disk before anything is done because of it.
type state struct {
	// Epoch is the highest one that a step came with.
	Epoch uint64 `json:"epoch"`
	// Held is the highest epoch that was made good: nothing older is confirmed. It is what observations show, so that nobody
	// counts an instance as fenced while a step is still at it.
	Held uint64 `json:"held"`
	// Promoting says that the server may have been told to become a primary and not be one yet.
	Promoting bool `json:"promoting,omitempty"`
	// Torn says that a rewind was begun and not finished: the files are of no use but to be cloned over.
	Torn bool `json:"torn,omitempty"`
	// Unaligned says that a rewind or a clone was begun and not finished: what there is may not all be the upstream's, so
	// that it is not shown as following, nor started.
	Unaligned bool `json:"unaligned,omitempty"`
	// Fenced says that the instance was fenced at Epoch and follows nothing since.
	Fenced bool `json:"fenced"`
	// Reign is the epoch under which the instance is, or was, primary; 0 if it never was.
	Reign uint64 `json:"reign"`
	// Upstream is the node it is told to follow; empty for none.
	Upstream string `json:"upstream,omitempty"`
	// SyncNames and SyncQuorum are the synchronous set as ordered last.
	SyncNames  []string `json:"sync_names,omitempty"`
	SyncQuorum int      `json:"sync_quorum,omitempty"`
}

func loadState(path string) (state, error) {
	var st state
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(text, &st); err != nil {
		return st, fmt.Errorf("%s is damaged; the instance's epoch is unknown, so nothing may be done with it: restore the file, or clone the instance anew: %w", path, err)
	}
	return st, nil
}

// writeDurably replaces a file so that after a crash there is the old or the new one, whole.
func (a account) writeDurably(path string, text []byte, mode fs.FileMode) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), a.own(tmp), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return syncDir(filepath.Dir(path))
}

// reserveSize is what is kept free for the state itself: a full disk must not keep a primary from being fenced.
const reserveSize = 256 << 10

// reserve makes the file that is given up for that.
func (a account) reserve(path string) error {
	if info, err := os.Stat(path); err == nil && info.Size() == reserveSize {
		return nil
	}
	return a.writeDurably(path, make([]byte, reserveSize), 0o600)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

package redis

import (
	"encoding/json"
	"os"

	"github.com/backstay/backstay/internal/act/account"
)

// A rest is what is known of an instance that cannot be asked, or that has just loaded its data and has Redis' count from
// zero again.
type rest struct {
	Origin   string `json:"origin"` // as it was in the data
	Position uint64 `json:"position"`
	// Exact says that it was stopped in good order at Position; otherwise it has that much or a little more.
	Exact bool `json:"exact"`
}

func (r rest) origin() origin {
	o, _ := parseOrigin(r.Origin)
	return o
}

// readRest reads what was noted last; a damaged note is none.
func readRest(path string) rest {
	var r rest
	text, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(text, &r) != nil {
		return rest{}
	}
	return r
}

// note keeps what is known, for the time when the instance cannot be asked. Unless it is exact it is not worth waiting for
// the disk.
func (e *Engine) note(r rest) error {
	e.mu.Lock()
	same := e.rest == r
	e.rest = r
	e.mu.Unlock()
	if same {
		return nil
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if r.Exact {
		return account.Account{}.Write(e.restPath(), text, 0o600)
	}
	if err := os.WriteFile(e.restPath()+".tmp", text, 0o600); err != nil {
		return err
	}
	return os.Rename(e.restPath()+".tmp", e.restPath())
}

// settleRest holds what was noted against what the process has loaded. Called with the lock held.
func (e *Engine) settleRest(f facts) {
	if e.loaded || f.loading {
		return
	}
	e.loaded = true
	if f.originText != e.rest.Origin {
		e.rest = rest{Origin: f.originText}
		if f.origin.Life > 0 {
			e.rest.Position = position(f.origin.Life, f.origin.At)
		}
	}
	if f.master || f.linkUp { // it ran before this engine did
		e.synced = true
	}
}

// whereabouts is how far the instance has its history, and whether that is exact. Called with the lock held.
func (e *Engine) whereabouts() (at uint64, exact bool) {
	f := e.seen
	if e.running() && f.known && e.synced && f.origin.Life > 0 {
		return position(f.origin.Life, f.offset), true
	}
	return e.rest.Position, e.rest.Exact
}

// jot notes where the running instance was seen last.
func (e *Engine) jot() {
	e.mu.Lock()
	at, _ := e.whereabouts()
	r := rest{Origin: e.seen.originText, Position: at}
	worth := e.running() && e.loaded && e.synced && (at != e.rest.Position || r.Origin != e.rest.Origin)
	e.mu.Unlock()
	if !worth {
		return
	}
	if err := e.note(r); err != nil {
		e.log.Warn("the position could not be noted", "error", err)
	}
}

// loosen says that the instance is about to have more than was noted.
func (e *Engine) loosen() error {
	e.mu.Lock()
	at, _ := e.whereabouts()
	r := rest{Origin: e.seen.originText, Position: at}
	e.mu.Unlock()
	return e.note(r)
}

// Package versions keeps a cluster's configuration in its store: the version in force, those before it, a trial that the
// nodes are asked about, and what each node says of both.
//
// It keeps texts as they were given and knows nothing of what is in them. A version is replaced by compare-and-swap only,
// so that of two people who change the same one, the second is told.
package versions

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/backstay/backstay/internal/cluster"
)

// Bounds of what is kept.
const (
	MaxText    = 512 << 10 // bytes of a text
	maxMessage = 1 << 10
	keepCount  = 100     // versions before the one in force
	keepBytes  = 8 << 20 // of them together
)

// Keys in the store.
const (
	keyCurrent = "config/current"
	keyTrial   = "config/trial"
	keyHistory = "config/history/" // + number, ten digits
	keyAnswer  = "config/node/"    // + node
	keyVerdict = "config/verdict/" // + node
)

// Errors; compare with errors.Is.
var (
	// ErrNone says that there is no such version.
	ErrNone = errors.New("there is no such version")
	// ErrTooLarge says that a text is above MaxText.
	ErrTooLarge = errors.New("the configuration is too large")
)

// A Conflict says that another version than the expected one is in force; nothing was changed.
type Conflict struct{ Newest Version }

// Error names the newer version and its author.
func (c *Conflict) Error() string {
	if c.Newest.Number == 0 {
		return "no version is in force"
	}
	return fmt.Sprintf("version %d was applied meanwhile, by %s at %s", c.Newest.Number, c.Newest.By, c.Newest.Time.Format(time.RFC3339))
}

// A Version is a configuration that was applied.
type Version struct {
	Number  int       `json:"number"` // from 1, without gaps
	ID      string    `json:"id"`     // of this very act: two may apply the same text
	Time    time.Time `json:"time"`
	By      string    `json:"by"`
	Node    string    `json:"node"` // where it was applied
	Message string    `json:"message,omitempty"`
	Of      int       `json:"of,omitempty"` // the version whose text it brings back; 0: a new one
	Text    string    `json:"text"`
}

// A Trial is a text that every node is to try without putting it in force.
type Trial struct {
	ID   string    `json:"id"`
	Node string    `json:"node"` // who asks
	Time time.Time `json:"time"`
	Name string    `json:"name"` // of the file, for messages
	Text string    `json:"text"`
}

// An Answer is what a node says of a version.
type Answer struct {
	Node    string    `json:"node"`
	Version int       `json:"version"`
	Uses    bool      `json:"uses"`              // it is in force on the node
	Error   string    `json:"error,omitempty"`   // why not
	Restart string    `json:"restart,omitempty"` // what it needs the node to be started again for
	Time    time.Time `json:"time"`
}

// A Verdict is what a node says of a trial.
type Verdict struct {
	Node    string `json:"node"`
	Trial   string `json:"trial"`
	Error   string `json:"error,omitempty"`
	Restart string `json:"restart,omitempty"`
}

// A Log is the versions in a store.
type Log struct{ Store cluster.Store }

// Current returns the version in force; ErrNone before the first.
func (l Log) Current(ctx context.Context) (Version, error) {
	v, _, err := l.current(ctx)
	return v, err
}

func (l Log) current(ctx context.Context) (Version, int64, error) {
	kv, err := l.Store.Get(ctx, keyCurrent)
	if errors.Is(err, cluster.ErrNotFound) {
		return Version{}, cluster.Absent, fmt.Errorf("%w: none was applied yet", ErrNone)
	}
	if err != nil {
		return Version{}, 0, err
	}
	v, err := decode[Version](kv)
	return v, kv.Revision, err
}

// Get returns a version by its number; ErrNone where it is not kept any more, or was never there.
func (l Log) Get(ctx context.Context, number int) (Version, error) {
	v, err := l.Current(ctx)
	if err != nil || v.Number == number {
		return v, err
	}
	kv, err := l.Store.Get(ctx, historyKey(number))
	if errors.Is(err, cluster.ErrNotFound) {
		return v, fmt.Errorf("%w: %d; the newest is %d, and the last %d before it are kept", ErrNone, number, v.Number, keepCount)
	}
	if err != nil {
		return v, err
	}
	return decode[Version](kv)
}

// List returns the versions that are kept, the newest first.
func (l Log) List(ctx context.Context) ([]Version, error) {
	all, _, err := l.Store.List(ctx, keyHistory)
	if err != nil {
		return nil, err
	}
	var out []Version
	for _, kv := range all {
		v, err := decode[Version](kv)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	// Read after the history, into which a version is written before it is replaced: nothing falls between.
	newest, err := l.Current(ctx)
	switch {
	case errors.Is(err, ErrNone):
	case err != nil:
		return nil, err
	default:
		out = append(slices.DeleteFunc(out, func(v Version) bool { return v.Number == newest.Number }), newest)
	}
	slices.SortFunc(out, func(a, b Version) int { return cmp.Compare(b.Number, a.Number) })
	return out, nil
}

// Apply makes a text the newest version if the one in force is base (0: none yet), else *Conflict. Number, ID and Time of v
// are filled in.
func (l Log) Apply(ctx context.Context, v Version, base int) (Version, error) {
	if err := checkSize(v.Text, v.Message); err != nil {
		return v, err
	}
	old, revision, err := l.current(ctx)
	if err != nil && !errors.Is(err, ErrNone) {
		return v, err
	}
	if old.Number != base {
		return v, &Conflict{old}
	}
	if base > 0 { // first, so that it is there whatever happens afterwards
		if _, err := l.Store.Put(ctx, historyKey(base), encode(old), cluster.Whatever); err != nil {
			return v, err
		}
	}
	v.Number, v.ID, v.Time = base+1, rand.Text(), time.Now().UTC().Truncate(time.Millisecond)
	_, err = l.Store.Put(ctx, keyCurrent, encode(v), revision)
	if errors.Is(err, cluster.ErrConflict) {
		newest, err := l.Current(ctx)
		if err != nil {
			return v, err
		}
		return v, &Conflict{newest}
	}
	if err != nil {
		return v, fmt.Errorf("version %d may or may not have been applied (`backstay history` says): %w", v.Number, err)
	}
	_ = l.prune(ctx) // it is only tidying up, and is done again with the next version
	return v, nil
}

// prune forgets the oldest of those before the version in force.
func (l Log) prune(ctx context.Context) error {
	all, _, err := l.Store.List(ctx, keyHistory)
	if err != nil {
		return err
	}
	size := 0
	for i, kv := range slices.Backward(all) {
		size += len(kv.Value)
		if len(all)-i <= keepCount && size <= keepBytes {
			continue
		}
		if err := l.Store.Delete(ctx, kv.Key, cluster.Whatever); err != nil {
			return err
		}
	}
	return nil
}

// Watch sends the version in force, and each that follows; not every one where they come faster than they are read. Closed
// when ctx ends.
func (l Log) Watch(ctx context.Context) <-chan Version {
	return watch[Version](ctx, l.Store, keyCurrent)
}

// Trials sends the trials that are asked for.
func (l Log) Trials(ctx context.Context) <-chan Trial { return watch[Trial](ctx, l.Store, keyTrial) }

// Answer notes what a node says of a version.
func (l Log) Answer(ctx context.Context, a Answer) error {
	a.Time = time.Now().UTC().Truncate(time.Millisecond)
	_, err := l.Store.Put(ctx, keyAnswer+a.Node, encode(a), cluster.Whatever)
	return err
}

// Answers returns the newest of each node.
func (l Log) Answers(ctx context.Context) (map[string]Answer, error) {
	return list(ctx, l.Store, keyAnswer, func(a Answer) string { return a.Node })
}

// Forget drops what a node that is gone for good had said.
func (l Log) Forget(ctx context.Context, node string) error {
	return errors.Join(l.Store.Delete(ctx, keyAnswer+node, cluster.Whatever), l.Store.Delete(ctx, keyVerdict+node, cluster.Whatever))
}

// Try asks every node about a text; the newest question counts.
func (l Log) Try(ctx context.Context, t Trial) (id string, err error) {
	if err := checkSize(t.Text, ""); err != nil {
		return "", err
	}
	t.ID, t.Time = rand.Text(), time.Now().UTC()
	_, err = l.Store.Put(ctx, keyTrial, encode(t), cluster.Whatever)
	return t.ID, err
}

// EndTrial forgets a question, once the answers are in, if it is still the newest.
func (l Log) EndTrial(ctx context.Context, id string) error {
	kv, err := l.Store.Get(ctx, keyTrial)
	if err == nil {
		var t Trial
		if t, err = decode[Trial](kv); err == nil && t.ID == id {
			err = l.Store.Delete(ctx, keyTrial, kv.Revision)
		}
	}
	if errors.Is(err, cluster.ErrNotFound) || errors.Is(err, cluster.ErrConflict) {
		return nil
	}
	return err
}

// Judge notes what a node says of a trial.
func (l Log) Judge(ctx context.Context, v Verdict) error {
	_, err := l.Store.Put(ctx, keyVerdict+v.Node, encode(v), cluster.Whatever)
	return err
}

// Verdicts returns what nodes say of a trial.
func (l Log) Verdicts(ctx context.Context, trial string) (map[string]Verdict, error) {
	all, err := list(ctx, l.Store, keyVerdict, func(v Verdict) string { return v.Node })
	for node, v := range all {
		if v.Trial != trial {
			delete(all, node)
		}
	}
	return all, err
}

func historyKey(number int) string { return fmt.Sprintf("%s%010d", keyHistory, number) }

func checkSize(text, message string) error {
	switch {
	case len(text) > MaxText:
		return fmt.Errorf("%w: %d bytes, and a cluster keeps up to %d; generate less, or use anchors and defaults", ErrTooLarge, len(text), MaxText)
	case len(message) > maxMessage:
		return fmt.Errorf("%w: its message has %d bytes of %d", ErrTooLarge, len(message), maxMessage)
	}
	return nil
}

// encode leaves <, > and & as they are: a text is to stay as small as it is.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // these types can always be written
	}
	return bytes.TrimSpace(b.Bytes())
}

func decode[T any](kv cluster.KV) (v T, err error) {
	if err = json.Unmarshal(kv.Value, &v); err != nil {
		err = fmt.Errorf("%s in the store cannot be read: %w; nodes of different versions of the program may be at work", kv.Key, err)
	}
	return v, err
}

func list[T any](ctx context.Context, store cluster.Store, prefix string, name func(T) string) (map[string]T, error) {
	all, _, err := store.List(ctx, prefix)
	out := map[string]T{}
	for _, kv := range all {
		if v, err := decode[T](kv); err == nil { // one that cannot be read says nothing
			out[name(v)] = v
		}
	}
	return out, err
}

// watch sends the newest value of a key.
func watch[T any](ctx context.Context, store cluster.Store, key string) <-chan T {
	out := make(chan T)
	updates := store.Watch(ctx, key)
	go func() {
		defer close(out)
		var newest T
		var offer chan<- T
		for {
			select {
			case u, ok := <-updates:
				if !ok {
					return
				}
				for _, c := range u.Changes {
					if v, err := decode[T](c.KV); err == nil && !c.Deleted && c.Key == key {
						newest, offer = v, out
					}
				}
			case offer <- newest:
				offer = nil
			}
		}
	}()
	return out
}
